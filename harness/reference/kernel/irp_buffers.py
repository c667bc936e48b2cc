"""How the data of a request gets to the driver and back: buffered, direct, neither.

Source: kernel/methods-for-accessing-data-buffers, kernel/buffer-descriptions-for-i-o-control-codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.kernel.heap import SYSTEM_OWNED
from harness.reference.kernel.mdl import build_user_mdl, release_user_mdl

if TYPE_CHECKING:
    from harness.reference.kernel.irps import Irp
    from harness.reference.kernel.layouts import View
    from harness.reference.machine import Machine

__all__ = ["Control", "attach_control", "attach_transfer", "copy_back", "release_buffers"]

_DO_BUFFERED_IO: Final = 0x4
_DO_DIRECT_IO: Final = 0x10
_METHOD_BUFFERED: Final = 0
_METHOD_OUT_DIRECT: Final = 2
_METHOD_NEITHER: Final = 3
_TAG_BUFFER: Final = int.from_bytes(b"IoSB", "little")


@dataclass(frozen=True, slots=True)
class Control:
    """A device control request: its code, and address and bytes of the requester's input and output."""

    code: int
    source: int
    source_length: int
    target: int
    target_length: int


def attach_transfer(
    m: Machine, irp: Irp, location: View, flags: int, buffer: int, length: int, *, reads: bool
) -> None:
    """Buffer and parameters of a read or write at offset 0; `flags` are the device's DO_ flags."""
    view = m.kernel.io.irps.view(irp)
    view["UserBuffer"] = buffer
    if flags & _DO_BUFFERED_IO:
        _system_buffer(m, irp, view, length, b"" if reads else m.memory.read(buffer, length))
        if reads:
            irp.copy_to, irp.copy_limit = buffer, length
    elif flags & _DO_DIRECT_IO and length:
        irp.lock = build_user_mdl(m, buffer, length, write=reads)
        view["MdlAddress"] = irp.lock.mdl
    at, step = location.of("Parameters"), m.memory.pointer_size
    m.memory.put_u32(at, length)
    m.memory.put_u64(at + 2 * step, 0)


def attach_control(m: Machine, irp: Irp, location: View, control: Control) -> None:
    """Buffers and parameters of a device control request, by the method in its code."""
    view = m.kernel.io.irps.view(irp)
    method = control.code & 3
    type3 = 0
    if method == _METHOD_NEITHER:
        type3 = control.source
        view["UserBuffer"] = control.target
    else:
        source = m.memory.read(control.source, control.source_length) if control.source_length else b""
        if method == _METHOD_BUFFERED:
            _system_buffer(m, irp, view, max(control.source_length, control.target_length), source)
            view["UserBuffer"] = control.target
            irp.copy_to, irp.copy_limit = control.target, control.target_length
        else:
            _system_buffer(m, irp, view, control.source_length, source)
            if control.target_length:
                writes = method == _METHOD_OUT_DIRECT
                irp.lock = build_user_mdl(m, control.target, control.target_length, write=writes)
                view["MdlAddress"] = irp.lock.mdl
    at, step = location.of("Parameters"), m.memory.pointer_size
    m.memory.put_u32(at, control.target_length)
    m.memory.put_u32(at + step, control.source_length)
    m.memory.put_u32(at + 2 * step, control.code)
    m.memory.put_ptr(at + 3 * step, type3)


def _system_buffer(m: Machine, irp: Irp, view: View, size: int, raw: bytes) -> None:
    if not size:
        return
    buffer = m.pool.alloc(size, _TAG_BUFFER, paged=False, zero=True, owner=SYSTEM_OWNED)
    if raw:
        m.memory.write(buffer, raw)
    irp.owned_buffers.append(buffer)
    irp.system_buffer = buffer
    view["SystemBuffer"] = buffer


def copy_back(m: Machine, irp: Irp) -> None:
    """Give the requester what Information counts of the system buffer, unless the request failed.

    Its own buffer, where that was locked, is unlocked.
    """
    if irp.copy_to and irp.status & 0xC0000000 != 0xC0000000 and irp.information:
        # The I/O manager trusts Information: more than the system buffer holds is read beyond its end.
        if irp.information > irp.copy_limit:
            m.kernel.debug.note(
                f"IoStatus.Information is {irp.information}, the output buffer has {irp.copy_limit} bytes"
            )
        size = min(irp.information, irp.copy_limit)
        m.memory.write(irp.copy_to, m.memory.read(irp.system_buffer, size))
    _unlock(m, irp)


def _unlock(m: Machine, irp: Irp) -> None:
    """Take the MDL over the requester's buffer away."""
    if irp.lock is not None:
        release_user_mdl(m, irp.lock)
        irp.lock = None


def release_buffers(m: Machine, irp: Irp) -> None:
    """Free what the request was given."""
    for buffer in irp.owned_buffers:
        m.pool.free(buffer, _TAG_BUFFER)
    irp.owned_buffers.clear()
    _unlock(m, irp)
