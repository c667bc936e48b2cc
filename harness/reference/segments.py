"""The processor control region and, on x86, the segments through which code reaches it.

Offsets are those that code compiled against the WDK contains: KeGetCurrentThread is an inline read of
gs:[188h] (x64) or fs:[124h] (x86), x86 exception registrations hang from fs:[0].
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference import mailbox as mb
from harness.reference.memory import READ, WRITE, Memory

if TYPE_CHECKING:
    from harness.reference.engine import Engine

__all__ = ["CHAIN_END", "EXCEPTION_LIST", "current_thread_cell", "load", "map_kpcr"]

#: x86: end of the chain of exception registrations.
CHAIN_END: Final = 0xFFFF_FFFF
#: x86: offset of KPCR.NtTib.ExceptionList.
EXCEPTION_LIST: Final = 0

_THREAD64: Final = 0x188
_THREAD32: Final = 0x124
_IRQL32: Final = 0x24
_GDT: Final = 0x800  # in the KPCR's page, after everything that is used of it

# Selectors of Windows on x86: kernel code 8, kernel data 10h, user data 20h|3, KPCR 30h.
_CODE: Final = 0x08
_DATA: Final = 0x10
_KPCR: Final = 0x30


def map_kpcr(memory: Memory, mailbox: int) -> int:
    """Map and fill the KPCR; returns the address of the byte that holds the IRQL."""
    kpcr = memory.map.kpcr
    memory.map_pages(kpcr, 1, READ | WRITE, contiguous=True)
    if memory.pointer_size == 8:
        memory.put_u64(kpcr + 0x18, kpcr)  # Self
        memory.put_u64(kpcr + 0x20, kpcr + 0x180)  # CurrentPrcb
        return mailbox + mb.IRQL
    memory.put_u32(kpcr + EXCEPTION_LIST, CHAIN_END)
    memory.put_u32(kpcr + 0x1C, kpcr)  # SelfPcr
    memory.put_u32(kpcr + 0x20, kpcr + 0x120)  # Prcb
    entries = [b""] * 7
    entries[0] = bytes(8)
    entries[_CODE >> 3] = _descriptor(0, 0xF_FFFF, 0x9B)
    entries[_DATA >> 3] = _descriptor(0, 0xF_FFFF, 0x93)
    entries[3] = _descriptor(0, 0xF_FFFF, 0xFB)
    entries[4] = _descriptor(0, 0xF_FFFF, 0xF3)
    entries[5] = bytes(8)
    entries[_KPCR >> 3] = _descriptor(kpcr, 1, 0x93)
    memory.write(kpcr + _GDT, b"".join(entries))
    return kpcr + _IRQL32


def load(engine: Engine, memory: Memory) -> None:
    """Point the processor at the KPCR."""
    kpcr = memory.map.kpcr
    if memory.pointer_size == 8:
        engine.set_base(kpcr)
    else:
        engine.set_segments(kpcr + _GDT, 7 * 8 - 1, _CODE, _DATA, _KPCR)


def current_thread_cell(memory: Memory) -> int:
    """Address of the pointer to the running thread's ETHREAD."""
    return memory.map.kpcr + (_THREAD64 if memory.pointer_size == 8 else _THREAD32)


def _descriptor(base: int, limit: int, access: int) -> bytes:
    """A 32-bit segment descriptor with page granularity."""
    return struct.pack(
        "<HHBBBB",
        limit & 0xFFFF,
        base & 0xFFFF,
        base >> 16 & 0xFF,
        access,
        0xC0 | (limit >> 16 & 0xF),
        base >> 24 & 0xFF,
    )
