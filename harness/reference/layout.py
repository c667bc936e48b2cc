"""Where things live in the guest's address space.

The places are those of real systems (page "Virtual Address Spaces"): code that tests an address
against MmUserProbeAddress, or looks at KUSER_SHARED_DATA without asking, finds what it expects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.guest import Arch

__all__ = ["PAGE", "PAGE_MASK", "X64", "X86", "AddressMap", "Range", "address_map"]

PAGE: Final = 0x1000
PAGE_MASK: Final = 0xFFF


@dataclass(frozen=True, slots=True)
class Range:
    """Half-open range of virtual addresses."""

    start: int
    end: int

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.start <= address < self.end


@dataclass(frozen=True, slots=True)
class AddressMap:
    """The regions of one architecture."""

    pointer_size: int
    address_mask: int
    user: Range  # what a requester's buffers come from
    user_limit: int  # first address that is not user mode (MmUserProbeAddress is 0x10000 below)
    system_start: int  # first address of system space (MmSystemRangeStart)
    shared_data: int  # KUSER_SHARED_DATA
    user_shared_data: int  # the same page, read-only, in user space
    kpcr: int
    nt: Range  # the kernel itself: call thunks, export stubs, trap slots
    static: Range  # the kernel's variables and other objects that live as long as the machine
    scratch: Range
    nonpaged_pool: Range
    paged_pool: Range
    stacks: Range
    drivers: Range
    stack_size: int  # page "Using the Kernel Stack": 12 KB on x86, 24 KB on x64


X64: Final = AddressMap(
    pointer_size=8,
    address_mask=(1 << 64) - 1,
    user=Range(0x0000_0000_1000_0000, 0x0000_0000_8000_0000),
    user_limit=0x0000_8000_0000_0000,
    system_start=0xFFFF_8000_0000_0000,
    shared_data=0xFFFF_F780_0000_0000,
    user_shared_data=0x7FFE_0000,
    kpcr=0xFFFF_F800_0001_0000,
    nt=Range(0xFFFF_F800_0010_0000, 0xFFFF_F800_0020_0000),
    static=Range(0xFFFF_F800_0020_0000, 0xFFFF_F800_0080_0000),
    scratch=Range(0xFFFF_F980_0000_0000, 0xFFFF_F980_0400_0000),
    nonpaged_pool=Range(0xFFFF_FA80_0000_0000, 0xFFFF_FAF0_0000_0000),
    paged_pool=Range(0xFFFF_F8A0_0000_0000, 0xFFFF_F8D0_0000_0000),
    stacks=Range(0xFFFF_F880_0000_0000, 0xFFFF_F890_0000_0000),
    drivers=Range(0xFFFF_F800_0100_0000, 0xFFFF_F800_4000_0000),
    stack_size=0x6000,
)

X86: Final = AddressMap(
    pointer_size=4,
    address_mask=(1 << 32) - 1,
    user=Range(0x1000_0000, 0x7000_0000),
    user_limit=0x8000_0000,
    system_start=0x8000_0000,
    shared_data=0xFFDF_0000,
    user_shared_data=0x7FFE_0000,
    kpcr=0xFFDF_F000,
    nt=Range(0x8040_0000, 0x8050_0000),
    static=Range(0x8050_0000, 0x80B0_0000),
    scratch=Range(0x8100_0000, 0x8500_0000),
    nonpaged_pool=Range(0x8500_0000, 0xC000_0000),
    paged_pool=Range(0xC100_0000, 0xF000_0000),
    stacks=Range(0xF100_0000, 0xF700_0000),
    drivers=Range(0xF700_0000, 0xFF80_0000),
    stack_size=0x3000,
)


def address_map(arch: Arch) -> AddressMap:
    """The regions of `arch`."""
    return X64 if arch is Arch.X64 else X86
