"""Generic tables: the AVL variety and the splay variety.

The order of the elements is kept on this side, one sorted list per table; a driver reaches elements through
the routines only, so the shape of the tree is not observable. Elements are laid out as documented (header,
then the caller's data) because the driver's allocate and free routines see the header's size.
Sources: nf-ntddk-rtlinitializegenerictableavl, -rtlinsertelementgenerictableavl,
-rtlenumerategenerictablewithoutsplayingavl, -rtlgetelementgenerictableavl and the pages beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.layouts import layout

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["GenericTable"]

_LESS: Final = 0
_GREATER: Final = 1


@dataclass(slots=True)
class GenericTable:
    """One table: element header addresses in ascending order, and the header's size in bytes."""

    header: int
    count_offset: int
    compare: int
    allocate: int
    free: int
    elements: list[int] = field(default_factory=list)
    cursor: int = 0  # index of the next element of an enumeration with Restart FALSE


def _avl(m: Machine, address: int) -> GenericTable:
    return _table(m, address, "RtlInitializeGenericTableAvl")


def _table(m: Machine, address: int, routine: str) -> GenericTable:
    table = m.kernel.generic_tables.get(address)
    if table is None:
        m.bugcheck(0xC4, 0xE1, address, 0, 0, reason=f"a generic table was used without {routine}")
    return table


@export("RtlInitializeGenericTableAvl", args="ptr, ptr, ptr, ptr, ptr")
def rtl_initialize_generic_table_avl(
    m: Machine, address: int, compare: int, allocate: int, free: int, context: int
) -> None:
    shape = layout("RTL_AVL_TABLE", m.memory.pointer_size)
    m.memory.write(address, bytes(shape.size))
    view = shape.at(m.memory, address)
    m.memory.put_ptr(address, address)  # BalancedRoot.Parent points at itself
    view["CompareRoutine"] = compare
    view["AllocateRoutine"] = allocate
    view["FreeRoutine"] = free
    view["TableContext"] = context
    m.kernel.generic_tables[address] = GenericTable(
        header=layout("RTL_BALANCED_LINKS", m.memory.pointer_size).size,
        count_offset=shape.offset("NumberGenericTableElements"),
        compare=compare,
        allocate=allocate,
        free=free,
    )


@export("RtlInitializeGenericTable", args="ptr, ptr, ptr, ptr, ptr")
def rtl_initialize_generic_table(
    m: Machine, address: int, compare: int, allocate: int, free: int, context: int
) -> None:
    """RTL_GENERIC_TABLE: root, insert-order list, ordered pointer, two counts, four pointers."""
    size = m.memory.pointer_size
    m.memory.write(address, bytes(size * 4 + 8 + size * 4))
    m.memory.put_ptr(address + size, address + size)
    m.memory.put_ptr(address + size * 2, address + size)
    for index, value in enumerate((compare, allocate, free, context)):
        m.memory.put_ptr(address + size * 4 + 8 + index * size, value)
    m.kernel.generic_tables[address] = GenericTable(
        header=40 if size == 8 else 24,
        count_offset=size * 4 + 4,
        compare=compare,
        allocate=allocate,
        free=free,
    )


def _search(m: Machine, address: int, table: GenericTable, buffer: int) -> tuple[int, bool]:
    """Where `buffer` is or belongs, by the driver's compare routine."""
    low, high = 0, len(table.elements)
    while low < high:
        middle = (low + high) // 2
        result = (
            m.cpu.call(table.compare, address, buffer, table.elements[middle] + table.header) & 0xFFFFFFFF
        )
        if result == _LESS:
            high = middle
        elif result == _GREATER:
            low = middle + 1
        else:
            return middle, True
    return low, False


def _insert(m: Machine, address: int, table: GenericTable, buffer: int, size: int, is_new: int) -> int:
    at, found = _search(m, address, table, buffer)
    if not found:
        node = m.cpu.call(table.allocate, address, table.header + size)
        if node == 0:
            if is_new:
                m.memory.put_u8(is_new, 0)
            return 0
        m.memory.write(node, bytes(table.header))
        if size:
            m.memory.write(node + table.header, m.memory.read(buffer, size))
        table.elements.insert(at, node)
        if at < table.cursor:
            table.cursor += 1
        m.memory.put_u32(address + table.count_offset, len(table.elements))
    if is_new:
        m.memory.put_u8(is_new, int(not found))
    return table.elements[at] + table.header


def _delete(m: Machine, address: int, table: GenericTable, buffer: int) -> int:
    at, found = _search(m, address, table, buffer)
    if not found:
        return 0
    node = table.elements.pop(at)
    if at < table.cursor:
        table.cursor -= 1
    m.memory.put_u32(address + table.count_offset, len(table.elements))
    m.cpu.call(table.free, address, node)
    return 1


def _lookup(m: Machine, address: int, table: GenericTable, buffer: int) -> int:
    at, found = _search(m, address, table, buffer)
    return table.elements[at] + table.header if found else 0


def _enumerate(table: GenericTable, restart: int) -> int:
    if restart & 0xFF:
        table.cursor = 0
    if table.cursor >= len(table.elements):
        return 0
    table.cursor += 1
    return table.elements[table.cursor - 1] + table.header


def _enumerate_from(m: Machine, table: GenericTable, restart_key: int) -> int:
    """`*RestartKey` is the element last returned, NULL to begin."""
    last = m.memory.ptr(restart_key)
    at = table.elements.index(last) + 1 if last in table.elements else 0
    if at >= len(table.elements):
        return 0
    m.memory.put_ptr(restart_key, table.elements[at])
    return table.elements[at] + table.header


@export("RtlInsertElementGenericTableAvl", args="ptr, ptr, ulong, ptr")
def rtl_insert_element_avl(m: Machine, address: int, buffer: int, size: int, is_new: int) -> int:
    return _insert(m, address, _avl(m, address), buffer, size, is_new)


@export("RtlDeleteElementGenericTableAvl", args="ptr, ptr")
def rtl_delete_element_avl(m: Machine, address: int, buffer: int) -> int:
    return _delete(m, address, _avl(m, address), buffer)


@export("RtlLookupElementGenericTableAvl", args="ptr, ptr")
def rtl_lookup_element_avl(m: Machine, address: int, buffer: int) -> int:
    return _lookup(m, address, _avl(m, address), buffer)


@export("RtlEnumerateGenericTableAvl", args="ptr, uchar")
def rtl_enumerate_avl(m: Machine, address: int, restart: int) -> int:
    return _enumerate(_avl(m, address), restart)


@export("RtlEnumerateGenericTableWithoutSplayingAvl", args="ptr, ptr")
def rtl_enumerate_without_splaying_avl(m: Machine, address: int, restart_key: int) -> int:
    return _enumerate_from(m, _avl(m, address), restart_key)


@export("RtlGetElementGenericTableAvl", args="ptr, ulong")
def rtl_get_element_avl(m: Machine, address: int, index: int) -> int:
    table = _avl(m, address)
    return table.elements[index] + table.header if index < len(table.elements) else 0


@export("RtlNumberGenericTableElementsAvl", args="ptr")
def rtl_number_elements_avl(m: Machine, address: int) -> int:
    return len(_avl(m, address).elements)


@export("RtlIsGenericTableEmptyAvl", args="ptr")
def rtl_is_empty_avl(m: Machine, address: int) -> int:
    return int(not _avl(m, address).elements)


@export("RtlInsertElementGenericTable", args="ptr, ptr, ulong, ptr")
def rtl_insert_element(m: Machine, address: int, buffer: int, size: int, is_new: int) -> int:
    return _insert(m, address, _table(m, address, "RtlInitializeGenericTable"), buffer, size, is_new)


@export("RtlDeleteElementGenericTable", args="ptr, ptr")
def rtl_delete_element(m: Machine, address: int, buffer: int) -> int:
    return _delete(m, address, _table(m, address, "RtlInitializeGenericTable"), buffer)


@export("RtlLookupElementGenericTable", args="ptr, ptr")
def rtl_lookup_element(m: Machine, address: int, buffer: int) -> int:
    return _lookup(m, address, _table(m, address, "RtlInitializeGenericTable"), buffer)


@export("RtlEnumerateGenericTable", args="ptr, uchar")
def rtl_enumerate(m: Machine, address: int, restart: int) -> int:
    return _enumerate(_table(m, address, "RtlInitializeGenericTable"), restart)


@export("RtlEnumerateGenericTableWithoutSplaying", args="ptr, ptr")
def rtl_enumerate_without_splaying(m: Machine, address: int, restart_key: int) -> int:
    return _enumerate_from(m, _table(m, address, "RtlInitializeGenericTable"), restart_key)


@export("RtlGetElementGenericTable", args="ptr, ulong")
def rtl_get_element(m: Machine, address: int, index: int) -> int:
    table = _table(m, address, "RtlInitializeGenericTable")
    return table.elements[index] + table.header if index < len(table.elements) else 0


@export("RtlNumberGenericTableElements", args="ptr")
def rtl_number_elements(m: Machine, address: int) -> int:
    return len(_table(m, address, "RtlInitializeGenericTable").elements)


@export("RtlIsGenericTableEmpty", args="ptr")
def rtl_is_empty(m: Machine, address: int) -> int:
    return int(not _table(m, address, "RtlInitializeGenericTable").elements)
