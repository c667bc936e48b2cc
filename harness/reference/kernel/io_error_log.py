"""Entries for the system's event log: what a driver writes ends up in the debug output.

Sources: nf-wdm-ioallocateerrorlogentry, nf-wdm-iowriteerrorlogentry, ns-wdm-_io_error_log_packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import DISPATCH_LEVEL, need_irql
from harness.reference.kernel.text import read_wide_z

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_TAG: Final = int.from_bytes(b"IoEr", "little")
#: sizeof(IO_ERROR_LOG_PACKET) and ERROR_LOG_MAXIMUM_SIZE.
_SMALLEST: Final = 0x30
_LARGEST: Final = 0xF0
#: NumberOfStrings, StringOffset and ErrorCode in it, the same on x64 and x86.
_STRINGS, _FIRST, _CODE = 4, 6, 12


@export("IoAllocateErrorLogEntry", args="ptr, uchar")
def io_allocate_error_log_entry(m: Machine, source: int, size: int) -> int:
    need_irql(m, DISPATCH_LEVEL, "IoAllocateErrorLogEntry", "nf-wdm-ioallocateerrorlogentry")
    if not source or not _SMALLEST <= size & 0xFF <= _LARGEST:
        return 0
    # The slack is what the log itself needs; strings without an end can't run out of the block.
    return m.pool.alloc((size & 0xFF) + 2, _TAG, paged=False, zero=True)


@export("IoFreeErrorLogEntry", args="ptr", since=(5, 2))
def io_free_error_log_entry(m: Machine, entry: int) -> None:
    m.pool.free(entry, _TAG)


@export("IoWriteErrorLogEntry", args="ptr")
def io_write_error_log_entry(m: Machine, entry: int) -> None:
    """Takes the entry; the driver must not touch it any more."""
    need_irql(m, DISPATCH_LEVEL, "IoWriteErrorLogEntry", "nf-wdm-iowriteerrorlogentry")
    at = entry + m.memory.u16(entry + _FIRST)
    texts = []
    for _string in range(min(m.memory.u16(entry + _STRINGS), _LARGEST // 2)):
        texts.append(read_wide_z(m.memory, at, _LARGEST))
        at += 2 * len(texts[-1]) + 2
    words = "".join(f" {text!r}" for text in texts)
    m.kernel.debug.note(f"event log: {m.memory.u32(entry + _CODE):#010x}{words}")
    m.pool.free(entry, _TAG)
