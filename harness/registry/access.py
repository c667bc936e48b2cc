"""Access rights of registry keys, object attribute flags and the generic mapping of the key type.

Sources: SysInfo/registry-key-security-and-access-rights, winnt.h, ntdef.h. Masks are plain integers, and so
are combinations of the named bits: an IntFlag's ~ forgets the bits without a name, which is how unknown
flags slip through checks.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = [
    "ACCESS_SYSTEM_SECURITY",
    "DELETE",
    "GENERIC_ALL",
    "GENERIC_EXECUTE",
    "GENERIC_READ",
    "GENERIC_WRITE",
    "KEY_ALL_ACCESS",
    "KEY_CREATE_LINK",
    "KEY_CREATE_SUB_KEY",
    "KEY_ENUMERATE_SUB_KEYS",
    "KEY_EXECUTE",
    "KEY_NOTIFY",
    "KEY_QUERY_VALUE",
    "KEY_READ",
    "KEY_SET_VALUE",
    "KEY_WOW64_32KEY",
    "KEY_WOW64_64KEY",
    "KEY_WOW64_RES",
    "KEY_WRITE",
    "MAXIMUM_ALLOWED",
    "READ_CONTROL",
    "STANDARD_RIGHTS_ALL",
    "STANDARD_RIGHTS_REQUIRED",
    "SYNCHRONIZE",
    "WRITE_DAC",
    "WRITE_OWNER",
    "ObjectAttributes",
    "SecurityInformation",
    "access_names",
    "map_generic",
]

KEY_QUERY_VALUE: Final = 0x0001
KEY_SET_VALUE: Final = 0x0002
KEY_CREATE_SUB_KEY: Final = 0x0004
KEY_ENUMERATE_SUB_KEYS: Final = 0x0008
KEY_NOTIFY: Final = 0x0010
KEY_CREATE_LINK: Final = 0x0020
KEY_WOW64_64KEY: Final = 0x0100
KEY_WOW64_32KEY: Final = 0x0200
KEY_WOW64_RES: Final = 0x0300

DELETE: Final = 0x00010000
READ_CONTROL: Final = 0x00020000
WRITE_DAC: Final = 0x00040000
WRITE_OWNER: Final = 0x00080000
SYNCHRONIZE: Final = 0x00100000
STANDARD_RIGHTS_REQUIRED: Final = 0x000F0000
STANDARD_RIGHTS_ALL: Final = 0x001F0000
ACCESS_SYSTEM_SECURITY: Final = 0x01000000
MAXIMUM_ALLOWED: Final = 0x02000000
GENERIC_ALL: Final = 0x10000000
GENERIC_EXECUTE: Final = 0x20000000
GENERIC_WRITE: Final = 0x40000000
GENERIC_READ: Final = 0x80000000

KEY_READ: Final = READ_CONTROL | KEY_QUERY_VALUE | KEY_ENUMERATE_SUB_KEYS | KEY_NOTIFY  # 0x20019
KEY_WRITE: Final = READ_CONTROL | KEY_SET_VALUE | KEY_CREATE_SUB_KEY  # 0x20006
KEY_EXECUTE: Final = KEY_READ
KEY_ALL_ACCESS: Final = STANDARD_RIGHTS_REQUIRED | 0x3F  # 0xF003F


class ObjectAttributes(enum.IntEnum):
    """OBJ_* flags of OBJECT_ATTRIBUTES.Attributes (ntdef OBJECT_ATTRIBUTES)."""

    INHERIT = 0x0002
    PERMANENT = 0x0010
    EXCLUSIVE = 0x0020
    CASE_INSENSITIVE = 0x0040
    OPENIF = 0x0080
    OPENLINK = 0x0100
    KERNEL_HANDLE = 0x0200
    FORCE_ACCESS_CHECK = 0x0400
    IGNORE_IMPERSONATED_DEVICEMAP = 0x0800
    DONT_REPARSE = 0x1000
    VALID_ATTRIBUTES = 0x1FF2


class SecurityInformation(enum.IntEnum):
    """SECURITY_INFORMATION: which parts of a descriptor a query or change is about."""

    OWNER = 0x00000001
    GROUP = 0x00000002
    DACL = 0x00000004
    SACL = 0x00000008
    LABEL = 0x00000010
    UNPROTECTED_SACL = 0x10000000
    UNPROTECTED_DACL = 0x20000000
    PROTECTED_SACL = 0x40000000
    PROTECTED_DACL = 0x80000000


#: The generic mapping of the key object type: generic read, write, execute and all.
_MAPPING: Final = (
    (GENERIC_READ, KEY_READ),
    (GENERIC_WRITE, KEY_WRITE),
    (GENERIC_EXECUTE, KEY_EXECUTE),
    (GENERIC_ALL, KEY_ALL_ACCESS),
)


def map_generic(mask: int) -> int:
    """Replace the generic bits of an access mask by the rights they stand for on keys."""
    for generic, rights in _MAPPING:
        if mask & generic:
            mask = (mask & ~generic) | rights
    return mask


_NAMES: Final = (
    ("KEY_QUERY_VALUE", KEY_QUERY_VALUE),
    ("KEY_SET_VALUE", KEY_SET_VALUE),
    ("KEY_CREATE_SUB_KEY", KEY_CREATE_SUB_KEY),
    ("KEY_ENUMERATE_SUB_KEYS", KEY_ENUMERATE_SUB_KEYS),
    ("KEY_NOTIFY", KEY_NOTIFY),
    ("KEY_CREATE_LINK", KEY_CREATE_LINK),
    ("KEY_WOW64_64KEY", KEY_WOW64_64KEY),
    ("KEY_WOW64_32KEY", KEY_WOW64_32KEY),
    ("DELETE", DELETE),
    ("READ_CONTROL", READ_CONTROL),
    ("WRITE_DAC", WRITE_DAC),
    ("WRITE_OWNER", WRITE_OWNER),
    ("SYNCHRONIZE", SYNCHRONIZE),
    ("ACCESS_SYSTEM_SECURITY", ACCESS_SYSTEM_SECURITY),
    ("MAXIMUM_ALLOWED", MAXIMUM_ALLOWED),
    ("GENERIC_ALL", GENERIC_ALL),
    ("GENERIC_EXECUTE", GENERIC_EXECUTE),
    ("GENERIC_WRITE", GENERIC_WRITE),
    ("GENERIC_READ", GENERIC_READ),
)


def access_names(mask: int) -> str:
    """An access mask for people: "KEY_SET_VALUE | DELETE"; unnamed bits in hexadecimal, "0" for none."""
    if mask == KEY_ALL_ACCESS:
        return "KEY_ALL_ACCESS"
    parts = [name for name, bit in _NAMES if mask & bit]
    rest = mask & ~sum(bit for _, bit in _NAMES)
    if rest:
        parts.append(f"0x{rest:X}")
    return " | ".join(parts) or "0"
