"""Security descriptors, ACLs and SIDs in guest memory.

Sources: nf-wdm-rtlcreatesecuritydescriptor, nf-wdm-rtlsetdaclsecuritydescriptor,
nf-ntifs-rtladdaccessallowedace, nf-ntifs-rtlcreateacl, nf-ntifs-rtlabsolutetoselfrelativesd,
nf-ntifs-rtlconvertsidtounicodestring and the pages of their siblings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.cm.security import SecurityDescriptor, SecurityError, Sid
from harness.reference.exports import export
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.rtl_strings import put_string
from harness.reference.kernel.security import capture_descriptor
from harness.reference.kernel.text import wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_SELF_RELATIVE: Final = 0x8000
_TAG: Final = int.from_bytes(b"Strg", "little")


def _relative(m: Machine, descriptor: int) -> bool:
    return bool(m.memory.u16(descriptor + 2) & _SELF_RELATIVE)


def _member(m: Machine, descriptor: int, index: int) -> int:
    """Owner 0, group 1, SACL 2, DACL 3 of a descriptor of either form: its address or 0."""
    if _relative(m, descriptor):
        offset = m.memory.u32(descriptor + 4 + 4 * index)
        return descriptor + offset if offset else 0
    size = m.memory.pointer_size
    return m.memory.ptr(descriptor + size * (index + 1))


def _set_member(m: Machine, descriptor: int, index: int, value: int) -> None:
    m.memory.put_ptr(descriptor + m.memory.pointer_size * (index + 1), value)


def _set_bits(m: Machine, descriptor: int, clear: int, bits: int) -> None:
    m.memory.put_u16(descriptor + 2, m.memory.u16(descriptor + 2) & ~clear | bits)


@export("RtlCreateSecurityDescriptor", args="ptr, ulong")
def rtl_create_security_descriptor(m: Machine, descriptor: int, revision: int) -> int:
    if revision != 1:
        return NTSTATUS.UNKNOWN_REVISION
    m.memory.write(descriptor, bytes(layout("SECURITY_DESCRIPTOR", m.memory.pointer_size).size))
    m.memory.put_u8(descriptor, 1)
    return NTSTATUS.SUCCESS


@export("RtlValidSecurityDescriptor", args="ptr")
def rtl_valid_security_descriptor(m: Machine, descriptor: int) -> int:
    try:
        SecurityDescriptor.decode(capture_descriptor(m, descriptor))
    except SecurityError:
        return 0
    return 1


@export("RtlLengthSecurityDescriptor", args="ptr")
def rtl_length_security_descriptor(m: Machine, descriptor: int) -> int:
    """The header of its form and its parts, each rounded up to a ULONG."""
    head = 20 if _relative(m, descriptor) else layout("SECURITY_DESCRIPTOR", m.memory.pointer_size).size
    return head + len(capture_descriptor(m, descriptor)) - 20


def _get_acl(
    m: Machine, descriptor: int, present: int, acl: int, defaulted: int, index: int, bit: int
) -> int:
    control = m.memory.u16(descriptor + 2)
    m.memory.put_u8(present, int(bool(control & bit)))
    if control & bit:
        m.memory.put_ptr(acl, _member(m, descriptor, index))
        m.memory.put_u8(defaulted, int(bool(control & bit << 1)))
    return NTSTATUS.SUCCESS


def _set_acl(
    m: Machine, descriptor: int, present: int, acl: int, defaulted: int, index: int, bit: int
) -> int:
    if _relative(m, descriptor):
        return NTSTATUS.INVALID_SECURITY_DESCR
    if not present & 0xFF:
        _set_bits(m, descriptor, bit | bit << 1, 0)
        return NTSTATUS.SUCCESS
    _set_bits(m, descriptor, bit << 1, bit | (bit << 1 if defaulted & 0xFF else 0))
    _set_member(m, descriptor, index, acl)
    return NTSTATUS.SUCCESS


@export("RtlGetDaclSecurityDescriptor", args="ptr, ptr, ptr, ptr")
def rtl_get_dacl(m: Machine, descriptor: int, present: int, acl: int, defaulted: int) -> int:
    return _get_acl(m, descriptor, present, acl, defaulted, 3, 0x4)


@export("RtlGetSaclSecurityDescriptor", args="ptr, ptr, ptr, ptr")
def rtl_get_sacl(m: Machine, descriptor: int, present: int, acl: int, defaulted: int) -> int:
    return _get_acl(m, descriptor, present, acl, defaulted, 2, 0x10)


@export("RtlSetDaclSecurityDescriptor", args="ptr, uchar, ptr, uchar")
def rtl_set_dacl(m: Machine, descriptor: int, present: int, acl: int, defaulted: int) -> int:
    return _set_acl(m, descriptor, present, acl, defaulted, 3, 0x4)


@export("RtlSetSaclSecurityDescriptor", args="ptr, uchar, ptr, uchar")
def rtl_set_sacl(m: Machine, descriptor: int, present: int, acl: int, defaulted: int) -> int:
    return _set_acl(m, descriptor, present, acl, defaulted, 2, 0x10)


def _get_sid(m: Machine, descriptor: int, out: int, defaulted: int, index: int, bit: int) -> int:
    m.memory.put_ptr(out, _member(m, descriptor, index))
    m.memory.put_u8(defaulted, int(bool(m.memory.u16(descriptor + 2) & bit)))
    return NTSTATUS.SUCCESS


def _set_sid(m: Machine, descriptor: int, sid: int, defaulted: int, index: int, bit: int) -> int:
    if _relative(m, descriptor):
        return NTSTATUS.INVALID_SECURITY_DESCR
    _set_member(m, descriptor, index, sid)
    _set_bits(m, descriptor, bit, bit if defaulted & 0xFF else 0)
    return NTSTATUS.SUCCESS


@export("RtlGetOwnerSecurityDescriptor", args="ptr, ptr, ptr")
def rtl_get_owner(m: Machine, descriptor: int, out: int, defaulted: int) -> int:
    return _get_sid(m, descriptor, out, defaulted, 0, 1)


@export("RtlGetGroupSecurityDescriptor", args="ptr, ptr, ptr")
def rtl_get_group(m: Machine, descriptor: int, out: int, defaulted: int) -> int:
    return _get_sid(m, descriptor, out, defaulted, 1, 2)


@export("RtlSetOwnerSecurityDescriptor", args="ptr, ptr, uchar")
def rtl_set_owner(m: Machine, descriptor: int, sid: int, defaulted: int) -> int:
    return _set_sid(m, descriptor, sid, defaulted, 0, 1)


@export("RtlSetGroupSecurityDescriptor", args="ptr, ptr, uchar")
def rtl_set_group(m: Machine, descriptor: int, sid: int, defaulted: int) -> int:
    return _set_sid(m, descriptor, sid, defaulted, 1, 2)


@export("RtlAbsoluteToSelfRelativeSD", args="ptr, ptr, ptr")
def rtl_absolute_to_self_relative_sd(m: Machine, absolute: int, out: int, length: int) -> int:
    if _relative(m, absolute):
        return NTSTATUS.BAD_DESCRIPTOR_FORMAT
    raw = capture_descriptor(m, absolute)
    room = m.memory.u32(length)
    m.memory.put_u32(length, len(raw))
    if room < len(raw):
        return NTSTATUS.BUFFER_TOO_SMALL
    m.memory.write(out, raw)
    return NTSTATUS.SUCCESS


@export("RtlSelfRelativeToAbsoluteSD", args="ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr")
def rtl_self_relative_to_absolute_sd(
    m: Machine,
    source: int,
    target: int,
    size: int,
    dacl: int,
    dacl_size: int,
    sacl: int,
    sacl_size: int,
    owner: int,
    owner_size: int,
    group: int,
    group_size: int,
) -> int:
    if not _relative(m, source):
        return NTSTATUS.BAD_DESCRIPTOR_FORMAT
    head = layout("SECURITY_DESCRIPTOR", m.memory.pointer_size).size
    parts = []
    for index, buffer, room in (
        (0, owner, owner_size),
        (1, group, group_size),
        (2, sacl, sacl_size),
        (3, dacl, dacl_size),
    ):
        at = _member(m, source, index)
        length = 0
        if at:
            length = 8 + 4 * m.memory.u8(at + 1) if index < 2 else m.memory.u16(at + 2)
        parts.append((index, buffer, room, at, length))
    short = m.memory.u32(size) < head
    m.memory.put_u32(size, head)
    for _index, _buffer, room, _at, length in parts:
        short = short or m.memory.u32(room) < length
        m.memory.put_u32(room, length)
    if short:
        return NTSTATUS.BUFFER_TOO_SMALL
    m.memory.write(target, bytes(head))
    m.memory.put_u8(target, 1)
    m.memory.put_u16(target + 2, m.memory.u16(source + 2) & ~_SELF_RELATIVE)
    for index, buffer, _room, at, length in parts:
        if length:
            m.memory.write(buffer, m.memory.read(at, length))
            _set_member(m, target, index, buffer)
    return NTSTATUS.SUCCESS


# -- ACLs --------------------------------------------------------------------------------------------------


@export("RtlCreateAcl", args="ptr, ulong, ulong")
def rtl_create_acl(m: Machine, acl: int, length: int, revision: int) -> int:
    if length < 8:
        return NTSTATUS.BUFFER_TOO_SMALL
    if revision not in (2, 3, 4) or length > 0xFFFF:
        return NTSTATUS.INVALID_PARAMETER
    m.memory.write(acl, bytes((revision, 0)) + (length & ~3).to_bytes(2, "little") + bytes(4))
    return NTSTATUS.SUCCESS


def _end_of_aces(m: Machine, acl: int) -> int:
    at = acl + 8
    for _ in range(m.memory.u16(acl + 4)):
        at += m.memory.u16(at + 2)
    return at


def _add_ace(m: Machine, acl: int, kind: int, flags: int, mask: int, sid: int) -> int:
    raw_sid = m.memory.read(sid, 8 + 4 * m.memory.u8(sid + 1))
    raw = (
        bytes((kind, flags)) + (8 + len(raw_sid)).to_bytes(2, "little") + mask.to_bytes(4, "little") + raw_sid
    )
    at = _end_of_aces(m, acl)
    if at + len(raw) > acl + m.memory.u16(acl + 2):
        return NTSTATUS.ALLOTTED_SPACE_EXCEEDED
    m.memory.write(at, raw)
    m.memory.put_u16(acl + 4, m.memory.u16(acl + 4) + 1)
    return NTSTATUS.SUCCESS


@export("RtlAddAccessAllowedAce", args="ptr, ulong, ulong, ptr")
def rtl_add_access_allowed_ace(m: Machine, acl: int, revision: int, mask: int, sid: int) -> int:
    return _add_ace(m, acl, 0, 0, mask, sid)


@export("RtlAddAccessAllowedAceEx", args="ptr, ulong, ulong, ulong, ptr")
def rtl_add_access_allowed_ace_ex(
    m: Machine, acl: int, revision: int, flags: int, mask: int, sid: int
) -> int:
    return _add_ace(m, acl, 0, flags & 0xFF, mask, sid)


@export("RtlAddAccessDeniedAce", args="ptr, ulong, ulong, ptr")
def rtl_add_access_denied_ace(m: Machine, acl: int, revision: int, mask: int, sid: int) -> int:
    return _add_ace(m, acl, 1, 0, mask, sid)


@export("RtlGetAce", args="ptr, ulong, ptr")
def rtl_get_ace(m: Machine, acl: int, index: int, out: int) -> int:
    if index >= m.memory.u16(acl + 4):
        return NTSTATUS.INVALID_PARAMETER
    at = acl + 8
    for _ in range(index):
        at += m.memory.u16(at + 2)
    m.memory.put_ptr(out, at)
    return NTSTATUS.SUCCESS


@export("RtlDeleteAce", args="ptr, ulong")
def rtl_delete_ace(m: Machine, acl: int, index: int) -> int:
    count = m.memory.u16(acl + 4)
    if index >= count:
        return NTSTATUS.INVALID_PARAMETER
    at = acl + 8
    for _ in range(index):
        at += m.memory.u16(at + 2)
    end = _end_of_aces(m, acl)
    size = m.memory.u16(at + 2)
    m.memory.write(at, m.memory.read(at + size, end - at - size) + bytes(size))
    m.memory.put_u16(acl + 4, count - 1)
    return NTSTATUS.SUCCESS


# -- SIDs --------------------------------------------------------------------------------------------------


@export("RtlLengthSid", args="ptr")
def rtl_length_sid(m: Machine, sid: int) -> int:
    return 8 + 4 * m.memory.u8(sid + 1)


@export("RtlLengthRequiredSid", args="ulong")
def rtl_length_required_sid(m: Machine, count: int) -> int:
    return 8 + 4 * count


@export("RtlValidSid", args="ptr")
def rtl_valid_sid(m: Machine, sid: int) -> int:
    return int(m.memory.u8(sid) & 0xF == 1 and m.memory.u8(sid + 1) <= 15)


@export("RtlInitializeSid", args="ptr, ptr, uchar")
def rtl_initialize_sid(m: Machine, sid: int, authority: int, count: int) -> int:
    m.memory.write(sid, bytes((1, count & 0xFF)) + m.memory.read(authority, 6))
    return NTSTATUS.SUCCESS


@export("RtlSubAuthoritySid", args="ptr, ulong")
def rtl_sub_authority_sid(m: Machine, sid: int, index: int) -> int:
    return sid + 8 + 4 * index


@export("RtlSubAuthorityCountSid", args="ptr")
def rtl_sub_authority_count_sid(m: Machine, sid: int) -> int:
    return sid + 1


@export("RtlIdentifierAuthoritySid", args="ptr", modules=("ntoskrnl.exe",))
def rtl_identifier_authority_sid(m: Machine, sid: int) -> int:
    return sid + 2


@export("RtlCopySid", args="ulong, ptr, ptr")
def rtl_copy_sid(m: Machine, room: int, target: int, source: int) -> int:
    size = 8 + 4 * m.memory.u8(source + 1)
    if room < size:
        return NTSTATUS.BUFFER_TOO_SMALL
    m.memory.write(target, m.memory.read(source, size))
    return NTSTATUS.SUCCESS


@export("RtlEqualSid", args="ptr, ptr")
def rtl_equal_sid(m: Machine, first: int, second: int) -> int:
    size = 8 + 4 * m.memory.u8(first + 1)
    return int(
        size == 8 + 4 * m.memory.u8(second + 1) and m.memory.read(first, size) == m.memory.read(second, size)
    )


@export("RtlConvertSidToUnicodeString", args="ptr, ptr, uchar")
def rtl_convert_sid_to_unicode_string(m: Machine, string: int, sid: int, allocate: int) -> int:
    if not rtl_valid_sid(m, sid):
        return NTSTATUS.INVALID_SID
    raw = wide_encode(str(Sid.decode(m.memory.read(sid, 8 + 4 * m.memory.u8(sid + 1)), 0, "SID")))
    if allocate & 0xFF:
        buffer = m.pool.alloc(len(raw) + 2, _TAG, paged=True, zero=True)
        put_string(m, string, len(raw), len(raw) + 2, buffer)
    else:
        if len(raw) > m.memory.u16(string + 2):
            return NTSTATUS.BUFFER_OVERFLOW
        buffer = m.memory.ptr(string + m.memory.pointer_size)
        m.memory.put_u16(string, len(raw))
    m.memory.write(buffer, raw)
    return NTSTATUS.SUCCESS


@export(
    "RtlAllocateAndInitializeSid",
    args="ptr, uchar, ulong, ulong, ulong, ulong, ulong, ulong, ulong, ulong, ptr",
    modules=("ntoskrnl.exe",),
    since=(6, 0),
)
def rtl_allocate_and_initialize_sid(m: Machine, authority: int, count: int, *rest: int) -> int:
    """At most eight of the subauthorities given."""
    *given, out = rest
    if count & 0xFF > len(given):
        return NTSTATUS.INVALID_SID
    raw = bytes((1, count & 0xFF)) + m.memory.read(authority, 6)
    raw += b"".join(value.to_bytes(4, "little") for value in given[: count & 0xFF])
    buffer = m.pool.alloc(len(raw), _TAG, paged=True)
    m.memory.write(buffer, raw)
    m.memory.put_ptr(out, buffer)
    return NTSTATUS.SUCCESS


@export("RtlFreeSid", args="ptr", since=(6, 0))
def rtl_free_sid(m: Machine, sid: int) -> int:
    m.pool.free(sid, None)
    return 0


@export("RtlMapGenericMask", args="ptr, ptr")
def rtl_map_generic_mask(m: Machine, mask: int, mapping: int) -> None:
    value = m.memory.u32(mask)
    read, write, execute, everything = (m.memory.u32(mapping + 4 * i) for i in range(4))
    for bit, stands_for in (
        (0x80000000, read),
        (0x40000000, write),
        (0x20000000, execute),
        (0x10000000, everything),
    ):
        if value & bit:
            value |= stands_for
    m.memory.put_u32(mask, value & 0x0FFFFFFF)
