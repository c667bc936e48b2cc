"""Reading a crash dump of Windows on Linux: which bugcheck it is of, and whether its memory is there.

A dump begins with a header of one or two pages, whatever the kind; what is wanted of it is read here, within
bounds, because a dump comes from a guest. The memory behind it is looked at by kdmp-parser, which knows all
kinds of 64-bit dumps, in a process of its own: it is native code, and a hostile file may bring it down.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import zlib
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from dissect.cstruct import cstruct

from harness.errors import InfrastructureError
from harness.guest.base import Arch
from harness.guest.bugcheck import Bugcheck

__all__ = ["DumpError", "DumpFacts", "DumpType", "contradiction", "read_dump"]

_PAGE: Final = 0x1000
_LONGEST_HEADER: Final = 2 * _PAGE + 0x38  # with the head of a bitmap
_GZIP: Final = b"\x1f\x8b"
_SECONDS: Final = 120.0
_MEMORY: Final = 1 << 30
#: What the header is filled with where nothing was written.
_FILLER: Final = 0x45474150  # "PAGE"

#: The members up to the physical memory, and those at fixed places behind; as in QEMU's
#: include/qemu/win_dump_defs.h and kdmp-parser's kdmp-parser-structs.h.
_LAYOUT: Final = """
struct HEADER64 {
    char Signature[4];
    char ValidDump[4];
    uint32 MajorVersion;
    uint32 MinorVersion;
    uint64 DirectoryTableBase;
    uint64 PfnDatabase;
    uint64 PsLoadedModuleList;
    uint64 PsActiveProcessHead;
    uint32 MachineImageType;
    uint32 NumberProcessors;
    uint32 BugCheckCode;
    uint32 Unused;
    uint64 BugCheckParameters[4];
    char VersionUser[32];
    uint64 KdDebuggerDataBlock;
    uint32 NumberOfRuns;
    uint32 Unused2;
    uint64 NumberOfPages;
    struct { uint64 BasePage; uint64 PageCount; } Runs[42];
    char ToDumpType[3168];
    uint32 DumpType;
    uint32 Unused3;
    uint64 RequiredDumpSpace;
};
struct BITMAP {
    char Signature[4];
    char ValidDump[4];
    char Unused[24];
    uint64 FirstPage;
    uint64 TotalPresentPages;
    uint64 Pages;
};
struct HEADER32 {
    char Signature[4];
    char ValidDump[4];
    uint32 MajorVersion;
    uint32 MinorVersion;
    uint32 DirectoryTableBase;
    uint32 PfnDatabase;
    uint32 PsLoadedModuleList;
    uint32 PsActiveProcessHead;
    uint32 MachineImageType;
    uint32 NumberProcessors;
    uint32 BugCheckCode;
    uint32 BugCheckParameters[4];
    char VersionUser[32];
    uint32 Unused;
    uint32 KdDebuggerDataBlock;
    uint32 NumberOfRuns;
    uint32 NumberOfPages;
    struct { uint32 BasePage; uint32 PageCount; } Runs[86];
    char ToDumpType[3180];
    uint32 DumpType;
    char ToSpace[20];
    uint64 RequiredDumpSpace;
};
"""


class DumpError(InfrastructureError):
    """A file that is no dump, or none that can be read; the message says what is wrong with it."""


class DumpType(IntEnum):
    """What a dump holds, as its header says."""

    FULL = 1
    KERNEL = 2
    HEADER = 3
    TRIAGE = 4  # a minidump
    BITMAP_FULL = 5
    BITMAP_KERNEL = 6
    AUTOMATIC = 7
    KERNEL_MEMORY = 8
    KERNEL_AND_USER = 9
    COMPLETE = 10


@dataclass(frozen=True, slots=True)
class DumpFacts:
    """What a dump says. `build` is the kernel's.

    `pages` are the pages of physical memory that kdmp-parser found in it; None where it was not asked: for a
    32-bit dump, a minidump, a compressed one, or when it isn't installed.
    """

    code: int
    parameters: tuple[int, int, int, int]
    kind: DumpType
    arch: Arch
    build: int
    processors: int
    pages: int | None = None

    @property
    def bugcheck(self) -> Bugcheck:
        return Bugcheck(self.code, self.parameters)


def contradiction(dumped: Bugcheck, told: Bugcheck) -> str:
    """What a dump says otherwise than what was told of a crash; empty when both agree.

    Something that was not told is no difference.
    """
    if told.code is None:
        return ""
    if told.code != dumped.code:
        return f"the dump says {dumped}, and bugcheck {told.code:#x} was reported"
    if told.parameters and told.parameters != dumped.parameters:
        return f"the dump says {dumped}, and {Bugcheck(told.code, told.parameters)} was reported"
    return ""


def read_dump(path: Path) -> DumpFacts:
    """What the dump in `path` says; it may be compressed by gzip, as evidence is.

    Raises `DumpError` for a file that is no crash dump, is cut, or contradicts itself.
    """
    head, compressed = _head(path)
    facts = _facts(path, head)
    known = facts.arch is Arch.X64 and facts.kind is not DumpType.TRIAGE
    if compressed:
        return facts
    _check_size(path, head, facts)
    if not known or find_spec("kdmp_parser") is None:
        return facts
    return _with_pages(path, facts)


def _head(path: Path) -> tuple[bytes, bool]:
    """The first bytes, and whether the file is compressed."""
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP
            file.seek(0)
            if compressed:
                with gzip.open(file) as unpacked:
                    return unpacked.read(_LONGEST_HEADER), True
            return file.read(_LONGEST_HEADER), False
    except (OSError, EOFError, zlib.error) as error:
        raise DumpError(f"{path} can't be read as a crash dump: {error}") from error


@cache
def _layout() -> Any:
    return cstruct(endian="<").load(_LAYOUT)


def _facts(path: Path, head: bytes) -> DumpFacts:
    kinds = {
        b"PAGEDU64": (_layout().HEADER64, 2 * _PAGE, Arch.X64),
        b"PAGEDUMP": (_layout().HEADER32, _PAGE, Arch.X86),
    }
    found = kinds.get(head[:8])
    if found is None:
        raise DumpError(
            f"{path} is no crash dump of Windows: it begins with {head[:8]!r}, not with PAGEDU64 or PAGEDUMP"
        )
    structure, size, arch = found
    if len(head) < size:
        raise DumpError(f"{path} is cut: it has {len(head)} bytes of a header of {size}")
    header = structure(head)
    try:
        kind = DumpType(header.DumpType)
    except ValueError:
        raise DumpError(f"{path}: {header.DumpType:#x} is no kind of crash dump that is known") from None
    if header.BugCheckCode == _FILLER:
        raise DumpError(f"{path} was never finished: its bugcheck code is still the filler")
    if not 1 <= header.NumberProcessors <= 2048:
        raise DumpError(f"{path}: {header.NumberProcessors} processors can't be; the header is damaged")
    first, second, third, fourth = header.BugCheckParameters
    return DumpFacts(
        code=header.BugCheckCode,
        parameters=(first, second, third, fourth),
        kind=kind,
        arch=arch,
        build=header.MinorVersion,
        processors=header.NumberProcessors,
    )


def _check_size(path: Path, head: bytes, facts: DumpFacts) -> None:
    """Refuse a file that ends before its memory does; how long it must be is known of the common kinds."""
    header, size = (_layout().HEADER64(head), 2 * _PAGE)
    if facts.arch is Arch.X86:
        header, size = (_layout().HEADER32(head), _PAGE)
    if facts.kind is DumpType.FULL:
        runs = header.Runs[: header.NumberOfRuns]
        pages = sum(run.PageCount for run in runs)
        if len(runs) != header.NumberOfRuns or pages != header.NumberOfPages:
            raise DumpError(
                f"{path} is damaged: {header.NumberOfRuns} runs of memory with {pages} pages are listed, "
                f"and {header.NumberOfPages} pages are said to be there"
            )
        needed = size + header.NumberOfPages * _PAGE
    elif facts.kind in (DumpType.BITMAP_FULL, DumpType.BITMAP_KERNEL):
        if len(head) < _LONGEST_HEADER:
            raise DumpError(f"{path} is cut: it has {len(head)} bytes of its bitmap's head")
        bitmap = _layout().BITMAP(head[size:])
        needed = bitmap.FirstPage + bitmap.TotalPresentPages * _PAGE
    else:
        needed = size
    found = path.stat().st_size
    if found < needed:
        raise DumpError(f"{path} is cut: it has {found} bytes, and its memory alone ends at {needed}")


# -- the memory behind the header --------------------------------------------------------------------------


def _with_pages(path: Path, facts: DumpFacts) -> DumpFacts:
    """The facts, with what kdmp-parser finds; raises `DumpError` when it reads another crash, or none."""
    command = [sys.executable, "-m", "harness.machine.disk.dump", str(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DumpError(f"{path}: kdmp-parser was not done with it within {_SECONDS:g} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        said = lines[-1][:500] if lines else f"it ended with {done.returncode}; the file may be cut"
        raise DumpError(f"{path}: kdmp-parser can't read it: {said}")
    second = json.loads(done.stdout)
    if (second["code"], tuple(second["parameters"])) != (facts.code, facts.parameters):
        raise DumpError(f"{path}: kdmp-parser reads {second} in it, the header says {facts.bugcheck}")
    return replace(facts, pages=int(second["pages"]))


def _main(path: str) -> None:
    """In the process of its own. The file is mapped, the rest needs little."""
    memory = Path(path).stat().st_size + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import kdmp_parser

    dump = kdmp_parser.KernelDumpParser(path)
    header = dump.header
    pages = sorted(dump.pages.keys())
    for page in (*pages[:1], *pages[-1:]):  # both ends of the memory are there
        assert dump.read_physical_page(page) is not None, f"page {page:#x} is missing"
    print(
        json.dumps(
            {
                "code": header.BugCheckCode,
                "parameters": list(header.BugCheckCodeParameter),
                "pages": len(pages),
            }
        )
    )


if __name__ == "__main__":
    _main(sys.argv[1])
