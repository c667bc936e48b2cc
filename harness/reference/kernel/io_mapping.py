"""The generic mapping of file objects, which drivers use for access checks of their own devices.

Source: nf-ntifs-iogetfileobjectgenericmapping.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

#: Where it is inside the object type, as it is on Windows: the other members are opaque.
_MAPPING: Final = 0x40


@export("IoGetFileObjectGenericMapping", args="")
def io_get_file_object_generic_mapping(m: Machine) -> int:
    """The address of the GENERIC_MAPPING of files."""
    kind = m.objects.types["File"]
    mapping = kind.mapping
    packed = struct.pack("<4I", mapping.read, mapping.write, mapping.execute, mapping.all)
    m.memory.write(kind.address + _MAPPING, packed)
    return kind.address + _MAPPING
