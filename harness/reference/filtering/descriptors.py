"""Reading security descriptors that requesters pass: absolute or self-relative, of any mode.

Layout: [MS-DTYP] 2.4.6 for self-relative ones; an absolute descriptor (SECURITY_DESCRIPTOR of wdm.h) has
pointers where the self-relative one has offsets, and pointer alignment.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.faults import GuestFault
from harness.reference.filtering.request import ServiceFailure
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.filtering.request import Requester
    from harness.reference.memory import Memory

__all__ = ["read_descriptor"]

_SELF_RELATIVE: Final = 0x8000
_DACL_PRESENT: Final = 0x0004
_SACL_PRESENT: Final = 0x0010
_MAX_SID: Final = 8 + 4 * 15
_HEADER: Final = struct.Struct("<BBHIIII")


def read_descriptor(who: Requester, address: int) -> bytes:
    """The descriptor at `address` in self-relative form.

    Raises `ServiceFailure` with STATUS_UNKNOWN_REVISION or STATUS_INVALID_SECURITY_DESCR for what is none,
    and with STATUS_ACCESS_VIOLATION for a bad pointer of a user-mode requester.
    """
    memory = who.memory
    who.probe_read(address, 4, 4)
    revision, control = memory.u8(address), memory.u16(address + 2)
    if revision != 1:
        raise ServiceFailure(NTSTATUS.UNKNOWN_REVISION)
    try:
        owner_at, group_at, sacl_at, dacl_at = _members(memory, address, control)
        owner = _sid(who, owner_at)
        group = _sid(who, group_at)
        sacl = _acl(who, sacl_at) if control & _SACL_PRESENT else b""
        dacl = _acl(who, dacl_at) if control & _DACL_PRESENT else b""
    except GuestFault:
        if not who.user:
            raise
        raise ServiceFailure(NTSTATUS.ACCESS_VIOLATION) from None
    parts, offsets, at = [], [], _HEADER.size
    for part in (sacl, dacl, owner, group):
        offsets.append(at if part else 0)
        parts.append(part)
        at += len(part)
    header = _HEADER.pack(1, 0, control | _SELF_RELATIVE, offsets[2], offsets[3], offsets[0], offsets[1])
    return header + b"".join(parts)


def _members(memory: Memory, address: int, control: int) -> list[int]:
    """Addresses of owner, group, SACL and DACL, 0 for those that are absent."""
    if control & _SELF_RELATIVE:
        offsets = [memory.u32(address + 4 + 4 * index) for index in range(4)]
        return [address + offset if offset else 0 for offset in offsets]
    step = memory.pointer_size
    first = address + (8 if step == 8 else 4)
    return [memory.ptr(first + step * index) for index in range(4)]


def _sid(who: Requester, address: int) -> bytes:
    if not address:
        return b""
    who.probe_read(address, 8)
    count = who.memory.u8(address + 1)
    size = 8 + 4 * count
    if size > _MAX_SID or who.memory.u8(address) != 1:
        raise ServiceFailure(NTSTATUS.INVALID_SID)
    who.probe_read(address, size)
    return who.memory.read(address, size)


def _acl(who: Requester, address: int) -> bytes:
    if not address:
        return b""
    who.probe_read(address, 8)
    size = who.memory.u16(address + 2)
    if size < 8:
        raise ServiceFailure(NTSTATUS.INVALID_ACL)
    who.probe_read(address, size)
    return who.memory.read(address, size) + bytes(-size & 3)
