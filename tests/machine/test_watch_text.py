from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest.bugcheck import Bugcheck
from harness.machine.watch.crash_text import CrashText
from harness.machine.watch.lines import MAX_LINE, LineCutter
from harness.machine.watch.repetition import Repetition

NT52 = (
    "(ntoskrnl/io/iomgr/driver.c:83) Deleting driver object '\\Driver\\KdDriver'\r\n\r\n"
    "*** Fatal System Error: 0x000000d1\r\n"
    "                       (0x00000010,0x00000002,0x00000001,0xF7A12345)\r\n\r\n"
    "Driver at fault: wrong.sys.\r\n"
    "Entered debugger on embedded INT3 at 0x0008:0x8090A1B2.\r\nkdb:> "
)
NT52_X64 = (
    "*** Fatal System Error: 0x0000006b\n"
    "                       (0xFFFFFFFFC0000034,0x0000000000000002,0x0000000000000000,0x0000000000000001)\n\n"
    "Entered debugger on embedded INT3 at 0x0010:0xFFFFF800005A0382.\n"
    'Type "help" for a list of commands.\n\nkdb:> '
)
SCREEN = (
    "*** STOP: 0x0000007E (0xC0000005,0x8081ABCD,0xF9E3A5B0,0xF9E3A2AC)\r\n\r\n"
    "***   wrong.sys - Address F7A12345 base at F7A10000, DateStamp 3b7d855c\r\n"
)
LAST_CHANCE = (
    "(dll.c:12) <\\ReactOS\\x.exe> Entered debugger on last-chance exception (Exception Code: 0xc0000005)\n"
    "Memory at 0x00000000 could not be accessed\nkdb:> "
)
ASSERTION = (
    "*** Assertion failed: Irp->Type == IO_TYPE_IRP\r\n***   Source File: irp.c, line 12\r\n\r\n"
    "Break repeatedly, break Once, Ignore, terminate Process or terminate Thread (boipt)? "
)
LINUX_PANIC = (
    "[   12.345678] sysrq: Trigger a crash\n"
    "[   12.345679] Kernel panic - not syncing: sysrq triggered crash\n"
    "[   12.345680] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0\n"
)
LINUX_OOPS = (
    "[    3.000001] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
    "[    3.000002] #PF: supervisor write access in kernel mode\n"
    "[    3.000003] Oops: 0002 [#1] PREEMPT SMP NOPTI\n"
)

TEXTS = {
    "nt52": (NT52, Bugcheck(0xD1, (0x10, 2, 1, 0xF7A12345), "wrong.sys")),
    "nt52-x64": (NT52_X64, Bugcheck(0x6B, (0xFFFFFFFFC0000034, 2, 0, 1))),
    "screen": (SCREEN, Bugcheck(0x7E, (0xC0000005, 0x8081ABCD, 0xF9E3A5B0, 0xF9E3A2AC), "wrong.sys")),
    "last-chance": (
        LAST_CHANCE,
        Bugcheck.unknown(
            "the guest entered its kernel debugger on last-chance exception (Exception Code: 0xc0000005)"
        ),
    ),
    "assertion": (
        ASSERTION,
        Bugcheck.unknown("an assertion of the guest's kernel failed: Irp->Type == IO_TYPE_IRP"),
    ),
    "linux-panic": (LINUX_PANIC, Bugcheck.unknown("Kernel panic - not syncing: sysrq triggered crash")),
    "linux-oops": (
        LINUX_OOPS,
        Bugcheck.unknown("BUG: kernel NULL pointer dereference, address: 0000000000000000; Oops: 0002 [#1]"),
    ),
}

NOISE = (
    "Linux version 6.1.0 panic=-1 oops=panic\n"
    "*** Starting driver\n(0x00000001,0x00000002,0x00000003,0x00000004)\n"
    "Kernel command line: ro Kernel panic - not syncing\n"
    "a driver says kdb:> in the middle of a line\n"
    "Driver at fault: nobody.sys.\n"
)


def pieces(text: str, cuts: Iterable[int]) -> list[bytes]:
    data = text.encode("latin-1")
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def recognise(reads: Iterable[bytes]) -> Bugcheck | None:
    text = CrashText()
    found = [bugcheck for data in reads if (bugcheck := text.feed(data)) is not None]
    if (late := text.settle()) is not None:
        found.append(late)
    assert len(found) <= 1, "told once"
    return found[0] if found else None


@pytest.mark.parametrize("name", TEXTS)
@given(cuts=st.lists(st.integers(0, 2000), max_size=12), before=st.sampled_from(["", NOISE]))
def test_a_bugcheck_is_recognised_however_its_text_is_split(name: str, cuts: list[int], before: str) -> None:
    text, expected = TEXTS[name]
    assert recognise(pieces(before + text, cuts)) == expected


@pytest.mark.parametrize("name", TEXTS)
def test_a_bugcheck_is_recognised_byte_by_byte(name: str) -> None:
    text, expected = TEXTS[name]
    assert recognise(pieces(text, range(len(text)))) == expected


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in ("screen",)])
def test_a_kernel_that_stands_needs_no_more_text(name: str) -> None:
    text, expected = TEXTS[name]
    assert CrashText().feed(text.encode()) == expected


def test_ordinary_output_is_no_bugcheck() -> None:
    assert recognise([NOISE.encode()]) is None


def test_a_stop_code_alone_is_told_when_nothing_follows() -> None:
    text = CrashText()
    assert text.feed(b"*** Fatal System Error: 0x000000c9\n") is None
    assert text.pending
    assert text.settle() == Bugcheck(0xC9, ())
    assert text.settle() is None


def test_a_stop_line_that_was_cut_off_still_counts() -> None:
    text = CrashText()
    assert text.feed(b"*** STOP: 0x00000050 (0xF0") is None
    assert text.settle() == Bugcheck(0x50, ())


def test_parameters_are_not_looked_for_forever() -> None:
    text = CrashText()
    assert text.feed(b"*** STOP: 0x00000050\n") is None
    assert text.feed(b"noise\n" * 20) == Bugcheck(0x50, ())


@given(reads=st.lists(st.binary(max_size=9000), max_size=8))
def test_lines_are_bounded_and_nothing_is_lost(reads: list[bytes]) -> None:
    cutter = LineCutter()
    lines = [line for data in reads for line in cutter.feed(data)]
    assert all(len(line) <= MAX_LINE for line in [*lines, cutter.unfinished])
    given_characters = b"".join(reads).replace(b"\n", b"").replace(b"\r", b"")
    kept = "".join([*lines, cutter.unfinished]).encode("latin-1").replace(b"\r", b"")
    assert kept == given_characters


def test_a_line_without_end_comes_in_pieces() -> None:
    cutter = LineCutter()
    lines = [line for _ in range(10) for line in cutter.feed(b"x" * 1000)]
    assert lines == ["x" * MAX_LINE] * 2
    assert len(cutter.unfinished) == 10_000 - 2 * MAX_LINE


@given(data=st.lists(st.binary(max_size=600), max_size=10))
def test_no_bytes_upset_the_recogniser(data: list[bytes]) -> None:
    recognise(data)


def test_the_same_lines_for_long_are_a_circle() -> None:
    watch = Repetition(times=100, seconds=10.0)
    seen = None
    for second in range(30):
        seen = seen or watch.feed(b"waiting for disk 0\nretry\n" * 10, float(second))
        if second < 9:
            assert seen is None, "too early"
    assert seen is not None
    assert "waiting for disk 0 | retry" in seen


def test_many_equal_lines_at_once_are_no_circle() -> None:
    watch = Repetition(times=100, seconds=10.0)
    assert watch.feed(b"callback\n" * 50_000, 0.0) is None
    assert watch.feed(b"callback\n" * 50_000, 9.0) is None


def test_a_few_equal_lines_over_a_long_time_are_no_circle() -> None:
    watch = Repetition(times=100, seconds=10.0)
    assert not any(watch.feed(b"tick\n", float(second)) for second in range(90))


def test_another_line_breaks_the_circle() -> None:
    watch = Repetition(times=100, seconds=10.0)
    for second in range(60):
        assert watch.feed(b"again\n" * 50 + f"progress {second}\n".encode(), float(second)) is None


def test_whoever_does_its_work_goes_in_no_circle() -> None:
    watch = Repetition(times=100, seconds=10.0)
    for second in range(60):
        if second % 5 == 0:
            watch.restart()
        assert watch.feed(b"callback\n" * 50, float(second)) is None


def test_time_stamps_dont_hide_a_circle() -> None:
    watch = Repetition(times=100, seconds=5.0)
    lines = [f"[{number / 20:12.6f}] oops again\n".encode() for number in range(400)]
    assert any(watch.feed(line, number / 20) for number, line in enumerate(lines))
