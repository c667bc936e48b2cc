"""What the runner makes of the kernel's accounts, of right ones and of lies: for the host, with sanitizers.

No system here has such accounts to show, so that a scripted kernel answers, in the layouts of Windows on x64.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.channel.abi import constant
from harness.channel.frames import RequestType
from harness.channel.holdings import (
    OpenKey,
    OpenKeys,
    PoolTag,
    PoolUse,
    VerifiedDriver,
    read_open_keys,
    read_pool_tags,
    read_verified,
)
from harness.channel.replies import Reply
from harness.driver import find_project_root

TAGS, PROCESSES, VERIFIER, OPEN_KEYS = 22, 5, 51, 0xFFFF
KEY, HIVE = r"\REGISTRY\MACHINE\Software\RegFilterHarness", r"\REGISTRY\MACHINE\Software"
UNSUPPORTED, SYSTEM = constant("REGRUN_ERROR_UNSUPPORTED"), constant("REGRUN_ERROR_SYSTEM")
PRIVILEGE_NOT_HELD = 0xC000_0061


@dataclass(frozen=True)
class Answer:
    """What the scripted kernel says: `pointers` are where in `data` offsets into it stand for addresses."""

    kind: int
    data: bytes = b""
    pointers: tuple[int, ...] = ()
    status: int = 0
    needed: int = 0

    def encode(self) -> bytes:
        where = struct.pack(f"<{len(self.pointers)}I", *self.pointers)
        return struct.pack("<3I", self.kind, self.status, self.needed) + blob(self.data) + blob(where)


def blob(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """``ask(type, argument, *answers)``: the reply's map, or a refusal as a list."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for this machine: install gcc")
    source, here = find_project_root() / "driver-src", Path(__file__).parent
    target = tmp_path_factory.mktemp("native") / "holdings"
    command = [compiler, "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fshort-wchar"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += [f"-I{here / 'native_windows'}", f"-I{source / 'runner'}", f"-I{source / 'abi'}"]
    command += ["-o", str(target), str(here / "native_holdings.c")]
    parts = ("pool.c", "open_keys.c", "reply.c", "cbor.c", "utf16.c")
    command += [str(source / "runner" / name) for name in parts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "asan" in done.stderr:
        pytest.skip("the compiler has no sanitizers: install libasan")
    assert done.returncode == 0, done.stderr

    def ask(type: int, argument: bytes, *answers: Answer) -> Any:
        script = struct.pack("<I", type) + blob(argument) + blob(wide(HIVE))
        script += b"".join(answer.encode() for answer in answers)
        done = subprocess.run([str(target)], input=script, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return cbor2.loads(done.stdout)

    return ask


def read(answer: Any) -> Reply:
    assert isinstance(answer, dict), answer
    return Reply.read("a test", cbor2.dumps(answer))


# -- pool by tag -------------------------------------------------------------------------------------------


def tag(name: bytes, paged: Sequence[int], nonpaged: Sequence[int]) -> bytes:
    """SYSTEM_POOLTAG: allocations, frees and bytes of both pools."""
    return struct.pack("<4sIIxxxxQIIQ", name, *paged, *nonpaged)


def tags(*entries: bytes, count: int | None = None) -> Answer:
    head = struct.pack("<Ixxxx", len(entries) if count is None else count)
    return Answer(TAGS, head + b"".join(entries))


def test_the_tags_that_were_asked_for_are_told(ask: Ask) -> None:
    kernel = tags(
        tag(b"Ntfs", (9, 1, 4096), (5, 5, 0)),
        tag(b"Wrng", (0, 0, 0), (3, 1, 128)),
        tag(b"Roun", (2, 0xFFFF_FFFE, 64), (0, 0, 0)),
    )
    answer = ask(RequestType.POOL_TAGS, b"WrngRounGone", kernel)
    assert read_pool_tags(read(answer), (b"Wrng", b"Roun", b"Gone")) == (
        PoolTag(b"Wrng", PoolUse(0, 0), PoolUse(2, 128), used=True),
        PoolTag(b"Roun", PoolUse(4, 64), PoolUse(0, 0), used=True),
    )


def test_counts_beyond_what_came_are_not_believed(ask: Ask) -> None:
    kernel = tags(tag(b"Wrng", (1, 0, 16), (0, 0, 0)), count=1_000_000)
    assert len(ask(RequestType.POOL_TAGS, b"Wrng", kernel)["tags"]) == 1
    assert ask(RequestType.POOL_TAGS, b"Wrng", Answer(TAGS, b"\1"))["tags"] == []


def test_a_kernel_that_keeps_no_tags_is_named_with_its_status(ask: Ask) -> None:
    """As Windows XP without the flag of GFlags."""
    error, status, message = ask(RequestType.POOL_TAGS, b"Wrng", Answer(TAGS, status=0xC000_0002))
    assert (error, status) == (SYSTEM, 0xC000_0002)
    assert "pool by tag" in message


# -- pool by verified driver -------------------------------------------------------------------------------


def verified(*names: str, ruled: bool, following: int | None = None) -> Answer:
    """SYSTEM_VERIFIER_INFORMATION: names stand behind each entry; `ruled` is the layout of newer systems."""
    data, pointers = b"", []
    for number, name in enumerate(names, 1):
        begin, text = len(data), wide(name)
        rules = struct.pack("<4I", 7, 7, 7, 0) if ruled else b""
        size = 8 + len(rules) + 16 + 18 * 4 + 4 * 8
        size += -size % 8
        step = size + len(text) + -len(text) % 8
        after = 0 if number == len(names) else step
        data += struct.pack("<2I", after if following is None else following, 0x8) + rules
        pointers.append(len(data) + 8)
        data += struct.pack("<HHxxxxQ", len(text), len(text), begin + size)
        data += struct.pack("<18I", *[0] * 14, number, 20 + number, 0, 0)
        data += struct.pack("<4Q", 100, 200, 0, 0) + text
        data += b"\0" * (-len(data) % 8)
    return Answer(VERIFIER, data, tuple(pointers))


@pytest.mark.parametrize("ruled", [False, True])
def test_what_verified_drivers_hold_in_either_layout(ask: Ask, ruled: bool) -> None:
    answer = ask(RequestType.POOL_VERIFIED, b"", verified("wrong.sys", "regprobe.sys", ruled=ruled))
    assert read_verified(read(answer)) == (
        VerifiedDriver("wrong.sys", 0x8, PoolUse(1, 100), PoolUse(21, 200)),
        VerifiedDriver("regprobe.sys", 0x8, PoolUse(2, 100), PoolUse(22, 200)),
    )


def test_no_verified_driver_is_an_answer(ask: Ask) -> None:
    assert ask(RequestType.POOL_VERIFIED, b"", Answer(VERIFIER)) == {"drivers": []}


@pytest.mark.parametrize("following", [1, 4, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_next_entry_that_lies_leads_nowhere(ask: Ask, following: int) -> None:
    answer = ask(RequestType.POOL_VERIFIED, b"", verified("a.sys", "b.sys", ruled=False, following=following))
    assert isinstance(answer, list) or len(answer["drivers"]) <= 2


def test_a_layout_that_is_not_known_is_refused(ask: Ask) -> None:
    error, _, message = ask(RequestType.POOL_VERIFIED, b"", Answer(VERIFIER, b"\x41" * 400))
    assert error == UNSUPPORTED
    assert "no known way" in message


# -- open keys ---------------------------------------------------------------------------------------------


def open_keys(*keys: tuple[int, str], count: int | None = None) -> Answer:
    """KEY_OPEN_SUBKEYS_INFORMATION: the names stand behind the array."""
    texts = [wide(name) for _, name in keys]
    end = 8 + 24 * len(keys)
    data, pointers = struct.pack("<Ixxxx", len(keys) if count is None else count), []
    for (process, _), text in zip(keys, texts, strict=True):
        pointers.append(len(data) + 16)
        data += struct.pack("<QHHxxxxQ", process, len(text), len(text), end)
        end += len(text)
    return Answer(OPEN_KEYS, data + b"".join(texts), tuple(pointers))


def processes(**ids: int) -> Answer:
    """The start of each SYSTEM_PROCESS_INFORMATION."""
    data, pointers = b"", []
    for number, (name, process) in enumerate(ids.items(), 1):
        text = wide(f"{name}.exe")
        step = 96 + len(text) + -len(text) % 8
        begin = len(data)
        data += struct.pack("<2I48x", 0 if number == len(ids) else step, 1)
        pointers.append(len(data) + 8)
        data += struct.pack("<HHxxxxQ", len(text), len(text), begin + 96)
        data += struct.pack("<ixxxxQ", 8, process)
        data += b"\0" * (begin + 96 - len(data)) + text
        data += b"\0" * (begin + step - len(data))
    return Answer(PROCESSES, data, tuple(pointers))


def test_who_has_test_keys_open(ask: Ask) -> None:
    answer = ask(
        RequestType.OPEN_KEYS,
        wide(KEY) + b"\0\0",
        open_keys(
            (4, KEY.upper() + r"\1-a\app"),
            (4, HIVE + r"\Microsoft"),
            (700, KEY),
            (4, KEY + "Other"),
            (9, KEY + r"\1-a"),
        ),
        processes(System=4, regrun=700),
    )
    assert answer["hive"] == HIVE
    assert read_open_keys(read(answer)) == OpenKeys(
        1234,
        3,
        (
            OpenKey(4, "System.exe", KEY.upper() + r"\1-a\app"),
            OpenKey(700, "regrun.exe", KEY),
            OpenKey(9, None, KEY + r"\1-a"),
        ),
    )


def test_a_key_without_a_name_hides_no_other(ask: Ask) -> None:
    """Its buffer is nowhere."""
    nameless = open_keys((4, ""), (4, KEY))
    kernel = Answer(OPEN_KEYS, nameless.data, nameless.pointers[1:])
    answer = ask(RequestType.OPEN_KEYS, wide(KEY) + b"\0\0", kernel)
    assert [key["name"] for key in answer["keys"]] == [KEY]


def test_more_open_keys_than_are_listed_are_counted(ask: Ask) -> None:
    """They take more room than the runner offers at first."""
    most = constant("REGRUN_MAX_OPEN_KEYS")
    keys = [(4, f"{KEY}\\{number}".ljust(400, "x")) for number in range(most + 44)]
    answer = ask(RequestType.OPEN_KEYS, wide(KEY) + b"\0\0", open_keys(*keys))
    assert (answer["count"], len(answer["keys"])) == (most + 44, most)


def test_a_missing_privilege_is_told(ask: Ask) -> None:
    kernel = Answer(OPEN_KEYS, status=PRIVILEGE_NOT_HELD)
    error, status, _ = ask(RequestType.OPEN_KEYS, wide(KEY) + b"\0\0", kernel)
    assert (error, status) == (SYSTEM, PRIVILEGE_NOT_HELD)


@pytest.mark.parametrize("count", [2, 3, 0x1000_0000, 0xFFFF_FFFF])
def test_more_entries_than_came_are_refused(ask: Ask, count: int) -> None:
    error, _, message = ask(RequestType.OPEN_KEYS, wide(KEY) + b"\0\0", open_keys((4, KEY), count=count))
    assert error == UNSUPPORTED
    assert "no known way" in message


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kind=st.sampled_from([RequestType.POOL_TAGS, RequestType.POOL_VERIFIED, RequestType.OPEN_KEYS]),
    position=st.integers(0, 400),
    damage=st.binary(min_size=1, max_size=24),
    cut=st.integers(0, 400),
    needed=st.sampled_from([0, 0, 4, 0x7FFF_FFFF, 0xFFFF_FFFF]),
)
def test_whatever_the_kernel_says_is_read_or_refused(
    ask: Ask, kind: int, position: int, damage: bytes, cut: int, needed: int
) -> None:
    """The sanitizers stop at the first byte read outside."""
    whole = {
        RequestType.POOL_TAGS: (tags(tag(b"Wrng", (1, 0, 16), (0, 0, 0))),),
        RequestType.POOL_VERIFIED: (verified("a.sys", "b.sys", ruled=position % 2 == 0),),
        RequestType.OPEN_KEYS: (open_keys((4, KEY), (5, KEY)), processes(System=4, other=5)),
    }[RequestType(kind)]
    answers = []
    for answer in whole:
        data = bytearray(answer.data)
        data[position : position + len(damage)] = damage
        kept = bytes(data[: max(0, len(data) - cut)] if cut % 3 == 0 else data)
        pointers = tuple(where for where in answer.pointers if where + 8 <= len(kept))
        answers.append(Answer(answer.kind, kept, pointers, needed=needed))
    argument = b"Wrng" if kind == RequestType.POOL_TAGS else wide(KEY) + b"\0\0"
    found = ask(kind, argument, *answers)
    assert isinstance(found, dict) or found[0] in (UNSUPPORTED, SYSTEM)
