"""The part of CBOR (RFC 8949) that programs and results use, read strictly.

Guests are not trusted, and a full CBOR decoder interprets tags (big numbers with huge exponents, shared and
cyclic references) and indefinite lengths. Programs need none of that: unsigned integers, byte strings, text,
arrays, maps with text keys, true, false; the runner's replies have null too. Everything else is refused, as
are depth beyond `MAX_DEPTH`, lengths beyond the input and trailing bytes. cbor2 writes (canonical form); this
reads.
"""

from __future__ import annotations

from typing import Final

from harness.errors import UsageError

__all__ = ["MAX_DEPTH", "Node", "read_cbor"]

#: Arrays and maps inside each other; programs and results have four levels.
MAX_DEPTH: Final = 6

#: None only where the caller allows null.
Node = int | bool | bytes | str | list["Node"] | dict[str, "Node"] | None

_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP, _SIMPLE = 0, 2, 3, 4, 5, 7
_NULL: Final = 0xF6
_NAMES: Final = {1: "a negative integer", 6: "a tag"}


def read_cbor(data: bytes, *, null: bool = False) -> Node:
    """Decode exactly one item spanning all of `data`. Raises `UsageError` saying what is wrong and where.

    `null` allows null, which becomes None.
    """
    reader = _Reader(data, null)
    item = reader.item(0)
    if reader.position != len(data):
        raise UsageError(
            f"CBOR: {len(data) - reader.position} bytes follow the item at byte {reader.position}"
        )
    return item


class _Reader:
    __slots__ = ("data", "null", "position")

    def __init__(self, data: bytes, null: bool) -> None:
        self.data = data
        self.null = null
        self.position = 0

    def item(self, depth: int) -> Node:
        start = self.position
        if start >= len(self.data):
            raise UsageError(f"CBOR: the data ends at byte {start} where an item should start")
        first = self.data[start]
        self.position = start + 1
        major = first >> 5
        if major == _SIMPLE:
            if first == _NULL and self.null:
                return None
            if first not in (0xF4, 0xF5):
                raise UsageError(
                    f"CBOR: byte {first:#04x} at {start} is no integer, string, array, map or bool"
                )
            return first == 0xF5
        argument = self._argument(first & 0x1F, start)
        if major == _UNSIGNED:
            return argument
        if major in (_BYTES, _TEXT):
            return self._string(major, argument, start)
        if major not in (_ARRAY, _MAP):
            raise UsageError(f"CBOR: {_NAMES[major]} at byte {start} is not part of this format")
        if depth >= MAX_DEPTH:
            raise UsageError(f"CBOR: more than {MAX_DEPTH} levels at byte {start}")
        # An element takes a byte at least, a pair two: a count beyond that can't be honest.
        left = len(self.data) - self.position
        if argument > (left if major == _ARRAY else left // 2):
            raise UsageError(f"CBOR: {argument} elements announced at byte {start}, {left} bytes are left")
        if major == _ARRAY:
            return [self.item(depth + 1) for _ in range(argument)]
        return self._map(argument, depth)

    def _argument(self, info: int, start: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise UsageError(f"CBOR: indefinite or reserved length at byte {start}")
        size = 1 << (info - 24)
        end = self.position + size
        if end > len(self.data):
            raise UsageError(f"CBOR: the data ends inside the number at byte {start}")
        value = int.from_bytes(self.data[self.position : end], "big")
        self.position = end
        return value

    def _string(self, major: int, length: int, start: int) -> bytes | str:
        left = len(self.data) - self.position
        if length > left:
            raise UsageError(f"CBOR: a string of {length} bytes at byte {start}, {left} bytes are left")
        raw = self.data[self.position : self.position + length]
        self.position += length
        if major == _BYTES:
            return raw
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"CBOR: the text at byte {start} is not UTF-8") from error

    def _map(self, count: int, depth: int) -> dict[str, Node]:
        out: dict[str, Node] = {}
        for _ in range(count):
            start = self.position
            key = self.item(depth + 1)
            if not isinstance(key, str):
                raise UsageError(f"CBOR: the map key at byte {start} is not text")
            if key in out:
                raise UsageError(f"CBOR: the map key {key!r} at byte {start} comes twice")
            out[key] = self.item(depth + 1)
        return out
