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
_COMMON = """
    guarded_read filtered_call with_finally big_frame leaf_read two_byte_read divide undefined breakpoint spin
    nested_read raise_status finally_inside overflow copy_in_try write_constant plain_write allocate
"""
#: The table of drivers/seh/seh.c.
FUNCTIONS = {
    Arch.X64: (*_COMMON.split(), "read_irql", "write_irql"),
    Arch.X86: (*_COMMON.split(), "own_unwind"),
}
BOTH = pytest.mark.parametrize("arch", list(Arch), ids=str)


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
    """A machine without a kernel: the emulator and the exports that need nothing else."""
    with Machine(version, arch, deadline=deadline) as made:
        yield made


def code(m: Machine, text: str, *, at: int = 0) -> int:
    """Put machine code (hexadecimal) into an executable page and return its address."""
    page = CODE[m.arch]
    if not m.memory.is_mapped(page):
        m.memory.map_pages(page, 1, 5)
    m.memory.write(page + at, bytes.fromhex(text), force=True)
    m.cpu.flush_code()
    return page + at


def reader(m: Machine) -> int:
    """Code of ``ULONG read(const ULONG *)``."""
    return code(m, "8b01c3" if m.arch is Arch.X64 else "8b4424048b00c20400", at=0xE00)


def writer(m: Machine) -> int:
    """Code of ``void write(UCHAR *)``, which stores 1."""
    return code(m, "c60101c3" if m.arch is Arch.X64 else "8b442404c60001c20400", at=0xE40)


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
        names = FUNCTIONS[m.arch]
        assert count == len(names)
        self.functions = {name: m.memory.ptr(table + i * size) for i, name in enumerate(names)}
        self.out = m.memory.alloc_static(16)

    def __getitem__(self, name: str) -> int:
        return self.functions[name]

    def call(self, name: str, *args: int) -> int:
        """Call a function; exceptions it does not handle are `GuestException`."""
        return self.m.call_guarded(self.functions[name], *args) & 0xFFFF_FFFF

    def filtered(self, verdict: int, name: str, argument: int) -> int:
        """Call `name` inside __try with a filter that returns `verdict`."""
        self.m.memory.write(self.out, bytes(16))
        self.m.memory.put_u32(self.out, verdict & 0xFFFF_FFFF)
        return self.call("filtered_call", self.functions[name], argument, self.out)

    @property
    def seen_code(self) -> int:
        """The exception code that the filter saw."""
        return self.m.memory.u32(self.out + 4)

    @property
    def filter_calls(self) -> int:
        return self.m.memory.u32(self.out + 8)

    @property
    def finally_calls(self) -> int:
        """1 for every normal end, 0x101 for every unwind."""
        return self.m.memory.u32(self.out + 12)
