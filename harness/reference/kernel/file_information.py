"""What a file tells about itself: the structures of ZwQueryInformationFile, for files of the model's volume.

Sources: nf-ntifs-ntqueryinformationfile, ns-wdm-_file_basic_information, ns-wdm-_file_standard_information,
ns-ntifs-_file_internal_information, ns-ntddk-_file_name_information, ns-wdm-_file_position_information,
ns-wdm-_file_network_open_information, ns-ntddk-_file_attribute_tag_information.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.reference.kernel.text import wide_encode

if TYPE_CHECKING:
    from harness.reference.kernel.io_manager import FileBody
    from harness.reference.machine import Machine

__all__ = ["FileInformation", "file_information"]

_ARCHIVE: Final = 0x20
_CLUSTER: Final = 4096


class FileInformation(NamedTuple):
    """A structure, and how much of it a buffer must hold."""

    data: bytes
    at_least: int


def _sizes(m: Machine, body: FileBody) -> tuple[int, int]:
    """AllocationSize and EndOfFile."""
    size = m.kernel.files.size(body)
    return -(-size // _CLUSTER) * _CLUSTER, size


def _standard(m: Machine, body: FileBody) -> bytes:
    files = m.kernel.files
    directory = files.is_directory(body.path) and not files.store.exists(body.path)
    return struct.pack("<QQIBB2x", *_sizes(m, body), 1, int(body.delete_on_close), int(directory))


def file_information(m: Machine, body: FileBody, kind: int) -> FileInformation | None:
    """The structure of FILE_INFORMATION_CLASS `kind`; None for a class that is not modelled."""
    times = (m.system_time(),) * 4
    if kind == 4:
        raw = struct.pack("<QQQQI4x", *times, _ARCHIVE)
    elif kind == 5:
        raw = _standard(m, body)
    elif kind == 6:
        raw = struct.pack("<Q", zlib.crc32(body.path.upper().encode("utf-8", "surrogatepass")))
    elif kind == 9:
        name = wide_encode(body.path[2:])
        return FileInformation(struct.pack("<I", len(name)) + name, 8)
    elif kind == 14:
        raw = struct.pack("<Q", body.position)
    elif kind == 34:
        raw = struct.pack("<QQQQQQI4x", *times, *_sizes(m, body), _ARCHIVE)
    elif kind == 35:
        raw = struct.pack("<II", _ARCHIVE, 0)
    else:
        return None
    return FileInformation(raw, len(raw))
