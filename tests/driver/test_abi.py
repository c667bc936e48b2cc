"""The header means the same to the compilers and to Python: every offset, size and constant."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.driver import find_toolchain
from harness.probe import abi

HEADER = abi.HEADER.path
STRUCTURES = re.findall(r"^\} (REGPROBE_\w+);", HEADER.read_text(encoding="utf-8"), re.MULTILINE)
CONSTANTS = re.findall(
    r"^#define ((?:REGPROBE|IOCTL_REGPROBE)_\w+) 0?x?[0-9A-Fa-f]+", HEADER.read_text("utf-8"), re.MULTILINE
)


def compile_source(source: Path, arch: str) -> subprocess.CompletedProcess[str]:
    chain = find_toolchain(arch)
    command = chain.compile_command(
        source, source.with_suffix(".o"), include=(HEADER.parent,), root=source.parent
    )
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assertions(structure: str) -> list[str]:
    """What Python believes about one structure, as C."""
    record = abi.record(structure)
    lines = [f'_Static_assert(sizeof({structure}) == {record.size}, "size of {structure}");']
    for field in record.dtype.names or ():
        size = record.dtype.fields[field][0].itemsize if record.dtype.fields else 0
        offset = record.offset(field)
        lines.append(
            f'_Static_assert(__builtin_offsetof({structure}, {field}) == {offset}, "{structure}.{field}");'
        )
        lines.append(f'_Static_assert(sizeof((({structure} *)0)->{field}) == {size}, "{structure}.{field}");')
    return lines


def test_header_names_are_found() -> None:
    assert {"REGPROBE_EVENT", "REGPROBE_RULE", "REGPROBE_DRAIN_REPLY"} <= set(STRUCTURES)
    assert {"IOCTL_REGPROBE_INFO", "REGPROBE_EVENT_PAYLOAD"} <= set(CONSTANTS)


def test_python_and_the_compiler_agree(arch: str, tmp_path: Path) -> None:
    lines = ["#define REGPROBE_STDINT", '#include "regprobe.h"']
    for structure in STRUCTURES:
        lines += assertions(structure)
    for name in CONSTANTS:
        lines.append(f'_Static_assert({name} == {abi.constant(name):#x}u, "{name}");')
    source = tmp_path / "agree.c"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = compile_source(source, arch)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        '_Static_assert(sizeof(REGPROBE_EVENT) == 1, "size");',
        '_Static_assert(__builtin_offsetof(REGPROBE_RULE, classes) == 0, "offset");',
    ],
)
def test_a_disagreement_is_noticed(arch: str, tmp_path: Path, wrong: str) -> None:
    source = tmp_path / "disagree.c"
    source.write_text(f'#define REGPROBE_STDINT\n#include "regprobe.h"\n{wrong}\n', encoding="utf-8")
    done = compile_source(source, arch)
    assert done.returncode != 0
    assert "static assertion failed" in done.stderr


def test_ioctl_codes_are_what_the_macro_makes(arch: str, tmp_path: Path) -> None:
    codes = [name for name in CONSTANTS if name.startswith("IOCTL_")]
    lines = ["#define REGPROBE_STDINT", "#include <ntddk.h>", '#include "regprobe.h"']
    for index, name in enumerate(codes):
        access = "FILE_READ_DATA | FILE_WRITE_DATA"
        made = f"CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + {index}, METHOD_BUFFERED, {access})"
        lines.append(f'_Static_assert(({name} & 0x3) == METHOD_BUFFERED, "{name}: method");')
        lines.append(
            f'_Static_assert(({name} >> 14 & 3) == (FILE_READ_DATA | FILE_WRITE_DATA), "{name}: access");'
        )
        lines.append(f'_Static_assert({name} == {made}, "{name}");')
    source = tmp_path / "codes.c"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = compile_source(source, arch)
    assert done.returncode == 0, done.stderr
