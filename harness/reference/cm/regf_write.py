"""Write a hive file (regf) from a hive image."""

from __future__ import annotations

import struct
from typing import Final

from .image import HiveImage, KeyImage, ValueImage
from .names import encode_utf16, sort_key, units
from .regf_format import (
    BASE_BLOCK,
    BIG_DATA_SEGMENT,
    BIN,
    BIN_ALIGNMENT,
    INLINE_DATA,
    KEY_COMPRESSED_NAME,
    KEY_LINK,
    KEY_NO_DELETE,
    KEY_PREDEFINED,
    KEY_ROOT,
    NK,
    NO_CELL,
    SK,
    VALUE_COMPRESSED_NAME,
    VK,
    base_checksum,
    leaf_hash,
)

__all__ = ["write_hive"]

#: Elements of one leaf; longer lists get an index of leaves above them.
_LEAF: Final = 507


class _Bins:
    """Hands out cells. A bin is a multiple of 4096 bytes; its unused rest is one free cell."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = 0  # of the current bin
        self._used = 0  # end of the last cell of the current bin

    def allocate(self, size: int) -> int:
        """Room for `size` bytes of content; the cell's offset (content begins 4 bytes later)."""
        cell = -(-(size + 4) // 8) * 8
        if self._used + cell > len(self._data):
            self._close()
            self._start = len(self._data)
            room = -(-(BIN.size + cell) // BIN_ALIGNMENT) * BIN_ALIGNMENT
            self._data += bytes(room)
            BIN.pack_into(self._data, self._start, b"hbin", self._start, room, 0, 0, 0)
            self._used = self._start + BIN.size
        offset = self._used
        struct.pack_into("<i", self._data, offset, -cell)
        self._used += cell
        return offset

    def put(self, offset: int, content: bytes) -> None:
        """Fill a cell."""
        self._data[offset + 4 : offset + 4 + len(content)] = content

    def add(self, content: bytes) -> int:
        """A new cell with this content."""
        offset = self.allocate(len(content))
        self.put(offset, content)
        return offset

    def _close(self) -> None:
        rest = len(self._data) - self._used
        if rest:
            struct.pack_into("<i", self._data, self._used, rest)

    def finish(self) -> bytes:
        """All bins."""
        self._close()
        return bytes(self._data)


def _name(text: str) -> tuple[bytes, bool]:
    """A name's bytes and whether they are compressed: one byte a unit when every unit fits."""
    try:
        return text.encode("latin-1"), True
    except UnicodeEncodeError:
        return encode_utf16(text), False


class _Writer:
    def __init__(self, minor_version: int) -> None:
        self._bins = _Bins()
        self._minor = minor_version
        self._security: dict[bytes, int] = {}  # descriptor -> cell
        self._references: dict[bytes, int] = {}

    def _data(self, data: bytes) -> tuple[int, int]:
        """(size field, offset field) of a value's data."""
        if len(data) <= 4:
            return len(data) | INLINE_DATA, int.from_bytes(data.ljust(4, b"\0"), "little")
        if len(data) <= BIG_DATA_SEGMENT or self._minor < 4:
            return len(data), self._bins.add(data)
        segments = [
            self._bins.add(data[at : at + BIG_DATA_SEGMENT]) for at in range(0, len(data), BIG_DATA_SEGMENT)
        ]
        listing = self._bins.add(struct.pack(f"<{len(segments)}I", *segments))
        # A db record is 8 bytes; readers take 12 as the least content of a cell.
        return len(data), self._bins.add(struct.pack("<2sHII", b"db", len(segments), listing, 0))

    def _value(self, value: ValueImage) -> int:
        name, compressed = _name(value.name)
        size, offset = self._data(value.data)
        flags = VALUE_COMPRESSED_NAME if compressed and name else 0
        return self._bins.add(VK.pack(b"vk", len(name), size, offset, value.type, flags, 0) + name)

    def _sk(self, descriptor: bytes) -> int:
        if descriptor not in self._security:
            self._security[descriptor] = self._bins.allocate(SK.size + len(descriptor))
            self._references[descriptor] = 0
        self._references[descriptor] += 1
        return self._security[descriptor]

    def _finish_security(self) -> None:
        """The sk cells form one ring."""
        cells = list(self._security.items())
        for index, (descriptor, cell) in enumerate(cells):
            forward, backward = cells[(index + 1) % len(cells)][1], cells[index - 1][1]
            count = self._references[descriptor]
            head = SK.pack(b"sk", 0, forward, backward, count, len(descriptor))
            self._bins.put(cell, head + descriptor)

    def _leaf(self, children: list[tuple[str, int]]) -> int:
        if self._minor >= 5:
            elements = [(cell, leaf_hash(name)) for name, cell in children]
            signature = b"lh"
        else:
            # Hint of an lf element: the first four characters, zero when one does not fit a byte.
            elements = [(cell, _hint(name)) for name, cell in children]
            signature = b"lf"
        body = b"".join(struct.pack("<II", *element) for element in elements)
        return self._bins.add(struct.pack("<2sH", signature, len(elements)) + body)

    def _subkeys(self, children: list[tuple[str, int]]) -> int:
        if not children:
            return NO_CELL
        children.sort(key=lambda child: sort_key(child[0]))
        leaves = [self._leaf(children[at : at + _LEAF]) for at in range(0, len(children), _LEAF)]
        if len(leaves) == 1:
            return leaves[0]
        return self._bins.add(
            struct.pack("<2sH", b"ri", len(leaves)) + struct.pack(f"<{len(leaves)}I", *leaves)
        )

    def write(self, root: KeyImage) -> int:
        """All keys; the root's cell."""
        # Cells of all keys first, parents before children, so that each can name its parent and children.
        keys = list(root.tree())
        names = [_name(key.name) for key in keys]
        cells = {
            id(key): self._bins.allocate(NK.size + len(name))
            for key, (name, _) in zip(keys, names, strict=True)
        }
        parents = {id(child): cells[id(key)] for key in keys for child in key.subkeys}
        for key, (name, compressed) in zip(keys, names, strict=True):
            values = [self._value(value) for value in key.values]
            class_name = encode_utf16(key.class_name)
            flags = key.flags & (KEY_LINK | KEY_PREDEFINED)
            flags |= KEY_COMPRESSED_NAME if compressed else 0
            flags |= KEY_ROOT | KEY_NO_DELETE if key is root else 0
            record = NK.pack(
                b"nk",
                flags,
                key.last_write,
                0,
                parents.get(id(key), NO_CELL),
                len(key.subkeys),
                0,
                self._subkeys([(child.name, cells[id(child)]) for child in key.subkeys]),
                NO_CELL,
                len(values),
                self._bins.add(struct.pack(f"<{len(values)}I", *values)) if values else NO_CELL,
                self._sk(key.security),
                self._bins.add(class_name) if class_name else NO_CELL,
                min(max((2 * units(child.name) for child in key.subkeys), default=0), 0xFFFF),
                max((2 * units(child.class_name) for child in key.subkeys), default=0),
                max((2 * units(value.name) for value in key.values), default=0),
                max((len(value.data) for value in key.values), default=0),
                0,
                len(name),
                len(class_name),
            )
            self._bins.put(cells[id(key)], record + name)
        self._finish_security()
        return cells[id(root)]

    def bins(self) -> bytes:
        return self._bins.finish()


def _hint(name: str) -> int:
    try:
        return int.from_bytes(name[:4].encode("latin-1").ljust(4, b"\0"), "little")
    except UnicodeEncodeError:
        return 0


def write_hive(image: HiveImage) -> bytes:
    """The complete file: base block and bins.

    Minor version 3 has no big data and uses lf lists; 5 has big data and lh lists.
    """
    writer = _Writer(image.minor_version)
    root = writer.write(image.root)
    bins = writer.bins()
    base = bytearray(BASE_BLOCK)
    struct.pack_into(
        "<4sIIQIIIIIII",
        base,
        0,
        b"regf",
        1,  # both sequence numbers equal: the file is consistent
        1,
        image.timestamp,
        1,
        image.minor_version,
        0,
        1,
        root,
        len(bins),
        1,
    )
    base[48:112] = encode_utf16(image.file_name)[-64:].ljust(64, b"\0")
    struct.pack_into("<I", base, 508, base_checksum(bytes(base)))
    return bytes(base) + bins
