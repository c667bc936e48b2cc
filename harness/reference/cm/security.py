"""Self-relative security descriptors: SIDs, access control lists, parsing and building.

Format: [MS-DTYP] 2.4.2 (SID), 2.4.4 (ACE), 2.4.5 (ACL), 2.4.6 (SECURITY_DESCRIPTOR). Bytes from outside
are hostile: every offset and size is checked.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, replace
from typing import Final

from harness.registry.access import (
    SecurityInformation,
)

__all__ = [
    "Ace",
    "AceFlags",
    "AceType",
    "Control",
    "SecurityDescriptor",
    "SecurityError",
    "Sid",
]

_MAX_SUBAUTHORITIES: Final = 15
_HEADER: Final = struct.Struct("<BBHIIII")
_ACL: Final = struct.Struct("<BBHHH")
_ACE: Final = struct.Struct("<BBHI")


class SecurityError(ValueError):
    """Bytes or text that is no valid security descriptor; says what and where."""


class Control(enum.IntEnum):
    """SECURITY_DESCRIPTOR_CONTROL."""

    OWNER_DEFAULTED = 0x0001
    GROUP_DEFAULTED = 0x0002
    DACL_PRESENT = 0x0004
    DACL_DEFAULTED = 0x0008
    SACL_PRESENT = 0x0010
    SACL_DEFAULTED = 0x0020
    DACL_AUTO_INHERIT_REQ = 0x0100
    SACL_AUTO_INHERIT_REQ = 0x0200
    DACL_AUTO_INHERITED = 0x0400
    SACL_AUTO_INHERITED = 0x0800
    DACL_PROTECTED = 0x1000
    SACL_PROTECTED = 0x2000
    SELF_RELATIVE = 0x8000


class AceType(enum.IntEnum):
    """Types of access control entries this model understands; others are carried along unread."""

    ALLOWED = 0
    DENIED = 1
    AUDIT = 2
    MANDATORY_LABEL = 17


class AceFlags(enum.IntEnum):
    """Inheritance and audit flags of an entry."""

    OBJECT_INHERIT = 0x01
    CONTAINER_INHERIT = 0x02
    NO_PROPAGATE = 0x04
    INHERIT_ONLY = 0x08
    INHERITED = 0x10
    SUCCESSFUL_ACCESS = 0x40
    FAILED_ACCESS = 0x80


@dataclass(frozen=True, slots=True, order=True)
class Sid:
    """A security identifier, S-1-authority-sub-sub-..."""

    authority: int
    subauthorities: tuple[int, ...]

    @staticmethod
    def parse(text: str) -> Sid:
        """Read "S-1-5-32-544"; raises SecurityError."""
        parts = text.upper().split("-")
        try:
            if parts[0] != "S" or parts[1] != "1" or not 3 <= len(parts) <= 3 + _MAX_SUBAUTHORITIES:
                raise ValueError
            numbers = [int(part, 0) for part in parts[2:]]
        except (ValueError, IndexError):
            raise SecurityError(f"{text[:64]!r} is not a SID") from None
        if numbers[0] >= 1 << 48 or any(number >= 1 << 32 for number in numbers[1:]) or min(numbers) < 0:
            raise SecurityError(f"{text[:64]!r} has an authority out of range")
        return Sid(numbers[0], tuple(numbers[1:]))

    @staticmethod
    def decode(data: bytes, offset: int, where: str) -> Sid:
        """Read a binary SID at `offset`; raises SecurityError."""
        if offset + 8 > len(data):
            raise SecurityError(f"{where}: SID at {offset} lies outside of {len(data)} bytes")
        revision, count = data[offset], data[offset + 1]
        if revision != 1 or count > _MAX_SUBAUTHORITIES or offset + 8 + 4 * count > len(data):
            raise SecurityError(f"{where}: SID at {offset} has revision {revision}, {count} subauthorities")
        authority = int.from_bytes(data[offset + 2 : offset + 8], "big")
        return Sid(authority, struct.unpack_from(f"<{count}I", data, offset + 8))

    def encode(self) -> bytes:
        """The binary form."""
        head = bytes((1, len(self.subauthorities))) + self.authority.to_bytes(6, "big")
        return head + struct.pack(f"<{len(self.subauthorities)}I", *self.subauthorities)

    def __str__(self) -> str:
        return "-".join(("S-1", str(self.authority), *map(str, self.subauthorities)))


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry. Of a type that is not understood, sid is None and `body` holds what follows the header."""

    type: int
    flags: int
    mask: int
    sid: Sid | None
    body: bytes = b""

    def encode(self) -> bytes:
        """The binary form, padded to 4 bytes."""
        if self.sid is None:
            data = struct.pack("<BBH", self.type, self.flags, 4 + len(self.body)) + self.body
        else:
            sid = self.sid.encode()
            data = _ACE.pack(self.type, self.flags, 8 + len(sid), self.mask) + sid
        return data


Acl = tuple[Ace, ...]


def _decode_acl(data: bytes, offset: int, name: str) -> Acl:
    if offset + 8 > len(data):
        raise SecurityError(f"{name} at {offset} lies outside of {len(data)} bytes")
    revision, _, size, count, _ = _ACL.unpack_from(data, offset)
    end = offset + size
    if revision not in (2, 4) or size < 8 or end > len(data):
        raise SecurityError(f"{name} at {offset} has revision {revision}, size {size}")
    aces: list[Ace] = []
    at = offset + 8
    for index in range(count):
        where = f"{name} entry {index}"
        if at + 4 > end:
            raise SecurityError(f"{where} at {at} lies outside of the list")
        kind, flags, ace_size = struct.unpack_from("<BBH", data, at)
        if ace_size < 4 or ace_size % 4 or at + ace_size > end:
            raise SecurityError(f"{where} at {at} has size {ace_size}")
        if kind in iter(AceType):
            if ace_size < 16:
                raise SecurityError(f"{where} at {at} is too short for a SID")
            sid = Sid.decode(data[: at + ace_size], at + 8, where)
            aces.append(Ace(kind, flags, _ACE.unpack_from(data, at)[3], sid))
        else:
            aces.append(Ace(kind, flags, 0, None, data[at + 4 : at + ace_size]))
        at += ace_size
    return tuple(aces)


def _encode_acl(aces: Acl) -> bytes:
    body = b"".join(ace.encode() for ace in aces)
    if len(body) + 8 > 0xFFFF:
        raise SecurityError(f"an access control list of {len(body) + 8} bytes is too long")
    return _ACL.pack(2, 0, 8 + len(body), len(aces), 0) + body


@dataclass(frozen=True, slots=True)
class SecurityDescriptor:
    """A security descriptor. A list that is None is absent, or NULL when control has its PRESENT bit."""

    owner: Sid | None = None
    group: Sid | None = None
    dacl: Acl | None = None
    sacl: Acl | None = None
    control: int = 0

    @staticmethod
    def decode(data: bytes) -> SecurityDescriptor:
        """Read a self-relative descriptor; raises SecurityError with what is wrong and where."""
        if len(data) < _HEADER.size:
            raise SecurityError(f"{len(data)} bytes are too few for a security descriptor")
        revision, _, control, owner, group, sacl, dacl = _HEADER.unpack_from(data)
        if revision != 1 or not control & Control.SELF_RELATIVE:
            raise SecurityError(
                f"revision {revision}, control 0x{control:04X}: not a self-relative descriptor"
            )
        return SecurityDescriptor(
            owner=Sid.decode(data, owner, "owner") if owner else None,
            group=Sid.decode(data, group, "group") if group else None,
            dacl=_decode_acl(data, dacl, "DACL") if dacl and control & Control.DACL_PRESENT else None,
            sacl=_decode_acl(data, sacl, "SACL") if sacl and control & Control.SACL_PRESENT else None,
            control=control & ~Control.SELF_RELATIVE,
        )

    def encode(self) -> bytes:
        """The self-relative form: header, SACL, DACL, owner, group."""
        control = self.control | Control.SELF_RELATIVE
        parts: list[bytes] = []
        offsets: list[int] = []
        at = _HEADER.size
        for part in (
            _encode_acl(self.sacl) if self.sacl is not None else b"",
            _encode_acl(self.dacl) if self.dacl is not None else b"",
            self.owner.encode() if self.owner else b"",
            self.group.encode() if self.group else b"",
        ):
            offsets.append(at if part else 0)
            parts.append(part)
            at += len(part)
        if self.sacl is not None:
            control |= Control.SACL_PRESENT
        if self.dacl is not None:
            control |= Control.DACL_PRESENT
        sacl, dacl, owner, group = offsets
        return _HEADER.pack(1, 0, control, owner, group, sacl, dacl) + b"".join(parts)

    def select(self, information: int) -> SecurityDescriptor:
        """Only the parts a SECURITY_INFORMATION names, as NtQuerySecurityObject returns them."""
        control, dacl, sacl = self.control, self.dacl, self.sacl
        if not information & SecurityInformation.DACL:
            dacl, control = None, control & ~_DACL_BITS
        if not information & SecurityInformation.SACL:
            labels = tuple(ace for ace in sacl or () if ace.type == AceType.MANDATORY_LABEL)
            keep = bool(information & SecurityInformation.LABEL) and bool(labels)
            sacl, control = (labels, control) if keep else (None, control & ~_SACL_BITS)
        return SecurityDescriptor(
            owner=self.owner if information & SecurityInformation.OWNER else None,
            group=self.group if information & SecurityInformation.GROUP else None,
            dacl=dacl,
            sacl=sacl,
            control=control & ~(Control.OWNER_DEFAULTED | Control.GROUP_DEFAULTED),
        )

    def merge(self, other: SecurityDescriptor, information: int) -> SecurityDescriptor:
        """This descriptor with the named parts taken from `other`, as NtSetSecurityObject does."""
        result = self
        if information & SecurityInformation.OWNER:
            result = replace(result, owner=other.owner)
        if information & SecurityInformation.GROUP:
            result = replace(result, group=other.group)
        if information & SecurityInformation.DACL:
            control = (result.control & ~_DACL_BITS) | (other.control & _DACL_BITS) | Control.DACL_PRESENT
            if information & SecurityInformation.PROTECTED_DACL:
                control |= Control.DACL_PROTECTED
            if information & SecurityInformation.UNPROTECTED_DACL:
                control &= ~Control.DACL_PROTECTED
            result = replace(result, dacl=other.dacl, control=control)
        if information & (SecurityInformation.SACL | SecurityInformation.LABEL):
            control = (result.control & ~_SACL_BITS) | (other.control & _SACL_BITS)
            result = replace(result, sacl=other.sacl, control=control)
        return result


_DACL_BITS: Final = (
    Control.DACL_PRESENT
    | Control.DACL_DEFAULTED
    | Control.DACL_AUTO_INHERIT_REQ
    | Control.DACL_AUTO_INHERITED
    | Control.DACL_PROTECTED
)
_SACL_BITS: Final = (
    Control.SACL_PRESENT
    | Control.SACL_DEFAULTED
    | Control.SACL_AUTO_INHERIT_REQ
    | Control.SACL_AUTO_INHERITED
    | Control.SACL_PROTECTED
)
