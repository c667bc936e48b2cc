"""Names for addresses: module and offset, function and source line where the driver has symbols.

Symbols come from the COFF symbol table and from what DWARF says of functions and lines, as gcc and clang
leave them in an unstripped image: the loaded file itself, or the file beside it with the extension `.debug`.
They are read when a stack is first printed and kept by content. The symbol table alone won't do: on x64 the
assembler takes a static function whose name begins with L for a local label, and leaves it out.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

from harness.guest.bugcheck import Frame

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.modules import Driver

__all__ = ["SymbolTable", "Symboliser", "read_symbols"]

_COMPANION: Final = ".debug"
_MAX_SYMBOLS: Final = 1 << 18
_FUNCTION_TYPE: Final = 0x20
_EXTERNAL: Final = 2  # IMAGE_SYM_CLASS_EXTERNAL
_CLASSES: Final = (_EXTERNAL, 3)  # and IMAGE_SYM_CLASS_STATIC
_CODE: Final = (".text", "PAGE", "INIT")
_DWARF: Final = (
    "info",
    "abbrev",
    "str",
    "line",
    "line_str",
    "aranges",
    "ranges",
    "addr",
    "str_offsets",
    "rnglists",
)


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """Functions and lines of one image, addresses relative to its base, both sorted."""

    functions: tuple[tuple[int, str], ...] = ()
    lines: tuple[tuple[int, str], ...] = ()  # address of a row, "file:line"; "" ends a sequence

    def function(self, rva: int) -> tuple[str, int]:
        """The function at `rva` and the distance from its start; ("", 0) when there is none."""
        index = bisect_right(self.functions, rva, key=_address) - 1
        if index < 0:
            return "", 0
        start, name = self.functions[index]
        return name, rva - start

    def line(self, rva: int) -> str:
        """ "file:line" of the instruction at `rva`, "" when not known."""
        index = bisect_right(self.lines, rva, key=_address) - 1
        return self.lines[index][1] if index >= 0 else ""


def _address(row: tuple[int, str]) -> int:
    return row[0]


class Symboliser:
    """Turns addresses of one machine into frames."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def frame(self, address: int, *, exact: bool) -> Frame:
        """The frame of an instruction (``exact``) or of a return address (looked up one byte earlier).

        An export that called the guest again is there by its entry point, further out in the stack too.
        """
        machine = self._machine
        place = address if exact or machine.cpu.code.is_slot(address) else address - 1
        export = machine.cpu.code.export_at(place)
        if export is not None:
            return Frame(address, "nt", function=export.name)
        stub = machine.cpu.code.stub_name(place)
        if stub:
            return Frame(address, "nt", function=stub)
        driver = machine.modules.at(place)
        if driver is None:
            gone = machine.modules.unloaded_at(place)
            return Frame(address, f"Unloaded_{gone}") if gone else Frame(address)
        module = driver.name.rsplit(".", 1)[0]
        symbols = symbols_of(driver)
        rva = place - driver.base
        name, displacement = symbols.function(rva)
        return Frame(
            address,
            module,
            offset=address - driver.base,
            function=name,
            displacement=displacement + (address - place) if name else 0,
            source=symbols.line(rva),
        )

    def function_start(self, address: int) -> int | None:
        """Where the function that contains `address` begins, None when that is not known."""
        driver = self._machine.modules.at(address)
        if driver is None:
            return None
        name, displacement = symbols_of(driver).function(address - driver.base)
        return address - displacement if name else None


def symbols_of(driver: Driver) -> SymbolTable:
    """The symbols of a loaded driver: of the file beside it, else of its own image."""
    if driver.path is not None:
        beside = driver.path.with_suffix(_COMPANION)
        try:
            found = read_symbols(beside.read_bytes())
        except OSError:
            found = SymbolTable()
        if found.functions:
            return found
    return read_symbols(driver.image)


@lru_cache(maxsize=32)
def read_symbols(data: bytes) -> SymbolTable:
    """Symbols of an image file; an empty table when it has none or they are damaged."""
    try:
        sections, names = _sections(data)
        functions = _coff(data, sections, names)
    except (struct.error, IndexError, ValueError):
        return SymbolTable()
    try:
        described, lines = _dwarf(data, sections)
    except Exception:  # pyelftools raises whatever it trips over; names without lines are still names
        return SymbolTable(functions)
    return SymbolTable(tuple(sorted((dict(functions) | described).items())), lines)


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    rva: int
    size: int
    raw: int
    raw_size: int


def _sections(data: bytes) -> tuple[list[_Section], bytes]:
    (at,) = struct.unpack_from("<I", data, 0x3C)
    _machine, count, _time, table, symbols, optional, _flags = struct.unpack_from("<HHIIIHH", data, at + 4)
    names = b""
    if table:
        start = table + 18 * symbols
        (size,) = struct.unpack_from("<I", data, start)
        names = data[start : start + size]
    found = []
    for i in range(count):
        raw_name, size, rva, raw_size, raw = struct.unpack_from("<8sIIII", data, at + 24 + optional + 40 * i)
        name = raw_name.rstrip(b"\0")
        if name[:1] == b"/" and name[1:].isdigit():  # longer than eight characters: in the string table
            offset = int(name[1:])
            name = names[offset : names.index(b"\0", offset)]
        found.append(_Section(name.decode("latin-1"), rva, size, raw, raw_size))
    return found, names


def _coff(data: bytes, sections: list[_Section], names: bytes) -> tuple[tuple[int, str], ...]:
    (at,) = struct.unpack_from("<I", data, 0x3C)
    machine, _count, _time, table, symbols = struct.unpack_from("<HHIII", data, at + 4)
    found: dict[int, tuple[bool, str]] = {}
    index = 0
    while table and index < min(symbols, _MAX_SYMBOLS):
        raw, value, section, kind, storage, extra = struct.unpack_from("<8sIhHBB", data, table + 18 * index)
        index += 1 + extra
        # Assembly labels have no type; global ones in code count as functions.
        labelled = storage == _EXTERNAL and section > 0 and sections[section - 1].name in _CODE
        if not labelled and (section < 1 or storage not in _CLASSES or kind != _FUNCTION_TYPE):
            continue
        if raw[:4] == b"\0\0\0\0":
            (offset,) = struct.unpack_from("<I", raw, 4)
            name = names[offset : names.index(b"\0", offset)]
        else:
            name = raw.rstrip(b"\0")
        text = name.decode("latin-1")
        if machine == 0x14C and text.startswith("_"):  # x86 decoration: _name, _name@8
            text = text[1:].split("@")[0]
        rva, is_function = sections[section - 1].rva + value, kind == _FUNCTION_TYPE
        # The linker's own labels (__end__) share the address of the first function: a function's name wins.
        if rva not in found or (is_function and not found[rva][0]):
            found[rva] = is_function, text
    return tuple(sorted((rva, text) for rva, (_, text) in found.items()))


def _dwarf(data: bytes, sections: list[_Section]) -> tuple[dict[int, str], tuple[tuple[int, str], ...]]:
    """Functions by address, and rows of the line tables."""
    (at,) = struct.unpack_from("<I", data, 0x3C)
    machine = struct.unpack_from("<H", data, at + 4)[0]
    wide = machine == 0x8664
    base: int = struct.unpack_from("<Q" if wide else "<I", data, at + 24 + (24 if wide else 28))[0]
    parts: dict[str, Any] = {}
    for section in sections:
        if section.name.startswith(".debug_"):
            content = data[
                section.raw : section.raw + min(section.size or section.raw_size, section.raw_size)
            ]
            parts[section.name[7:]] = DebugSectionDescriptor(
                BytesIO(content), section.name, None, len(content), section.rva
            )
    if "info" not in parts or "line" not in parts:
        return {}, ()
    arguments = {f"debug_{name}_sec": parts.get(name) for name in _DWARF}
    info = DWARFInfo(
        config=DwarfConfig(
            little_endian=True, machine_arch="x64" if wide else "x86", default_address_size=8 if wide else 4
        ),
        eh_frame_sec=None,
        debug_frame_sec=None,
        debug_loc_sec=None,
        debug_pubtypes_sec=None,
        debug_pubnames_sec=None,
        debug_loclists_sec=None,
        debug_sup_sec=None,
        gnu_debugaltlink_sec=None,
        debug_types_sec=None,
        **arguments,
    )
    rows: list[tuple[int, str]] = []
    functions: dict[int, str] = {}
    for unit in info.iter_CUs():
        functions.update(_functions(unit, base))
        program = info.line_program_for_CU(unit)
        if program is None:
            continue
        version = program["version"]
        files = program["file_entry"]
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            number = state.file if version >= 5 else state.file - 1
            name = files[number].name.decode("utf-8", "replace") if 0 <= number < len(files) else "?"
            text = "" if state.end_sequence else f"{Path(name).name}:{state.line}"
            rows.append((state.address - base, text))
    rows.sort(key=_address)  # rows of one address stay in the program's order: the last one counts
    return functions, tuple(rows)


def _functions(unit: Any, base: int) -> Iterator[tuple[int, str]]:
    """The functions that a unit defines, by name; inlined ones have no address of their own."""
    for entry in unit.get_top_DIE().iter_children():
        if entry.tag != "DW_TAG_subprogram" or "DW_AT_low_pc" not in entry.attributes:
            continue
        named = entry
        for reference in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if "DW_AT_name" not in named.attributes and reference in named.attributes:
                named = named.get_DIE_from_attribute(reference)
        name = named.attributes.get("DW_AT_name")
        if name is not None:
            yield entry.attributes["DW_AT_low_pc"].value - base, name.value.decode("utf-8", "replace")
