"""Tables of Unicode prefixes: which of many paths a name lies below.

The table and its entries are the driver's memory and opaque; the model keeps which entries a table has and
reads their prefixes when it looks, as the real routines do. Sources: nf-ntifs-rtlinitializeunicodeprefix,
nf-ntifs-rtlinsertunicodeprefix, nf-ntifs-rtlfindunicodeprefix, nf-ntifs-rtlremoveunicodeprefix,
nf-ntifs-rtlnextunicodeprefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.rtl_strings import string_text
from harness.reference.kernel.text import upcase

if TYPE_CHECKING:
    from harness.reference.kernel.layouts import View
    from harness.reference.machine import Machine

__all__ = ["PrefixTable"]


@dataclass(slots=True)
class PrefixTable:
    """The entries of one table, in the order they were inserted, and where an enumeration is."""

    entries: list[int] = field(default_factory=list)
    next: int = 0


def _view(m: Machine, entry: int) -> View:
    return layout("UNICODE_PREFIX_TABLE_ENTRY", m.memory.pointer_size).at(m.memory, entry)


def _table(m: Machine, address: int) -> PrefixTable:
    found = m.kernel.prefix_tables.get(address)
    if found is None:
        m.bugcheck(0xC4, 0xE1, address, 0, 0, reason="a prefix table was used that is not initialised")
    return found


def _prefix(m: Machine, entry: int) -> str:
    return string_text(m, _view(m, entry)["Prefix"])


@export("RtlInitializeUnicodePrefix", args="ptr")
def rtl_initialize_unicode_prefix(m: Machine, table: int) -> None:
    m.kernel.prefix_tables[table] = PrefixTable()


@export("RtlInsertUnicodePrefix", args="ptr, ptr, ptr")
def rtl_insert_unicode_prefix(m: Machine, table: int, prefix: int, entry: int) -> int:
    """FALSE when the table has that prefix, in the same case, already."""
    found = _table(m, table)
    text = string_text(m, prefix)
    if any(_prefix(m, each) == text for each in found.entries):
        return 0
    view = _view(m, entry)
    view["NodeTypeCode"], view["NameLength"] = 0, text.count("\\")
    view["Prefix"] = prefix
    found.entries.append(entry)
    return 1


@export("RtlFindUnicodePrefix", args="ptr, ptr, ulong")
def rtl_find_unicode_prefix(m: Machine, table: int, name: int, insensitive_from: int) -> int:
    """The entry of the longest prefix that ends where a part of the name does, or NULL.

    From the character `insensitive_from` on case doesn't matter.
    """
    full = string_text(m, name)
    best, length = 0, -1
    for entry in _table(m, table).entries:
        prefix = _prefix(m, entry)
        if len(prefix) > length and _lies_below(full, prefix, insensitive_from):
            best, length = entry, len(prefix)
    return best


def _lies_below(name: str, prefix: str, insensitive_from: int) -> bool:
    start = name[: len(prefix)]
    ends = len(name) == len(prefix) or prefix.endswith("\\") or name[len(prefix) :].startswith("\\")
    exact, rest = slice(insensitive_from), slice(insensitive_from, None)
    return ends and start[exact] == prefix[exact] and upcase(start[rest]) == upcase(prefix[rest])


@export("RtlRemoveUnicodePrefix", args="ptr, ptr")
def rtl_remove_unicode_prefix(m: Machine, table: int, entry: int) -> None:
    found = _table(m, table)
    if entry in found.entries:
        found.entries.remove(entry)


@export("RtlNextUnicodePrefix", args="ptr, uchar")
def rtl_next_unicode_prefix(m: Machine, table: int, restart: int) -> int:
    """One entry after the other, NULL behind the last; no page gives an order."""
    found = _table(m, table)
    if restart & 0xFF:
        found.next = 0
    if found.next >= len(found.entries):
        return 0
    found.next += 1
    return found.entries[found.next - 1]
