"""The layouts of kernel structures agree with what the compiler makes of the DDK headers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.reference.kernel.layouts import STRUCTURES, layout

COMPILERS = {8: "x86_64-w64-mingw32-gcc", 4: "i686-w64-mingw32-gcc"}
INCLUDE = "/usr/share/mingw-w64/include/ddk"
#: Structures whose layout here stops before their end, or whose last member the headers shape otherwise.
OPEN_ENDED = {"GENERAL_LOOKASIDE", "ACCESS_STATE", "DEVICE_OBJECT"}
#: What no header here declares.
UNDECLARED = {"KLDR_DATA_TABLE_ENTRY", "FLT_REGISTRATION"}
#: Our member -> the header's expression; members that are spelled alike need no entry.
SPELLED = {
    ("IRP", "SystemBuffer"): "AssociatedIrp",
    ("IRP", "Status"): "IoStatus",
    ("IRP", "DriverContext"): "Tail.Overlay.DriverContext",
    ("IRP", "Thread"): "Tail.Overlay.Thread",
    ("IRP", "AuxiliaryBuffer"): "Tail.Overlay.AuxiliaryBuffer",
    ("IRP", "ListEntry"): "Tail.Overlay.ListEntry",
    ("IRP", "CurrentStackLocation"): "Tail.Overlay.CurrentStackLocation",
    ("IRP", "OriginalFileObject"): "Tail.Overlay.OriginalFileObject",
    ("KEVENT", "SignalState"): "Header.SignalState",
    ("KEVENT", "WaitListHead"): "Header.WaitListHead",
    ("KMUTEX", "SignalState"): "Header.SignalState",
    ("KMUTEX", "WaitListHead"): "Header.WaitListHead",
    ("KQUEUE", "SignalState"): "Header.SignalState",
    ("KQUEUE", "WaitListHead"): "Header.WaitListHead",
    ("KSEMAPHORE", "SignalState"): "Header.SignalState",
    ("KSEMAPHORE", "WaitListHead"): "Header.WaitListHead",
    ("KTIMER", "SignalState"): "Header.SignalState",
    ("KTIMER", "WaitListHead"): "Header.WaitListHead",
    ("PS_CREATE_NOTIFY_INFO", "CreatingProcessId"): "CreatingThreadId.UniqueProcess",
    ("PS_CREATE_NOTIFY_INFO", "CreatingThreadId"): "CreatingThreadId.UniqueThread",
    ("GENERAL_LOOKASIDE", "ListHead"): "ListHead",
}
#: Names of ours for what the headers leave unnamed or put into unions of their own.
_HEADER = ("Type", "Absolute", "Size", "Inserted")
OWN = {
    *{("IRP", part) for part in ("Information", "Overlay", "CompletionKey")},
    *{("DEVICE_OBJECT", part) for part in ("Timer", "Spare1", "Reserved", "DeviceQueue")},
    *{("FAST_MUTEX", part) for part in ("Contention", "Event")},
    *{("GENERAL_LOOKASIDE", part) for part in ("AllocateMisses", "FreeMisses")},
    *{(name, part) for name in ("KEVENT", "KMUTEX", "KQUEUE", "KSEMAPHORE", "KTIMER") for part in _HEADER},
    ("IO_STACK_LOCATION", "Parameters"),
    ("KDPC", "Number"),
    ("IMAGE_INFO", "Properties"),
    ("KTIMER", "Processor"),
    ("SECURITY_DESCRIPTOR", "Sbz1"),
}


def offsets(pointer_size: int, folder: Path) -> dict[str, int]:
    """What the compiler says: "STRUCT.Member" and "STRUCT" (its size)."""
    compiler = COMPILERS[pointer_size]
    if shutil.which(compiler) is None or not Path(INCLUDE).is_dir():
        pytest.skip(f"{compiler} with the DDK headers is not installed")
    lines = ["#include <ntifs.h>", "void probe(void) {"]
    for name in STRUCTURES.keys() - UNDECLARED:
        lines.append(f'asm volatile("\\n#@ {name} %c0" :: "i"(sizeof({name})));')
        for member in layout(name, pointer_size).fields:
            if (name, member) in OWN:
                continue
            spelled = SPELLED.get((name, member), member)
            lines.append(f'asm volatile("\\n#@ {name}.{member} %c0" :: "i"(offsetof({name}, {spelled})));')
    source = folder / "offsets.c"
    source.write_text("\n".join([*lines, "}"]), encoding="ascii")
    made = subprocess.run(
        [compiler, "-S", "-O1", "-w", "-o", "-", "-I", INCLUDE, "-D_WIN32_WINNT=0x0A00",
         "-DNTDDI_VERSION=0x0A000000", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return {name: int(value) for name, value in re.findall(r"^#@ (\S+) (\d+)$", made.stdout, re.MULTILINE)}


@pytest.mark.parametrize("pointer_size", [8, 4], ids=["x64", "x86"])
def test_offsets_agree_with_the_headers(pointer_size: int, tmp_path: Path) -> None:
    theirs = offsets(pointer_size, tmp_path)
    ours = {}
    for name in STRUCTURES.keys() - UNDECLARED:
        shape = layout(name, pointer_size)
        if name not in OPEN_ENDED:
            ours[name] = shape.size
        ours |= {
            f"{name}.{member}": offset
            for member, (offset, _size) in shape.fields.items()
            if (name, member) not in OWN
        }
    assert {key: value for key, value in theirs.items() if key in ours} == ours


def test_an_unknown_structure_is_an_error() -> None:
    with pytest.raises(KeyError):
        layout("NO_SUCH_THING", 8)
