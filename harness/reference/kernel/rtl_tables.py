"""Generic tables: the AVL variety and the splay variety.

The order of the elements is kept on this side, one sorted list per table; a driver reaches elements through
the routines only, so the shape of the tree is not observable. Elements are laid out as documented (header,
then the caller's data) because the driver's allocate and free routines see the header's size.

RtlGetElementGenericTable counts by insertion, as its page says. The page of the AVL form says the same, but
RTL_AVL_TABLE has no list that remembers insertions: there it counts in order.
Sources: nf-ntddk-rtlinitializegenerictable, nf-ntddk-rtlinitializegenerictableavl,
-rtlinsertelementgenerictableavl, -rtlenumerategenerictablewithoutsplayingavl, -rtlgetelementgenerictable,
ntddk.h (RTL_GENERIC_TABLE, RTL_AVL_TABLE, TABLE_SEARCH_RESULT) and the pages beside them.
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
#: TABLE_SEARCH_RESULT.
_EMPTY, _FOUND, _AS_LEFT, _AS_RIGHT = range(4)


@dataclass(slots=True)
class GenericTable:
    """One table: element header addresses in ascending order, and the header's size in bytes."""

    header: int
    count_offset: int
    compare: int
    allocate: int
    free: int
    root: int  # offset of the pointer to the tree, NULL when it is empty
    elements: list[int] = field(default_factory=list)
    inserted: list[int] = field(default_factory=list)  # the same, oldest first
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
        root=2 * m.memory.pointer_size,  # BalancedRoot.RightChild
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
        root=0,  # TableRoot
    )


def _splay(m: Machine, address: int) -> GenericTable:
    return _table(m, address, "RtlInitializeGenericTable")


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
    return _insert_at(m, address, table, at, buffer, size, is_new, found=found)


def _insert_at(
    m: Machine,
    address: int,
    table: GenericTable,
    at: int,
    buffer: int,
    size: int,
    is_new: int,
    *,
    found: bool,
) -> int:
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
        table.inserted.append(node)
        if at < table.cursor:
            table.cursor += 1
        _changed(m, address, table)
    if is_new:
        m.memory.put_u8(is_new, int(not found))
    return table.elements[at] + table.header


def _changed(m: Machine, address: int, table: GenericTable) -> None:
    """What a driver may read of the table itself: how many elements, and whether there is a tree."""
    elements = table.elements
    m.memory.put_u32(address + table.count_offset, len(elements))
    m.memory.put_ptr(address + table.root, elements[len(elements) // 2] if elements else 0)


def _delete(m: Machine, address: int, table: GenericTable, buffer: int) -> int:
    at, found = _search(m, address, table, buffer)
    if not found:
        return 0
    node = table.elements.pop(at)
    table.inserted.remove(node)
    if at < table.cursor:
        table.cursor -= 1
    _changed(m, address, table)
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


@export("RtlLookupFirstMatchingElementGenericTableAvl", args="ptr, ptr, ptr", since=(6, 1))
def rtl_lookup_first_matching_element_avl(m: Machine, address: int, buffer: int, restart_key: int) -> int:
    """The first of the elements that compare equal; `*RestartKey` is where an enumeration goes on."""
    table = _avl(m, address)
    at, found = _search(m, address, table, buffer)
    if not found:
        return 0
    while at and _compares_equal(m, address, table, buffer, at - 1):
        at -= 1
    m.memory.put_ptr(restart_key, table.elements[at])
    return table.elements[at] + table.header


def _compares_equal(m: Machine, address: int, table: GenericTable, buffer: int, at: int) -> bool:
    result = m.cpu.call(table.compare, address, buffer, table.elements[at] + table.header) & 0xFFFFFFFF
    return result not in (_LESS, _GREATER)


@export("RtlInsertElementGenericTable", args="ptr, ptr, ulong, ptr")
def rtl_insert_element(m: Machine, address: int, buffer: int, size: int, is_new: int) -> int:
    return _insert(m, address, _splay(m, address), buffer, size, is_new)


@export("RtlDeleteElementGenericTable", args="ptr, ptr")
def rtl_delete_element(m: Machine, address: int, buffer: int) -> int:
    return _delete(m, address, _splay(m, address), buffer)


@export("RtlLookupElementGenericTable", args="ptr, ptr")
def rtl_lookup_element(m: Machine, address: int, buffer: int) -> int:
    return _lookup(m, address, _splay(m, address), buffer)


@export("RtlEnumerateGenericTable", args="ptr, uchar")
def rtl_enumerate(m: Machine, address: int, restart: int) -> int:
    return _enumerate(_splay(m, address), restart)


@export("RtlEnumerateGenericTableWithoutSplaying", args="ptr, ptr")
def rtl_enumerate_without_splaying(m: Machine, address: int, restart_key: int) -> int:
    return _enumerate_from(m, _splay(m, address), restart_key)


@export("RtlGetElementGenericTable", args="ptr, ulong")
def rtl_get_element(m: Machine, address: int, index: int) -> int:
    table = _splay(m, address)
    return table.inserted[index] + table.header if index < len(table.inserted) else 0


@export("RtlNumberGenericTableElements", args="ptr")
def rtl_number_elements(m: Machine, address: int) -> int:
    return len(_splay(m, address).elements)


@export("RtlIsGenericTableEmpty", args="ptr")
def rtl_is_empty(m: Machine, address: int) -> int:
    return int(not _splay(m, address).elements)


# -- look up first, insert there without another search ------------------------------------------------------


def _lookup_full(
    m: Machine, address: int, table: GenericTable, buffer: int, node_at: int, result_at: int
) -> int:
    """Says where an element is, or below which one it belongs."""
    at, found = _search(m, address, table, buffer)
    elements = table.elements
    if found:
        node, result = elements[at], _FOUND
    elif not elements:
        node, result = 0, _EMPTY
    elif at < len(elements):
        node, result = elements[at], _AS_LEFT
    else:
        node, result = elements[-1], _AS_RIGHT
    m.memory.put_ptr(node_at, node)
    m.memory.put_u32(result_at, result)
    return node + table.header if found else 0


def _insert_full(
    m: Machine, address: int, table: GenericTable, buffer: int, size: int, is_new: int, node: int, result: int
) -> int:
    """Insert where the look-up said."""
    at = table.elements.index(node) if node in table.elements else 0
    found = result == _FOUND
    return _insert_at(m, address, table, at + int(result == _AS_RIGHT), buffer, size, is_new, found=found)


@export("RtlLookupElementGenericTableFull", args="ptr, ptr, ptr, ptr")
def rtl_lookup_element_full(m: Machine, address: int, buffer: int, node_at: int, result_at: int) -> int:
    return _lookup_full(m, address, _splay(m, address), buffer, node_at, result_at)


@export("RtlLookupElementGenericTableFullAvl", args="ptr, ptr, ptr, ptr")
def rtl_lookup_element_full_avl(m: Machine, address: int, buffer: int, node_at: int, result_at: int) -> int:
    return _lookup_full(m, address, _avl(m, address), buffer, node_at, result_at)


@export("RtlInsertElementGenericTableFull", args="ptr, ptr, ulong, ptr, ptr, ulong")
def rtl_insert_element_full(m: Machine, address: int, *rest: int) -> int:
    return _insert_full(m, address, _splay(m, address), *rest)


@export("RtlInsertElementGenericTableFullAvl", args="ptr, ptr, ulong, ptr, ptr, ulong")
def rtl_insert_element_full_avl(m: Machine, address: int, *rest: int) -> int:
    return _insert_full(m, address, _avl(m, address), *rest)
