"""Security as the kernel's general objects need it: checks against any generic mapping, and SDDL.

The formats and tokens are those of the configuration manager model. Sources: nf-wdm-seaccesscheck,
SecAuthZ/how-dacls-control-access-to-an-object, kernel/sddl-for-device-objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.cm.sddl import parse_sddl
from harness.reference.cm.security import AceFlags, AceType, SecurityDescriptor
from harness.reference.cm.tokens import SECURITY, TAKE_OWNERSHIP, Token
from harness.reference.kernel.objects import GenericMapping
from harness.registry.access import (
    ACCESS_SYSTEM_SECURITY,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
    WRITE_DAC,
    WRITE_OWNER,
)
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["FILE_MAPPING", "access_check", "capture_descriptor", "parse_sddl", "security_access", "token_of"]

#: Generic mapping of files and devices (FILE_GENERIC_READ and so on, wdm.h).
FILE_MAPPING: Final = GenericMapping(0x120089, 0x120116, 0x1200A0, 0x1F01FF)

_SE_SELF_RELATIVE: Final = 0x8000
_DACL_PRESENT: Final = 0x4
_SACL_PRESENT: Final = 0x10


def access_check(
    descriptor: SecurityDescriptor, token: Token, desired: int, mapping: GenericMapping
) -> tuple[int, int]:
    """(status, granted access) of a user-mode request for an object with this descriptor."""
    desired = mapping.apply(desired)
    maximum = bool(desired & MAXIMUM_ALLOWED)
    wanted = desired & ~MAXIMUM_ALLOWED
    granted = 0
    if wanted & ACCESS_SYSTEM_SECURITY:
        if not token.has(SECURITY):
            return NTSTATUS.PRIVILEGE_NOT_HELD, 0
        granted = ACCESS_SYSTEM_SECURITY
    scope = (wanted & ~ACCESS_SYSTEM_SECURITY) | (mapping.all if maximum else 0)
    granted |= _allowed(descriptor, token, scope, mapping)
    if wanted & ~granted or (maximum and not granted):
        return NTSTATUS.ACCESS_DENIED, 0
    return NTSTATUS.SUCCESS, granted


def _allowed(descriptor: SecurityDescriptor, token: Token, scope: int, mapping: GenericMapping) -> int:
    if descriptor.dacl is None:
        return scope  # no DACL, or a NULL one: everything
    granted = denied = 0
    if descriptor.owner is not None and token.holds(descriptor.owner):
        granted = (READ_CONTROL | WRITE_DAC) & scope
    if token.has(TAKE_OWNERSHIP):
        granted |= WRITE_OWNER & scope
    for ace in descriptor.dacl:
        if ace.flags & AceFlags.INHERIT_ONLY or ace.sid is None or not token.holds(ace.sid):
            continue
        mask = mapping.apply(ace.mask) & scope
        if ace.type == AceType.ALLOWED:
            granted |= mask & ~denied
        elif ace.type == AceType.DENIED:
            denied |= mask & ~granted
    return granted


def security_access(information: int, *, setting: bool) -> int:
    """The rights a handle needs to query or set these parts of a descriptor
    (nf-ntifs-ntquerysecurityobject)."""
    if setting:
        owner, dacl = WRITE_OWNER, WRITE_DAC
    else:
        owner, dacl = READ_CONTROL, READ_CONTROL
    access = owner if information & 0x13 else 0
    if information & 0x4:
        access |= dacl
    if information & 0x8:
        access |= ACCESS_SYSTEM_SECURITY
    return access


def token_of(m: Machine) -> Token:
    """The token a check in the current thread is made with: the impersonated one, else the process'."""
    body = m.current.body
    if body is not None and body.impersonating is not None:
        token: Token = body.impersonating.body
        return token
    own: Token = m.current.process.body.token
    return own


def capture_descriptor(m: Machine, address: int) -> bytes:
    """The self-relative form of a descriptor of either form in guest memory.

    Raises `GuestFault`, and `SecurityError` from decoding what it returns when the content is nonsense.
    """
    memory = m.memory
    control = memory.u16(address + 2)
    header = memory.read(address, 4)
    if control & _SE_SELF_RELATIVE:
        offsets = [memory.u32(address + 4 + 4 * i) for i in range(4)]
        pointers = [address + each if each else 0 for each in offsets]
    else:
        size = memory.pointer_size
        pointers = [memory.ptr(address + size + size * i) for i in range(4)]
    owner, group, sacl, dacl = pointers
    parts = [
        _sid_bytes(m, owner),
        _sid_bytes(m, group),
        memory.read(sacl, memory.u16(sacl + 2)) if sacl and control & _SACL_PRESENT else b"",
        memory.read(dacl, memory.u16(dacl + 2)) if dacl and control & _DACL_PRESENT else b"",
    ]
    out = bytearray(20)
    out[0:4] = header
    out[2:4] = (control | _SE_SELF_RELATIVE).to_bytes(2, "little")
    for index, part in enumerate(parts):
        if part:
            out[4 + 4 * index : 8 + 4 * index] = len(out).to_bytes(4, "little")
            out += part + bytes(-len(part) % 4)
    return bytes(out)


def _sid_bytes(m: Machine, address: int) -> bytes:
    return m.memory.read(address, 8 + 4 * m.memory.u8(address + 1)) if address else b""
