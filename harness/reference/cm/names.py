"""Names of keys and values: limits, validity, comparison and order.

Names are Python text decoded from UTF-16 with surrogatepass; lengths count UTF-16 units.
Limits: SysInfo/registry-element-size-limits.
"""

from __future__ import annotations

from typing import Final

from harness.registry.paths import upcase

__all__ = [
    "MAX_DEPTH",
    "MAX_KEY_NAME",
    "MAX_VALUE_NAME",
    "SYMBOLIC_LINK_VALUE",
    "decode_utf16",
    "encode_utf16",
    "is_key_name",
    "is_value_name",
    "sort_key",
    "units",
    "upcase",
]

#: UTF-16 units in the name of one key.
MAX_KEY_NAME: Final = 255
#: UTF-16 units in the name of a value.
MAX_VALUE_NAME: Final = 16383
#: Levels of keys, counted from the root of a hive.
MAX_DEPTH: Final = 512
#: The value of a link key that holds its target (sdk regcreatekeyexa, B-CRE-22).
SYMBOLIC_LINK_VALUE: Final = "SymbolicLinkValue"


def encode_utf16(text: str) -> bytes:
    """Text as UTF-16 bytes; lone surrogates are kept."""
    return text.encode("utf-16-le", "surrogatepass")


def decode_utf16(data: bytes) -> str:
    """UTF-16 bytes as text; lone surrogates are kept, an odd last byte is dropped."""
    return data[: len(data) & ~1].decode("utf-16-le", "surrogatepass")


def units(text: str) -> int:
    """Length in UTF-16 units."""
    return len(text) if text.isascii() else len(encode_utf16(text)) // 2


def sort_key(name: str) -> bytes:
    """Orders names as subkeys are enumerated: by upcased UTF-16 units."""
    return upcase(name).encode("utf-16-be", "surrogatepass")


def is_key_name(name: str) -> bool:
    """Whether a key may carry this name: 1 to 255 units, no backslash; anything else, NUL too, may occur."""
    return 0 < units(name) <= MAX_KEY_NAME and "\\" not in name


def is_value_name(name: str) -> bool:
    """Whether a value may carry this name; "" is the default value."""
    return units(name) <= MAX_VALUE_NAME
