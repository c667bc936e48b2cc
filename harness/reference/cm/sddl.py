"""Security descriptors as text (SDDL). Source: SecAuthZ/security-descriptor-string-format and ace-strings."""

from __future__ import annotations

import re
from typing import Final

from harness.registry import access

from .security import Ace, AceFlags, AceType, Acl, Control, SecurityDescriptor, SecurityError, Sid
from .tokens import ADMINISTRATOR

__all__ = ["format_sddl", "parse_sddl"]

_SIDS: Final = {
    "AN": Sid(5, (7,)),
    "AO": Sid(5, (32, 548)),
    "AU": Sid(5, (11,)),
    "BA": Sid(5, (32, 544)),
    "BG": Sid(5, (32, 546)),
    "BO": Sid(5, (32, 551)),
    "BU": Sid(5, (32, 545)),
    "CG": Sid(3, (1,)),
    "CO": Sid(3, (0,)),
    "IU": Sid(5, (4,)),
    "LA": ADMINISTRATOR.user,
    "LS": Sid(5, (19,)),
    "NS": Sid(5, (20,)),
    "NU": Sid(5, (2,)),
    "OW": Sid(3, (4,)),
    "PS": Sid(5, (10,)),
    "PU": Sid(5, (32, 547)),
    "RC": Sid(5, (12,)),
    "SU": Sid(5, (6,)),
    "SY": Sid(5, (18,)),
    "WD": Sid(1, (0,)),
    "AC": Sid(15, (2, 1)),
    "LW": Sid(16, (4096,)),
    "ME": Sid(16, (8192,)),
    "HI": Sid(16, (12288,)),
    "SI": Sid(16, (16384,)),
}
_SID_NAMES: Final = {sid: name for name, sid in _SIDS.items()}

_TYPES: Final = {
    "A": AceType.ALLOWED,
    "D": AceType.DENIED,
    "AU": AceType.AUDIT,
    "ML": AceType.MANDATORY_LABEL,
}
_TYPE_NAMES: Final = {value: name for name, value in _TYPES.items()}

_FLAGS: Final = {
    "OI": AceFlags.OBJECT_INHERIT,
    "CI": AceFlags.CONTAINER_INHERIT,
    "NP": AceFlags.NO_PROPAGATE,
    "IO": AceFlags.INHERIT_ONLY,
    "ID": AceFlags.INHERITED,
    "SA": AceFlags.SUCCESSFUL_ACCESS,
    "FA": AceFlags.FAILED_ACCESS,
}

_RIGHTS: Final = {
    "KA": access.KEY_ALL_ACCESS,
    "KR": access.KEY_READ,
    "KW": access.KEY_WRITE,
    "KX": access.KEY_EXECUTE,
    "GA": access.GENERIC_ALL,
    "GR": access.GENERIC_READ,
    "GW": access.GENERIC_WRITE,
    "GX": access.GENERIC_EXECUTE,
    "RC": access.READ_CONTROL,
    "SD": access.DELETE,
    "WD": access.WRITE_DAC,
    "WO": access.WRITE_OWNER,
    "CC": 0x001,
    "DC": 0x002,
    "LC": 0x004,
    "SW": 0x008,
    "RP": 0x010,
    "WP": 0x020,
    "DT": 0x040,
    "LO": 0x080,
    "CR": 0x100,
    # In a mandatory label the mask is a policy.
    "NW": 0x1,
    "NR": 0x2,
    "NX": 0x4,
}
_RIGHT_NAMES: Final = {value: name for name, value in reversed(_RIGHTS.items()) if name[0] in "KG"}

_PART: Final = re.compile(r"([OGDS]):")
_ACL: Final = re.compile(r"(P|AR|AI|NO_ACCESS_CONTROL)")
_ACE: Final = re.compile(r"\(([^()]*)\)")


def _sid(text: str) -> Sid:
    known = _SIDS.get(text.upper())
    return known if known is not None else Sid.parse(text)


def _bits(text: str, names: dict[str, int], what: str) -> int:
    bits = 0
    for at in range(0, len(text), 2):
        bit = names.get(text[at : at + 2].upper())
        if bit is None:
            raise SecurityError(f"SDDL: {text[at : at + 2]!r} is no {what}")
        bits |= bit
    return bits


def _rights(text: str) -> int:
    if text[:2].lower() == "0x" or text.isdecimal():
        try:
            return int(text, 0) & 0xFFFFFFFF
        except ValueError:
            raise SecurityError(f"SDDL: {text!r} is no access mask") from None
    return _bits(text, _RIGHTS, "access right")


def _ace(text: str) -> Ace:
    fields = text.split(";")
    if len(fields) != 6 or fields[3] or fields[4]:
        raise SecurityError(f"SDDL: ({text}) is not type;flags;rights;;;account")
    kind = _TYPES.get(fields[0].upper())
    if kind is None:
        raise SecurityError(f"SDDL: entry type {fields[0]!r} is not supported")
    flags = {name: int(bit) for name, bit in _FLAGS.items()}
    return Ace(kind, _bits(fields[1], flags, "flag"), _rights(fields[2]), _sid(fields[5]))


def _acl(text: str, shift: int) -> tuple[Acl | None, int]:
    """The entries and control bits of a list; `shift`: a SACL's bits lie one higher than a DACL's."""
    control, at, null = 0, 0, False
    bits = {
        "P": Control.DACL_PROTECTED,
        "AR": Control.DACL_AUTO_INHERIT_REQ,
        "AI": Control.DACL_AUTO_INHERITED,
    }
    while (flag := _ACL.match(text, at)) is not None:
        null |= flag[1] == "NO_ACCESS_CONTROL"
        control |= int(bits.get(flag[1], 0)) << shift
        at = flag.end()
    aces: list[Ace] = []
    while (entry := _ACE.match(text, at)) is not None:
        aces.append(_ace(entry[1]))
        at = entry.end()
    if at != len(text) or (null and aces):
        raise SecurityError(f"SDDL: can't read {text[at : at + 32]!r}")
    return (None if null else tuple(aces)), control


def parse_sddl(text: str) -> SecurityDescriptor:
    """Read SDDL such as "O:BAG:SYD:P(A;CI;KA;;;SY)"; raises SecurityError with the part at fault.

    Object and conditional entries are not supported.
    """
    text = "".join(text.split())
    marks = [
        mark
        for mark in _PART.finditer(text)
        if text.count("(", 0, mark.start()) == text.count(")", 0, mark.start())
    ]
    if not marks or marks[0].start() != 0:
        raise SecurityError(f"SDDL: {text[:32]!r} does not begin with O:, G:, D: or S:")
    owner = group = None
    dacl = sacl = None
    control = 0
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        body = text[mark.end() : end]
        match mark[1]:
            case "O":
                owner = _sid(body)
            case "G":
                group = _sid(body)
            case "D":
                dacl, bits = _acl(body, 0)
                control |= bits | Control.DACL_PRESENT
            case _:
                sacl, bits = _acl(body, 1)
                control |= bits | Control.SACL_PRESENT
    return SecurityDescriptor(owner, group, dacl, sacl, control)


def _format_acl(aces: Acl | None, control: int, shift: int) -> str:
    text = ""
    for name, bit in (
        ("P", Control.DACL_PROTECTED),
        ("AR", Control.DACL_AUTO_INHERIT_REQ),
        ("AI", Control.DACL_AUTO_INHERITED),
    ):
        text += name if control & (bit << shift) else ""
    if aces is None:
        return text + "NO_ACCESS_CONTROL"
    for ace in aces:
        kind = _TYPE_NAMES.get(AceType(ace.type)) if ace.sid is not None else None
        if kind is None or ace.sid is None:
            raise SecurityError(f"entry type {ace.type} has no SDDL here")
        flags = "".join(name for name, bit in _FLAGS.items() if ace.flags & bit)
        rights = _RIGHT_NAMES.get(ace.mask, f"0x{ace.mask:x}")
        text += f"({kind};{flags};{rights};;;{_SID_NAMES.get(ace.sid, ace.sid)})"
    return text


def format_sddl(descriptor: SecurityDescriptor) -> str:
    """The descriptor as SDDL; `parse_sddl` reads it back."""
    text = ""
    if descriptor.owner:
        text += f"O:{_SID_NAMES.get(descriptor.owner, descriptor.owner)}"
    if descriptor.group:
        text += f"G:{_SID_NAMES.get(descriptor.group, descriptor.group)}"
    if descriptor.control & Control.DACL_PRESENT or descriptor.dacl is not None:
        text += "D:" + _format_acl(descriptor.dacl, descriptor.control, 0)
    if descriptor.control & Control.SACL_PRESENT or descriptor.sacl is not None:
        text += "S:" + _format_acl(descriptor.sacl, descriptor.control, 1)
    return text
