"""Types of registry values (winnt.h REG_*). Any 32-bit number may be stored; these have names."""

from __future__ import annotations

import enum

__all__ = ["ValueType", "value_type_name"]


class ValueType(enum.IntEnum):
    """REG_* value types."""

    NONE = 0
    SZ = 1
    EXPAND_SZ = 2
    BINARY = 3
    DWORD = 4
    DWORD_BIG_ENDIAN = 5
    LINK = 6
    MULTI_SZ = 7
    RESOURCE_LIST = 8
    FULL_RESOURCE_DESCRIPTOR = 9
    RESOURCE_REQUIREMENTS_LIST = 10
    QWORD = 11


def value_type_name(value: int) -> str:
    """ "REG_SZ", or the number for a type without a name."""
    try:
        return f"REG_{ValueType(value).name}"
    except ValueError:
        return str(value)
