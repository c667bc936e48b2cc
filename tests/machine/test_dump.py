"""Crash dumps read on Linux: small valid ones of every kind, and files that only look like one."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import GuestCrashed
from harness.guest.base import Arch
from harness.guest.bugcheck import Bugcheck
from harness.machine.describe.spec import Hardware, MachineSpec
from harness.machine.disk import dump as dump_module
from harness.machine.disk.dump import DumpError, DumpType, contradiction, read_dump
from harness.machine.evidence import collect
from tests.machine import dumps


@pytest.fixture
def parser() -> None:
    pytest.importorskip(
        "kdmp_parser", reason="the memory of dumps needs kdmp-parser: pip install kdmp-parser"
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "memory.dmp"
        path.write_bytes(content)
        return path

    return write


Write = Callable[[bytes], Path]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("content", "kind", "pages"),
    [(dumps.full64(), DumpType.FULL, 3), (dumps.bitmap64(), DumpType.BITMAP_FULL, 2)],
    ids=["full", "bitmap"],
)
def test_a_64_bit_dump(write: Write, content: bytes, kind: DumpType, pages: int) -> None:
    found = read_dump(write(content))
    assert (found.code, found.parameters) == (0xDEADDEAD, dumps.PARAMETERS)
    assert (found.kind, found.arch, found.build, found.processors) == (kind, Arch.X64, 26100, 2)
    assert found.pages == pages


def test_a_32_bit_dump(write: Write) -> None:
    found = read_dump(write(dumps.full32()))
    assert (found.code, found.parameters) == (0xDEADDEAD, dumps.PARAMETERS32)
    assert (found.kind, found.arch, found.build, found.pages) == (DumpType.FULL, Arch.X86, 7601, None)


def test_a_compressed_dump_is_read_as_evidence_has_it(write: Write) -> None:
    found = read_dump(write(gzip.compress(dumps.full64())))
    assert (found.code, found.parameters, found.pages) == (0xDEADDEAD, dumps.PARAMETERS, None)


def test_without_the_parser_the_header_is_enough(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_module, "find_spec", lambda name: None)
    assert read_dump(write(dumps.full64())).pages is None


def changed(offset: int, layout: str, value: int) -> bytes:
    content = bytearray(dumps.full64())
    struct.pack_into(layout, content, offset, value)
    return bytes(content)


def huge_bitmap() -> bytes:
    content = bytearray(dumps.bitmap64())
    struct.pack_into("<Q", content, 2 * dumps.PAGE + 0x30, 1 << 50)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"is no crash dump of Windows: it begins with b''"),
        (b"\x7fELF" + bytes(9000), r"it begins with b'\\x7fELF"),
        (dumps.full64()[:5000], "is cut: it has 5000 bytes of a header of 8192"),
        (dumps.full32()[:4095], "is cut: it has 4095 bytes of a header of 4096"),
        (changed(0xF98, "<I", 99), "0x63 is no kind of crash dump"),
        (changed(0x38, "<I", 0x45474150), "was never finished"),
        (
            dumps.full64()[: 2 * dumps.PAGE + 100],
            "is cut: it has 8292 bytes, and its memory alone ends at 20480",
        ),
        (dumps.full64(runs=((0, 1 << 40),)), "is cut: it has 20480 bytes"),
        (dumps.bitmap64()[:-1], "is cut: it has 20479 bytes, and its memory alone ends at 20480"),
        (dumps.bitmap64()[: 2 * dumps.PAGE + 16], "is cut: it has 8208 bytes"),
        (dumps.full32()[:-1], "is cut: it has 8191 bytes"),
        (changed(0x88, "<I", 0xFFFF_FFFF), "is damaged: 4294967295 runs of memory with"),
        (changed(0xA0, "<Q", 1 << 40), "1 runs of memory with 1099511627776 pages are listed, and 3 pages"),
        (changed(0x34, "<I", 0), "0 processors can't be"),
        (changed(0x34, "<I", 1 << 31), "2147483648 processors can't be"),
        (gzip.compress(dumps.full64(), mtime=0)[:40], "can't be read as a crash dump"),
        (b"\x1f\x8bnot gzip at all", "can't be read as a crash dump"),
    ],
)
def test_what_is_no_dump_is_said_to_be_none(write: Write, content: bytes, says: str) -> None:
    with pytest.raises(DumpError, match=says):
        read_dump(write(content))


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "content",
    [
        changed(0x348 + 0x34, "<I", 0x1234),
        changed(0x348 + 0x118, "<I", 0x1234),
        dumps.bitmap64().replace(b"SDMPDUMP", b"XDMPDUMP"),
        huge_bitmap(),
    ],
    ids=["no context", "half a context", "another bitmap", "a bitmap larger than the file"],
)
def test_a_dump_whose_memory_is_damaged_costs_no_more_than_an_error(write: Write, content: bytes) -> None:
    with pytest.raises(DumpError, match="kdmp-parser"):
        read_dump(write(content))


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match="No such file"):
        read_dump(tmp_path / "none.dmp")


# -- compared with what was reported -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (Bugcheck(0xDEADDEAD, (1, 2, 3, 4)), ""),
        (Bugcheck(0xDEADDEAD, ()), ""),
        (Bugcheck.unknown("the guest panicked"), ""),
        (Bugcheck(0x7E, (1, 2, 3, 4)), "and bugcheck 0x7e was reported"),
        (Bugcheck(0xDEADDEAD, (1, 2, 3, 5)), "(0x1, 0x2, 0x3, 0x5) was reported"),
    ],
)
def test_the_dump_and_the_event(told: Bugcheck, says: str) -> None:
    found = contradiction(Bugcheck(0xDEADDEAD, (1, 2, 3, 4)), told)
    assert bool(found) is bool(says)
    assert found.endswith(says)


class Crashed:
    """A machine whose memory QEMU dumps in Windows' format."""

    name = "m"
    xml = "<domain/>"
    running = False
    events = ()

    def __init__(self, folder: Path, content: bytes) -> None:
        self.spec = MachineSpec("m", Hardware(memory_mib=1), folder)
        self.qemu_log = folder / "qemu.log"
        self.content = content

    def suspend(self) -> None: ...

    def screenshot(self, path: Path) -> Path:
        raise AssertionError("not asked")

    def memory_dump(self, path: Path, *, timeout: float) -> str:
        path.write_bytes(self.content)
        return "win-dmp"


def evidence(tmp_path: Path, content: bytes, told: Bugcheck) -> Any:
    machine, folder = Crashed(tmp_path, content), tmp_path / "evidence"
    folder.mkdir()
    collect(machine, folder, GuestCrashed(told), memory_mib=1)
    assert (folder / "memory.win-dmp.gz").is_file()
    return json.loads((folder / "index.json").read_text())["dump"]


def test_evidence_says_what_the_dump_says(tmp_path: Path) -> None:
    found = evidence(tmp_path, dumps.full64(), Bugcheck(0xDEADDEAD, dumps.PARAMETERS))
    assert (found["code"], found["parameters"]) == (0xDEADDEAD, list(dumps.PARAMETERS))
    assert found["differs"] == ""


def test_evidence_says_where_they_differ(tmp_path: Path) -> None:
    found = evidence(tmp_path, dumps.full64(), Bugcheck(0xD1, (1, 2, 3, 4)))
    assert found["differs"].endswith("and bugcheck 0xd1 was reported")


def test_a_dump_that_can_not_be_read_is_kept_and_said_so(tmp_path: Path) -> None:
    assert "is no crash dump" in evidence(tmp_path, b"x" * 100, Bugcheck(0xD1, ()))["trouble"]
