"""Information classes of key queries and changes.

Sources: ne-wdm-_key_information_class, ne-wdm-_key_value_information_class,
ne-wdm-_key_set_information_class.
"""

from __future__ import annotations

import enum

__all__ = ["KeyInformationClass", "KeySetInformationClass", "KeyValueInformationClass"]


class KeyInformationClass(enum.IntEnum):
    """KEY_INFORMATION_CLASS: what NtQueryKey and NtEnumerateKey return."""

    BASIC = 0
    NODE = 1
    FULL = 2
    NAME = 3
    CACHED = 4
    FLAGS = 5
    VIRTUALIZATION = 6
    HANDLE_TAGS = 7
    TRUST = 8
    LAYER = 9


class KeyValueInformationClass(enum.IntEnum):
    """KEY_VALUE_INFORMATION_CLASS: what NtQueryValueKey and NtEnumerateValueKey return."""

    BASIC = 0
    FULL = 1
    PARTIAL = 2
    FULL_ALIGN64 = 3
    PARTIAL_ALIGN64 = 4
    LAYER = 5


class KeySetInformationClass(enum.IntEnum):
    """KEY_SET_INFORMATION_CLASS; only WRITE_TIME is documented for callers."""

    WRITE_TIME = 0
    WOW64_FLAGS = 1
    CONTROL_FLAGS = 2
    SET_VIRTUALIZATION = 3
    SET_DEBUG = 4
    SET_HANDLE_TAGS = 5
    SET_LAYER = 6
