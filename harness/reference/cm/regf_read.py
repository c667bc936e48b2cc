"""Read a hive file (regf). The file is hostile: every offset, size and count is bounded and checked."""

from __future__ import annotations

import struct
from typing import Final

from harness.registry.status import NTSTATUS

from .image import HiveImage, KeyImage, ValueImage
from .names import MAX_DEPTH, MAX_KEY_NAME, MAX_VALUE_NAME, decode_utf16, units, upcase
from .regf_format import (
    BASE_BLOCK,
    BIG_DATA_SEGMENT,
    BIN,
    BIN_ALIGNMENT,
    INLINE_DATA,
    KEY_COMPRESSED_NAME,
    KEY_LINK,
    KEY_PREDEFINED,
    NK,
    NO_CELL,
    SK,
    VALUE_COMPRESSED_NAME,
    VK,
    base_checksum,
)
from .security import SecurityDescriptor, SecurityError

__all__ = ["HiveError", "read_hive"]

#: More than a hive file can hold on Windows (2 GB); the bins' size field is checked against the file anyway.
_MAX_BINS: Final = 0x7FFFE000


class HiveError(Exception):
    """A hive file that can't be read; `status` is what loading it gives."""

    def __init__(self, message: str, status: int = NTSTATUS.REGISTRY_CORRUPT) -> None:
        super().__init__(message)
        self.status = status


class _Reader:
    def __init__(self, data: bytes) -> None:
        if len(data) < BASE_BLOCK or data[:4] != b"regf":
            raise HiveError(
                f"not a hive file: {len(data)} bytes beginning with {data[:4]!r}", NTSTATUS.NOT_REGISTRY_FILE
            )
        first, second, timestamp, major, minor, kind, form, root, size = struct.unpack_from(
            "<IIQIIIIII", data, 4
        )
        if struct.unpack_from("<I", data, 508)[0] != base_checksum(memoryview(data)):
            raise HiveError("base block: checksum is wrong", NTSTATUS.NOT_REGISTRY_FILE)
        if major != 1 or not 3 <= minor <= 6 or kind != 0 or form != 1:
            raise HiveError(
                f"base block: version {major}.{minor}, type {kind}, format {form} is not supported",
                NTSTATUS.NOT_REGISTRY_FILE,
            )
        if first != second:
            # Windows would replay the transaction log here; there is none beside this file.
            raise HiveError(f"base block: sequence numbers {first} and {second} differ, the file is torn")
        if size % BIN_ALIGNMENT or not 0 < size <= min(_MAX_BINS, len(data) - BASE_BLOCK):
            raise HiveError(f"base block: bins of {size} bytes in a file of {len(data)}")
        self.minor = minor
        self.timestamp = timestamp
        self.root = root
        self.file_name = decode_utf16(data[48:112]).partition("\0")[0]
        self._bins = memoryview(data)[BASE_BLOCK : BASE_BLOCK + size]
        self._cells = self._walk_bins()
        self._budget = (
            size  # bytes of value data still allowed: cells shared by many values must not multiply
        )
        self._keys_seen: set[int] = set()
        self._security: dict[int, bytes] = {}

    def _walk_bins(self) -> dict[int, int]:
        """Every allocated cell: offset -> bytes of content."""
        cells: dict[int, int] = {}
        at, end = 0, len(self._bins)
        while at < end:
            signature, offset, size, *_ = BIN.unpack_from(self._bins, at)
            if signature != b"hbin" or offset != at or size % BIN_ALIGNMENT or not 0 < size <= end - at:
                raise HiveError(f"bin at {at}: signature {signature!r}, offset {offset}, size {size}")
            cell, bin_end = at + BIN.size, at + size
            while cell < bin_end:
                (length,) = struct.unpack_from("<i", self._bins, cell)
                if length == 0 or length % 8 or not 8 <= abs(length) <= bin_end - cell:
                    raise HiveError(f"cell at {cell}: size {length} in a bin ending at {bin_end}")
                if length < 0:
                    cells[cell] = -length - 4
                cell += abs(length)
            at += size
        return cells

    def cell(self, offset: int, least: int, what: str) -> memoryview:
        """The content of an allocated cell of at least `least` bytes."""
        size = self._cells.get(offset)
        if size is None:
            raise HiveError(f"{what}: no allocated cell at {offset}")
        if size < least:
            raise HiveError(f"{what}: cell at {offset} has {size} bytes, {least} are needed")
        return self._bins[offset + 4 : offset + 4 + size]

    def _offsets(self, offset: int, count: int, what: str) -> tuple[int, ...]:
        return struct.unpack_from(f"<{count}I", self.cell(offset, 4 * count, what))

    def _text(self, raw: bytes, *, compressed: bool, what: str) -> str:
        if compressed:
            return raw.decode("latin-1")
        if len(raw) % 2:
            raise HiveError(f"{what}: name of {len(raw)} bytes")
        return decode_utf16(raw)

    def _spend(self, amount: int, what: str) -> None:
        self._budget -= amount
        if self._budget < 0:
            raise HiveError(f"{what}: more data than the file holds, cells are shared")

    def _big_data(self, cell: memoryview, size: int, what: str) -> bytes:
        count, listing = struct.unpack_from("<HI", cell, 2)
        if count != -(-size // BIG_DATA_SEGMENT):
            raise HiveError(f"{what}: {count} segments for {size} bytes")
        parts: list[bytes] = []
        for number, segment in enumerate(self._offsets(listing, count, f"{what}: segment list")):
            length = min(BIG_DATA_SEGMENT, size - number * BIG_DATA_SEGMENT)
            parts.append(bytes(self.cell(segment, length, f"{what}: segment {number}")[:length]))
        return b"".join(parts)

    def _value(self, offset: int, what: str) -> ValueImage:
        cell = self.cell(offset, VK.size, what)
        signature, name_length, size, at, kind, flags, _ = VK.unpack_from(cell)
        if signature != b"vk" or VK.size + name_length > len(cell):
            raise HiveError(f"{what} at {offset}: signature {signature!r}, name of {name_length} bytes")
        self._spend(name_length, what)
        raw = bytes(cell[VK.size : VK.size + name_length])
        name = self._text(raw, compressed=bool(flags & VALUE_COMPRESSED_NAME), what=what)
        if units(name) > MAX_VALUE_NAME:
            raise HiveError(f"{what} at {offset}: name of {units(name)} characters")
        if size & INLINE_DATA:
            size &= ~INLINE_DATA
            if size > 4:
                raise HiveError(f"{what} at {offset}: {size} bytes inline")
            return ValueImage(name, kind, at.to_bytes(4, "little")[:size])
        self._spend(size, what)
        if size == 0:
            return ValueImage(name, kind, b"")
        big = size > BIG_DATA_SEGMENT and self.minor >= 4
        data = self.cell(at, 8 if big else size, f"{what}: data")
        if big and bytes(data[:2]) == b"db":
            return ValueImage(name, kind, self._big_data(data, size, what))
        if len(data) < size:
            raise HiveError(f"{what}: cell at {at} has {len(data)} bytes, {size} are needed")
        return ValueImage(name, kind, bytes(data[:size]))

    def _children(self, offset: int, what: str, *, nested: bool = False) -> list[int]:
        """Cells of the subkeys a list names."""
        cell = self.cell(offset, 4, what)
        signature, count = struct.unpack_from("<2sH", cell)
        width = 8 if signature in (b"lf", b"lh") else 4
        if 4 + width * count > len(cell):
            raise HiveError(f"{what} at {offset}: {count} elements in a cell of {len(cell)} bytes")
        if signature in (b"lf", b"lh"):
            return list(struct.unpack_from(f"<{2 * count}I", cell, 4)[::2])
        elements = struct.unpack_from(f"<{count}I", cell, 4)
        if signature == b"li":
            return list(elements)
        if signature != b"ri" or nested:
            raise HiveError(f"{what} at {offset}: signature {signature!r}")
        if len(set(elements)) != count:
            raise HiveError(f"{what} at {offset}: a leaf occurs twice")
        return [child for leaf in elements for child in self._children(leaf, what, nested=True)]

    def _descriptor(self, offset: int, what: str) -> bytes:
        if offset not in self._security:
            cell = self.cell(offset, SK.size, f"{what}: security")
            signature, *_, size = SK.unpack_from(cell)
            if signature != b"sk" or SK.size + size > len(cell):
                raise HiveError(f"{what}: security at {offset}: signature {signature!r}, {size} bytes")
            raw = bytes(cell[SK.size : SK.size + size])
            try:
                SecurityDescriptor.decode(raw)
            except SecurityError as error:
                raise HiveError(f"{what}: security at {offset}: {error}") from None
            self._security[offset] = raw
        return self._security[offset]

    def key(self, offset: int, where: str) -> tuple[KeyImage, list[int]]:
        """A key without its subkeys, and their cells."""
        if offset in self._keys_seen:
            raise HiveError(f"{where}: key at {offset} occurs twice")
        self._keys_seen.add(offset)
        cell = self.cell(offset, NK.size, where)
        (
            signature,
            flags,
            last_write,
            _access,
            _parent,
            subkeys,
            _volatile,
            subkey_list,
            _volatile_list,
            values,
            value_list,
            security,
            class_cell,
            _longest_name,
            _longest_class,
            _longest_value_name,
            _longest_data,
            _work,
            name_length,
            class_length,
        ) = NK.unpack_from(cell)
        if signature != b"nk" or NK.size + name_length > len(cell):
            raise HiveError(f"{where}: key at {offset}: signature {signature!r}, name of {name_length} bytes")
        raw = bytes(cell[NK.size : NK.size + name_length])
        name = self._text(raw, compressed=bool(flags & KEY_COMPRESSED_NAME), what=where)
        where = f"{where}\\{name}"[-200:]
        if not 0 < units(name) <= MAX_KEY_NAME or "\\" in name:
            raise HiveError(f"{where}: name of {units(name)} characters is not a key name")
        class_name = b""
        if class_length and class_cell != NO_CELL:
            class_name = bytes(self.cell(class_cell, class_length, f"{where}: class")[:class_length])
            self._spend(class_length, where)
        image = KeyImage(
            name,
            self._descriptor(security, where),
            last_write,
            decode_utf16(class_name),
            flags & (KEY_LINK | KEY_PREDEFINED),
        )
        if values:
            listed = self._offsets(value_list, values, f"{where}: value list")
            self._spend(4 * values, where)
            image.values = [self._value(cell, f"{where}: value {i}") for i, cell in enumerate(listed)]
            if len({upcase(value.name) for value in image.values}) != values:
                raise HiveError(f"{where}: two values of one name")
        children = self._children(subkey_list, f"{where}: subkey list") if subkeys else []
        if len(children) != subkeys:
            raise HiveError(f"{where}: {subkeys} subkeys, {len(children)} listed")
        return image, children


def read_hive(data: bytes) -> HiveImage:
    """Read a hive file; raises HiveError, which says what is wrong and where, for anything it can't trust."""
    reader = _Reader(data)
    try:
        root, children = reader.key(reader.root, "")
        todo = [(root, child, 1) for child in children]
        while todo:
            parent, offset, depth = todo.pop()
            if depth > MAX_DEPTH:
                raise HiveError(f"key at {offset}: deeper than {MAX_DEPTH} levels")
            image, children = reader.key(offset, parent.name)
            parent.subkeys.append(image)
            todo += [(image, child, depth + 1) for child in children]
    except struct.error as error:  # a record cut off by the end of its cell
        raise HiveError(f"record outside of its cell: {error}") from None
    for key in root.tree():
        key.subkeys.reverse()
        if len({upcase(child.name) for child in key.subkeys}) != len(key.subkeys):
            raise HiveError(f"{key.name}: two subkeys of one name")
    return HiveImage(root, reader.minor, reader.timestamp, reader.file_name)
