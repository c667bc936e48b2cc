"""Machines with nothing but the emulator, and small compiled drivers for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from harness.driver.build import BuildResult, build_driver
from harness.driver.toolchain import find_toolchain
from harness.errors import ToolMissingError
from harness.guest import Arch
from harness.reference.machine import Machine
from harness.reference.modules import Driver
from harness.registry.version import WIN10_22H2, WindowsVersion

SOURCES = Path(__file__).parent / "drivers"
CODE = {Arch.X64: 0xFFFF_F800_0090_0000, Arch.X86: 0x80F0_0000}
FUNCTIONS = [
    "guarded_read",
    "filtered_call",
    "with_finally",
    "big_frame",
    "leaf_read",
    "two_byte_read",
    "divide",
    "undefined",
    "breakpoint",
    "spin",
    "nested_read",
    "raise_status",
    "finally_inside",
    "overflow",
    "copy_in_try",
    "write_constant",
    "plain_write",
    "allocate",
]


@cache
def built(name: str, arch: Arch) -> BuildResult:
    """The test driver in drivers/<name>, built; skips where there is no compiler."""
    try:
        find_toolchain(arch)
    except ToolMissingError as error:
        pytest.skip(str(error))
    return build_driver(SOURCES / name, arch)


@contextmanager
def machine(
    arch: Arch = Arch.X64, version: WindowsVersion = WIN10_22H2, deadline: float = 10.0
) -> Iterator[Machine]:
    with Machine(version, arch, deadline=deadline) as made:
        yield made


def code(m: Machine, text: str, *, at: int = 0) -> int:
    """Put machine code (hexadecimal) into a page of its own kind and return its address."""
    page = CODE[m.arch]
    if not m.memory.is_mapped(page):
        m.memory.map_pages(page, 1, 5)
    m.memory.write(page + at, bytes.fromhex(text), force=True)
    m.cpu.flush_code()
    return page + at


class Seh:
    """The test driver `seh` on a machine: its functions by name."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        result = built("seh", m.arch)
        self.driver: Driver = m.loader.load(result.image.read_bytes(), "seh.sys", path=result.image)
        with m.memory.scratch() as scratch:
            first, second = scratch.alloc(16), scratch.alloc(16)
            assert m.cpu.call(self.driver.entry, first, second) & 0xFFFF_FFFF == 0
            table, count = m.memory.ptr(first), m.memory.u32(second)
        size = m.memory.pointer_size
        names = [*FUNCTIONS, *(("read_irql", "write_irql") if m.arch is Arch.X64 else ("own_unwind",))]
        assert count == len(names)
        self.functions = {name: m.memory.ptr(table + i * size) for i, name in enumerate(names)}
        self.out = m.memory.alloc_static(16)

    def __getitem__(self, name: str) -> int:
        return self.functions[name]

    def call(self, name: str, *args: int) -> int:
        return self.m.call_guarded(self.functions[name], *args) & 0xFFFF_FFFF

    def outs(self) -> tuple[int, int, int, int]:
        """verdict, code seen, filter calls, finally calls"""
        m = self.m.memory
        return m.u32(self.out), m.u32(self.out + 4), m.u32(self.out + 8), m.u32(self.out + 12)

    def verdict(self, value: int) -> None:
        self.m.memory.write(self.out, bytes(16))
        self.m.memory.put_u32(self.out, value & 0xFFFF_FFFF)
