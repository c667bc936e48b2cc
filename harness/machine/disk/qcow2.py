"""The header of a qcow2 image: read before anything opens the image, written for an overlay.

The format is QEMU's docs/interop/qcow2.txt. An overlay that nothing was written to yet is a header and empty
tables; writing them takes a fraction of what starting qemu-img does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import UsageError

__all__ = ["Qcow2Header", "overlay_bytes", "read_header"]

_MAGIC: Final = b"QFI\xfb"
#: magic, version, backing offset and size, cluster bits, virtual size, encryption, L1 size and offset,
#: refcount table offset and clusters, snapshots and their offset
_VERSION_2: Final = struct.Struct(">4sIQIIQIIQQIIQ")
#: Incompatible, compatible and autoclear features, refcount order, header length
_VERSION_3: Final = struct.Struct(">QQQII")
_EXTENSION: Final = struct.Struct(">II")
_END, _BACKING_FORMAT, _DATA_FILE = 0, 0xE2792ACA, 0x44415441
_DATA_FILE_BIT: Final = 1 << 2
_CORRUPT_BIT: Final = 1 << 1
_NAME_LIMIT: Final = 1023
_HEADER_LIMIT: Final = 1 << 21  # the largest cluster

_CLUSTER_BITS_AT: Final = 23  # the last byte of that field: the whole of it, in an image that is one
_CLUSTER_BITS: Final = 16
_CLUSTER: Final = 1 << _CLUSTER_BITS
#: What one cluster of the first table covers, through clusters of the second.
_L1_ENTRY_COVERS: Final = _CLUSTER * (_CLUSTER // 8)


@dataclass(frozen=True, slots=True)
class Qcow2Header:
    """What an image says about itself. `virtual_size` is in bytes."""

    version: int
    virtual_size: int
    backing_file: str | None
    backing_format: str | None
    data_file: bool  # its clusters are in another file
    encrypted: bool
    corrupt: bool
    snapshots: int


def read_header(path: Path) -> Qcow2Header | None:
    """The header of a qcow2 image; None when `path` is something else. Reads 2 MB at most of it alone.

    Raises `UsageError` when the header contradicts itself.
    """
    with path.open("rb") as file:
        data = file.read(_CLUSTER)
        if len(data) >= _VERSION_2.size and data[_CLUSTER_BITS_AT] > _CLUSTER_BITS:
            data += file.read(_HEADER_LIMIT - len(data))
    if len(data) < _VERSION_2.size or data[:4] != _MAGIC:
        return None
    _, version, name_at, name_size, cluster_bits, size, encryption, *_, snapshots, _ = _VERSION_2.unpack_from(
        data
    )
    if version not in {2, 3} or not 9 <= cluster_bits <= 21:
        raise UsageError(f"{path}: qcow2 version {version} with {cluster_bits} cluster bits; it is damaged")
    features, length = 0, _VERSION_2.size
    if version == 3:
        if len(data) < _VERSION_2.size + _VERSION_3.size:
            raise UsageError(f"{path}: the qcow2 header is cut off")
        features, _, _, _, length = _VERSION_3.unpack_from(data, _VERSION_2.size)
    end = name_at or (1 << cluster_bits)
    extensions = _extensions(data, length, min(end, 1 << cluster_bits), path)
    name = None
    if name_at:
        if not 0 < name_size <= _NAME_LIMIT or name_at + name_size > min(len(data), 1 << cluster_bits):
            raise UsageError(f"{path}: the name of its backing file lies outside the header; it is damaged")
        name = data[name_at : name_at + name_size].decode("utf-8", "surrogateescape")
    backing_format = extensions.get(_BACKING_FORMAT)
    return Qcow2Header(
        version=version,
        virtual_size=size,
        backing_file=name,
        backing_format=backing_format.decode("ascii", "replace") if backing_format is not None else None,
        data_file=bool(features & _DATA_FILE_BIT) or _DATA_FILE in extensions,
        encrypted=encryption != 0,
        corrupt=bool(features & _CORRUPT_BIT),
        snapshots=snapshots,
    )


def _extensions(data: bytes, at: int, end: int, path: Path) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + _EXTENSION.size <= min(end, len(data)):
        kind, size = _EXTENSION.unpack_from(data, at)
        at += _EXTENSION.size
        if kind == _END:
            break
        if at + size > end:
            raise UsageError(
                f"{path}: an extension of the qcow2 header is longer than the header; it is damaged"
            )
        found[kind] = data[at : at + size]
        at += (size + 7) & ~7
    return found


def overlay_bytes(backing: Path, backing_format: str, virtual_size: int) -> bytes:
    """A whole new overlay of `virtual_size` bytes over `backing`, with clusters of 64 KiB.

    Cluster 0 is the header, 1 the table of reference counts, 2 its block, from 3 on the first-level table.
    """
    name, format_name = bytes(backing), backing_format.encode("ascii")
    if not backing.is_absolute() or len(name) > _NAME_LIMIT:
        raise UsageError(
            f"the backing file {backing} must be an absolute path of at most {_NAME_LIMIT} bytes; move it"
        )
    entries = -(-virtual_size // _L1_ENTRY_COVERS)
    clusters = 3 + -(-entries * 8 // _CLUSTER)
    length = _VERSION_2.size + _VERSION_3.size
    extensions = _EXTENSION.pack(_BACKING_FORMAT, len(format_name))
    extensions += format_name.ljust(-(-len(format_name) // 8) * 8, b"\0")
    extensions += _EXTENSION.pack(_END, 0)
    header = _VERSION_2.pack(
        _MAGIC, 3, length + len(extensions), len(name), _CLUSTER_BITS, virtual_size, 0,
        entries, 3 * _CLUSTER, _CLUSTER, 1, 0, 0,
    )  # fmt: skip
    header += _VERSION_3.pack(0, 0, 0, 4, length) + extensions + name
    table = struct.pack(">Q", 2 * _CLUSTER)
    counts = struct.pack(">H", 1) * clusters
    return b"".join(part.ljust(_CLUSTER, b"\0") for part in (header, table, counts)) + bytes(
        (clusters - 3) * _CLUSTER
    )
