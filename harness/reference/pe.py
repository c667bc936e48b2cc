"""Reads driver images, which are hostile input.

The rules are those of the Windows loader rather than of a forensic parser: whatever is out of bounds,
overlapping or absurd is refused with STATUS_INVALID_IMAGE_FORMAT and a sentence that says what is wrong.
Every loop is bounded by the file. Format: page "PE Format".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from harness.errors import DriverRefusedError
from harness.guest import Arch

__all__ = ["INVALID_IMAGE_FORMAT", "Import", "PeImage", "PeSection", "parse"]

INVALID_IMAGE_FORMAT: Final = 0xC000007B

MAX_FILE: Final = 64 << 20
MAX_IMAGE: Final = 64 << 20
MAX_SECTIONS: Final = 96  # what the Windows loader takes
MAX_IMPORTS: Final = 4096
MAX_MODULES: Final = 64
MAX_RELOCATIONS: Final = 1 << 20
_MAX_NAME: Final = 512

_MACHINES: Final = {0x8664: Arch.X64, 0x014C: Arch.X86}
_MAGIC: Final = {Arch.X64: 0x20B, Arch.X86: 0x10B}
_EXPORT, _IMPORT, _RESOURCE, _EXCEPTION, _SECURITY, _RELOC = range(6)
_LOAD_CONFIG: Final = 10
_REL_ABSOLUTE, _REL_HIGHLOW, _REL_DIR64 = 0, 3, 10
_RELOCS_STRIPPED: Final = 1
_NATIVE: Final = 1

SCN_DISCARDABLE: Final = 0x0200_0000
SCN_EXECUTE: Final = 0x2000_0000
SCN_READ: Final = 0x4000_0000
SCN_WRITE: Final = 0x8000_0000


@dataclass(frozen=True, slots=True)
class PeSection:
    """A section header: name, address and size in memory, place in the file, IMAGE_SCN_* flags."""

    name: str
    rva: int
    size: int
    raw: int
    raw_size: int
    flags: int


@dataclass(frozen=True, slots=True)
class Import:
    """One imported symbol: module, name or ordinal, and where its address goes (relative to the base)."""

    module: str
    name: str | int
    slot: int

    def __str__(self) -> str:
        symbol = f"#{self.name}" if isinstance(self.name, int) else self.name
        return f"{self.module}!{symbol}"


@dataclass(frozen=True, slots=True)
class PeImage:
    """What the loader needs of an image."""

    arch: Arch
    base: int
    size: int
    entry: int
    headers: int  # bytes of headers that are mapped
    alignment: int
    sections: tuple[PeSection, ...]
    imports: tuple[Import, ...]
    relocations: tuple[int, ...]  # addresses of pointers to adjust
    relocatable: bool
    functions: tuple[tuple[int, int, int], ...]  # x64: begin, end, unwind data
    function_table: int  # where they are
    cookie: int  # where the security cookie is, 0 for none
    laid_out: bytes  # the image as it lies in memory at its preferred base


def _refuse(why: str) -> DriverRefusedError:
    return DriverRefusedError(f"not a driver image Windows would load: {why}", status=INVALID_IMAGE_FORMAT)


@lru_cache(maxsize=16)
def parse(data: bytes) -> PeImage:
    """Read an image file. Raises `DriverRefusedError` with STATUS_INVALID_IMAGE_FORMAT, nothing else."""
    if len(data) > MAX_FILE:
        raise _refuse(f"the file has {len(data)} bytes, the limit is {MAX_FILE}")
    try:
        return _Parser(data).image()
    except struct.error:
        raise _refuse("a structure is cut off") from None


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._memory = b""
        self._directories: list[tuple[int, int]] = []
        self._wide = True

    def image(self) -> PeImage:
        data = self._data
        if data[:2] != b"MZ":
            raise _refuse("no MZ signature")
        (at,) = struct.unpack_from("<I", data, 0x3C)
        if data[at : at + 4] != b"PE\0\0":
            raise _refuse("no PE signature")
        machine, count, _time, _symbols, _symbol_count, optional_size, flags = struct.unpack_from(
            "<HHIIIHH", data, at + 4
        )
        arch = _MACHINES.get(machine)
        if arch is None:
            raise _refuse(f"machine type {machine:#06x} is neither x64 nor x86")
        self._wide = arch is Arch.X64
        optional = at + 24
        if struct.unpack_from("<H", data, optional)[0] != _MAGIC[arch]:
            raise _refuse("optional header and machine type disagree")
        (entry,) = struct.unpack_from("<I", data, optional + 16)
        (base,) = struct.unpack_from(
            "<Q" if self._wide else "<I", data, optional + (24 if self._wide else 28)
        )
        alignment, file_alignment = struct.unpack_from("<II", data, optional + 32)
        size, headers = struct.unpack_from("<II", data, optional + 56)
        (subsystem,) = struct.unpack_from("<H", data, optional + 68)
        if subsystem != _NATIVE:
            raise _refuse(f"subsystem {subsystem} is not native")
        if not 0 < size <= MAX_IMAGE:
            raise _refuse(f"image size {size:#x} (the limit is {MAX_IMAGE:#x})")
        if alignment & (alignment - 1) or alignment < 16 or file_alignment & (file_alignment - 1):
            raise _refuse(f"section alignment {alignment:#x}, file alignment {file_alignment:#x}")
        if base & 0xFFFF:
            raise _refuse(f"image base {base:#x} is not a multiple of 64 KB")
        self._read_directories(optional, optional_size)
        sections = self._sections(optional + optional_size, count, size)
        self._lay_out(size, min(headers, len(data)), sections)
        if not 0 < entry < size:
            raise _refuse(f"entry point {entry:#x} lies outside the image")
        relocations = self._relocations()
        return PeImage(
            arch=arch,
            base=base,
            size=size,
            entry=entry,
            headers=headers,
            alignment=alignment,
            sections=sections,
            imports=self._imports(),
            relocations=relocations,
            relocatable=not flags & _RELOCS_STRIPPED or bool(self._directory(_RELOC)[1]),
            functions=self._functions() if self._wide else (),
            function_table=self._directory(_EXCEPTION)[0],
            cookie=self._cookie(base),
            laid_out=self._memory,
        )

    def _read_directories(self, optional: int, optional_size: int) -> None:
        first = optional + (112 if self._wide else 96)
        (count,) = struct.unpack_from("<I", self._data, first - 4)
        count = min(count, 16, max(0, (optional_size - (first - optional)) // 8))
        self._directories = [struct.unpack_from("<II", self._data, first + 8 * i) for i in range(count)]

    def _directory(self, index: int) -> tuple[int, int]:
        if index >= len(self._directories):
            return 0, 0
        start, size = self._directories[index]
        if not start or not size:
            return 0, 0
        if start + size > len(self._memory):
            raise _refuse(f"data directory {index} lies outside the image")
        return start, size

    def _sections(self, at: int, count: int, image_size: int) -> tuple[PeSection, ...]:
        if not 0 < count <= MAX_SECTIONS:
            raise _refuse(f"{count} sections (the limit is {MAX_SECTIONS})")
        found = []
        last = 0
        for i in range(count):
            name, virtual, rva, raw_size, raw, _r, _l, _rc, _lc, flags = struct.unpack_from(
                "<8sIIIIIIHHI", self._data, at + 40 * i
            )
            size = virtual or raw_size
            text = name.rstrip(b"\0").decode("ascii", "replace")
            if rva < last or rva + size > image_size:
                raise _refuse(f"section {text!r} overlaps another or the end of the image")
            if raw_size and raw + raw_size > len(self._data):
                raise _refuse(f"section {text!r} lies outside the file")
            last = rva + size
            found.append(PeSection(text, rva, size, raw, min(raw_size, size) if raw else 0, flags))
        return tuple(found)

    def _lay_out(self, size: int, headers: int, sections: tuple[PeSection, ...]) -> None:
        first = min(s.rva for s in sections)
        memory = bytearray(size)
        mapped = min(headers, first)
        memory[:mapped] = self._data[:mapped]
        for section in sections:
            memory[section.rva : section.rva + section.raw_size] = self._data[
                section.raw : section.raw + section.raw_size
            ]
        self._memory = bytes(memory)

    def _text(self, rva: int) -> str:
        end = self._memory.find(b"\0", rva, rva + _MAX_NAME)
        if not 0 < rva < len(self._memory) or end < 0:
            raise _refuse("an import name lies outside the image or has no end")
        name = self._memory[rva:end].decode("latin-1")
        if not name or not name.isascii() or not name.isprintable():
            raise _refuse(f"{name[:40]!r} is no import name")
        return name

    def _imports(self) -> tuple[Import, ...]:
        start, size = self._directory(_IMPORT)
        if not size:
            return ()
        found: list[Import] = []
        step, form = (8, "<Q") if self._wide else (4, "<I")
        by_ordinal = 1 << (8 * step - 1)
        for module_index in range(MAX_MODULES + 1):
            names, _time, _chain, module, slots = struct.unpack_from(
                "<5I", self._memory, start + 20 * module_index
            )
            if not module or not slots:
                return tuple(found)
            module_name = self._text(module)
            table = names or slots
            index = 0
            while True:
                (value,) = struct.unpack_from(form, self._memory, table + step * index)
                if not value:
                    break
                slot = slots + step * index
                if slot + step > len(self._memory):
                    raise _refuse("an import address table lies outside the image")
                if value & by_ordinal:
                    found.append(Import(module_name, value & 0xFFFF, slot))
                else:
                    found.append(Import(module_name, self._text((value & 0x7FFF_FFFF) + 2), slot))
                index += 1
                if len(found) > MAX_IMPORTS:
                    raise _refuse(f"more than {MAX_IMPORTS} imports")
        raise _refuse(f"imports from more than {MAX_MODULES} modules")

    def _relocations(self) -> tuple[int, ...]:
        start, size = self._directory(_RELOC)
        end = start + size
        found: list[int] = []
        wanted, width = (_REL_DIR64, 8) if self._wide else (_REL_HIGHLOW, 4)
        at = start
        while at + 8 <= end:
            page, block = struct.unpack_from("<II", self._memory, at)
            if block == 0:
                break
            if block < 8 or at + block > end:
                raise _refuse("a relocation block has a wrong size")
            for (entry,) in struct.iter_unpack("<H", self._memory[at + 8 : at + block & ~1 | at & 1]):
                kind = entry >> 12
                if kind == _REL_ABSOLUTE:
                    continue
                place = page + (entry & 0xFFF)
                if kind != wanted or place + width > len(self._memory):
                    raise _refuse(f"relocation of type {kind} at {place:#x}")
                found.append(place)
            if len(found) > MAX_RELOCATIONS:
                raise _refuse(f"more than {MAX_RELOCATIONS} relocations")
            at += block
        return tuple(found)

    def _functions(self) -> tuple[tuple[int, int, int], ...]:
        start, size = self._directory(_EXCEPTION)
        table = list(struct.iter_unpack("<III", self._memory[start : start + size - size % 12]))
        table = [entry for entry in table if entry[0]]
        limit = len(self._memory)
        for begin, end, unwind in table:
            if not begin < end <= limit or unwind >= limit - 4:
                raise _refuse(f"unwind data of the function at {begin:#x} lies outside the image")
        return tuple(sorted(table))

    def _cookie(self, base: int) -> int:
        start, size = self._directory(_LOAD_CONFIG)
        offset, form, width = (0x58, "<Q", 8) if self._wide else (0x3C, "<I", 4)
        if not start:
            return 0
        (declared,) = struct.unpack_from("<I", self._memory, start)
        if max(size, declared) < offset + width or start + offset + width > len(self._memory):
            return 0
        (address,) = struct.unpack_from(form, self._memory, start + offset)
        if not address:
            return 0
        place: int = address - base
        if not 0 < place <= len(self._memory) - width:
            raise _refuse("the security cookie lies outside the image")
        return place
