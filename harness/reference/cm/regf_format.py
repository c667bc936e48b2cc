"""Numbers and records of the hive file format (regf).

Source: the public descriptions of the format (msuhanov "Windows registry file format specification",
libyal "REGF file format"). All integers are little-endian; cell offsets count from the first hive bin.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from .names import upcase

__all__ = [
    "BASE_BLOCK",
    "BIG_DATA_SEGMENT",
    "BIN",
    "BIN_ALIGNMENT",
    "INLINE_DATA",
    "KEY_COMPRESSED_NAME",
    "KEY_LINK",
    "KEY_NO_DELETE",
    "KEY_PREDEFINED",
    "KEY_ROOT",
    "NK",
    "NO_CELL",
    "SK",
    "VALUE_COMPRESSED_NAME",
    "VK",
    "base_checksum",
    "leaf_hash",
]

#: Bytes of the base block in front of the bins, and the unit bins grow by.
BASE_BLOCK: Final = 4096
BIN_ALIGNMENT: Final = 4096
#: A bin's header: signature, offset, size, reserved (8), timestamp, spare.
BIN: Final = struct.Struct("<4sIIQQI")
NO_CELL: Final = 0xFFFFFFFF

#: nk: signature, flags, last write, access bits, parent, subkeys, volatile subkeys, subkey list, volatile
#: list, values, value list, security, class, then the longest subkey name, class, value name and value data,
#: work, name length, class length
NK: Final = struct.Struct("<2sHQIIIIIIIIIIIIIIIHH")
#: vk: signature, name length, data size, data offset, type, flags, spare
VK: Final = struct.Struct("<2sHIIIHH")
#: sk: signature, reserved, next, previous, references, descriptor size
SK: Final = struct.Struct("<2sHIIII")

KEY_ROOT: Final = 0x0004
KEY_NO_DELETE: Final = 0x0008
KEY_LINK: Final = 0x0010
KEY_COMPRESSED_NAME: Final = 0x0020
KEY_PREDEFINED: Final = 0x0040
VALUE_COMPRESSED_NAME: Final = 0x0001

#: In vk.data size: the data (up to 4 bytes) lies in the offset field itself.
INLINE_DATA: Final = 0x80000000
#: Data longer than this is cut into segments of this size from minor version 4 on.
BIG_DATA_SEGMENT: Final = 16344


def base_checksum(block: bytes | memoryview) -> int:
    """XOR of the first 127 dwords; 0 and -1 are not used."""
    result = 0
    for (word,) in struct.iter_unpack("<I", bytes(block[:508])):
        result ^= word
    if result == 0:
        return 1
    return 0xFFFFFFFE if result == 0xFFFFFFFF else result


def leaf_hash(name: str) -> int:
    """The hash of an lh element: 37 * hash + upcased UTF-16 unit."""
    units: Iterable[int] = memoryview(upcase(name).encode("utf-16-le", "surrogatepass")).cast("H")
    result = 0
    for unit in units:
        result = (result * 37 + unit) & 0xFFFFFFFF
    return result
