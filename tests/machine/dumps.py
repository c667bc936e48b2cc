"""Crash dumps of Windows as small as they can be, laid out as QEMU and Windows write them."""

from __future__ import annotations

import struct

PAGE = 0x1000
CODE = 0xDEADDEAD
PARAMETERS = (0x1122334455667788, 2, 0xFFFFF80000001000, 4)
PARAMETERS32 = (0x11223344, 2, 0x80001000, 4)


def _put(header: bytearray, offset: int, layout: str, *values: int | bytes) -> None:
    struct.pack_into(f"<{layout}", header, offset, *values)


def header64(kind: int, *, code: int = CODE, runs: tuple[tuple[int, int], ...] = ((2, 3),)) -> bytearray:
    """DUMP_HEADER64. `runs` are first page and number of pages of each run of physical memory."""
    header = bytearray(b"PAGE" * (2 * PAGE // 4))
    header[:8] = b"PAGEDU64"
    _put(header, 0x08, "II", 15, 26100)
    _put(header, 0x10, "QQQQ", 0x1AD000, 0xFFFFF80000000000, 0xFFFFF80000000010, 0xFFFFF80000000020)
    _put(header, 0x30, "IIII", 0x8664, 2, code, 0)
    _put(header, 0x40, "4Q", *PARAMETERS)
    _put(header, 0x80, "Q", 0xFFFFF80000000030)
    _put(header, 0x88, "IIQ", len(runs), 0, sum(count for _, count in runs))
    for index, run in enumerate(runs):
        _put(header, 0x98 + 16 * index, "QQ", *run)
    header[0x348 : 0x348 + 1232] = bytes(1232)  # the processor's context
    _put(header, 0x348 + 0x34, "I", 0x1F80)  # MxCsr, which is there twice
    _put(header, 0x348 + 0x118, "I", 0x1F80)
    header[0xF00:0xF98] = bytes(0x98)  # the exception
    _put(header, 0xF98, "I", kind)
    _put(header, 0xFA0, "Q", 2 * PAGE + PAGE * sum(count for _, count in runs))
    return header


def full64(**changes: object) -> bytes:
    """A full dump of three pages; each is filled with its number."""
    return bytes(header64(1, **changes)) + b"".join(bytes([number]) * PAGE for number in (2, 3, 4))  # type: ignore[arg-type]


def bitmap64() -> bytes:
    """A bitmap dump in which the pages 1 and 4 of eight are present."""
    head = bytearray(0x40)
    head[:8] = b"SDMPDUMP"
    first = 3 * PAGE
    _put(head, 0x20, "QQQ", first, 2, 8)
    head[0x38] = 0b00010010
    bitmap = bytes(head).ljust(PAGE, b"\0")
    return bytes(header64(5)) + bitmap + b"\1" * PAGE + b"\4" * PAGE


def full32() -> bytes:
    """DUMP_HEADER32 and one page."""
    header = bytearray(b"PAGE" * (PAGE // 4))
    header[:8] = b"PAGEDUMP"
    _put(header, 0x08, "II", 15, 7601)
    _put(header, 0x20, "III", 0x14C, 1, CODE)
    _put(header, 0x2C, "4I", *PARAMETERS32)
    _put(header, 0x64, "IIII", 1, 1, 0, 1)
    _put(header, 0xF88, "I", 1)
    _put(header, 0xFA0, "Q", 2 * PAGE)
    return bytes(header) + bytes(PAGE)
