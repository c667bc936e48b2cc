"""Headers of images in memory, checksums, and the order of altitudes.

Sources: RtlImageNtHeader and RtlImageDirectoryEntryToData (exported, named in ntimage.h; ImageNtHeader of
dbghelp has their meaning), RtlComputeCrc32 (ntifs.h), nf-ntifs-rtlcomparealtitudes (fltmgr's rule of
altitudes).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.rtl_strings import string_text
from harness.registry.altitude import Altitude, is_altitude

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_MZ: Final = 0x5A4D
_PE: Final = 0x4550
_OPTIONAL: Final = 24
#: Offsets of the number of directories in the optional header, by its magic.
_COUNT: Final = {0x20B: 108, 0x10B: 92}
_MOST_HEADERS: Final = 256 << 20


@export("RtlImageNtHeader", args="ptr")
def rtl_image_nt_header(m: Machine, base: int) -> int:
    """Where IMAGE_NT_HEADERS lie, NULL when there is no image."""
    if not base or base == m.memory.map.address_mask or m.memory.u16(base) != _MZ:
        return 0
    offset = m.memory.u32(base + 0x3C)
    if offset >= _MOST_HEADERS or m.memory.u32(base + offset) != _PE:
        return 0
    return base + offset


@export("RtlImageDirectoryEntryToData", args="ptr, uchar, ushort, ptr")
def rtl_image_directory_entry_to_data(m: Machine, base: int, mapped: int, index: int, size: int) -> int:
    """The data of a directory of a mapped image, and their size; NULL when it has none."""
    if base & 1:  # LDR_IS_DATAFILE
        base, mapped = base & ~1, 0
    headers = rtl_image_nt_header(m, base)
    if not headers:
        return 0
    optional = headers + _OPTIONAL
    count_at = _COUNT.get(m.memory.u16(optional))
    if count_at is None or index >= m.memory.u32(optional + count_at):
        return 0
    entry = optional + count_at + 4 + 8 * index
    address = m.memory.u32(entry)
    if not address:
        return 0
    if not mapped & 0xFF:
        m.kernel.debug.note("RtlImageDirectoryEntryToData of an image that is no mapped one: NULL")
        return 0
    m.memory.put_u32(size, m.memory.u32(entry + 4))
    return base + address


@export("RtlComputeCrc32", args="ulong, ptr, ulong")
def rtl_compute_crc32(m: Machine, partial: int, buffer: int, length: int) -> int:
    return zlib.crc32(m.memory.read(buffer, length) if length else b"", partial)


@export("RtlCompareAltitudes", args="ptr, ptr", since=(6, 1))
def rtl_compare_altitudes(m: Machine, first: int, second: int) -> int:
    """Negative, 0 or positive; text that is no altitude comes first."""
    a, b = string_text(m, first), string_text(m, second)
    if not is_altitude(a) or not is_altitude(b):
        return int(is_altitude(a)) - int(is_altitude(b))
    one, two = Altitude(a).key, Altitude(b).key
    return (one > two) - (one < two)
