"""Interlocked operations and lists, SLists, and lookaside lists.

Sources: nf-wdm-exinterlockedinsertheadlist, nf-wdm-expinterlockedpopentryslist, interlocked pages of wdm,
nf-wdm-exinitializenpagedlookasidelist, nf-wdm-exinitializelookasidelistex.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import INTERNAL
from harness.reference.kernel.ex_pool import allocate_pool
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.linked_lists import insert_head, insert_tail, remove_head
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_X86: Final = ("x86",)
_MASK32: Final = 0xFFFFFFFF


# -- interlocked arithmetic: intrinsics on x64, exports on x86 ----------------------------------------------


def _add32(m: Machine, address: int, delta: int) -> tuple[int, int]:
    old = m.memory.u32(address)
    new = (old + delta) & _MASK32
    m.memory.put_u32(address, new)
    return old, new


@export("InterlockedIncrement", args="ptr", cc="fastcall", arches=_X86)
def interlocked_increment(m: Machine, address: int) -> int:
    return _add32(m, address, 1)[1]


@export("InterlockedDecrement", args="ptr", cc="fastcall", arches=_X86)
def interlocked_decrement(m: Machine, address: int) -> int:
    return _add32(m, address, -1)[1]


@export("InterlockedExchange", args="ptr, ulong", cc="fastcall", arches=_X86)
def interlocked_exchange(m: Machine, address: int, value: int) -> int:
    old = m.memory.u32(address)
    m.memory.put_u32(address, value)
    return old


@export("InterlockedExchangeAdd", args="ptr, ulong", cc="fastcall", arches=_X86)
def interlocked_exchange_add(m: Machine, address: int, value: int) -> int:
    return _add32(m, address, value)[0]


@export("InterlockedCompareExchange", args="ptr, ulong, ulong", cc="fastcall", arches=_X86)
def interlocked_compare_exchange(m: Machine, address: int, value: int, comparand: int) -> int:
    old = m.memory.u32(address)
    if old == comparand:
        m.memory.put_u32(address, value)
    return old


@export(
    "ExInterlockedCompareExchange64",
    args="ptr, ptr, ptr, ptr",
    cc="fastcall",
    returns="ulonglong",
    arches=_X86,
)
def ex_interlocked_compare_exchange64(m: Machine, address: int, value: int, comparand: int, lock: int) -> int:
    old = m.memory.u64(address)
    if old == m.memory.u64(comparand):
        m.memory.put_u64(address, m.memory.u64(value))
    return old


@export(
    "ExfInterlockedCompareExchange64", args="ptr, ptr, ptr", cc="fastcall", returns="ulonglong", arches=_X86
)
def exf_interlocked_compare_exchange64(m: Machine, address: int, value: int, comparand: int) -> int:
    return ex_interlocked_compare_exchange64(m, address, value, comparand, 0)


@export("ExInterlockedAddUlong", args="ptr, ulong, ptr")
def ex_interlocked_add_ulong(m: Machine, address: int, value: int, lock: int) -> int:
    return _add32(m, address, value)[0]


@export("ExInterlockedAddLargeInteger", args="ptr, ulonglong, ptr", returns="ulonglong")
def ex_interlocked_add_large_integer(m: Machine, address: int, value: int, lock: int) -> int:
    old = m.memory.u64(address)
    m.memory.put_u64(address, (old + value) & 0xFFFFFFFFFFFFFFFF)
    return old


@export("ExInterlockedAddLargeStatistic", args="ptr, ulong", cc="fastcall", arches=_X86)
def ex_interlocked_add_large_statistic(m: Machine, address: int, value: int) -> None:
    m.memory.put_u64(address, (m.memory.u64(address) + value) & 0xFFFFFFFFFFFFFFFF)


# -- doubly linked lists -----------------------------------------------------------------------------------


@export("ExInterlockedInsertHeadList", args="ptr, ptr, ptr", arches=("x64",))
def ex_interlocked_insert_head_list(m: Machine, head: int, entry: int, lock: int) -> int:
    return insert_head(m, head, entry)


@export("ExInterlockedInsertTailList", args="ptr, ptr, ptr", arches=("x64",))
def ex_interlocked_insert_tail_list(m: Machine, head: int, entry: int, lock: int) -> int:
    return insert_tail(m, head, entry)


@export("ExInterlockedRemoveHeadList", args="ptr, ptr", arches=("x64",))
def ex_interlocked_remove_head_list(m: Machine, head: int, lock: int) -> int:
    return remove_head(m, head)


@export("ExInterlockedInsertHeadList", args="ptr, ptr, ptr", arches=_X86)
@export("ExfInterlockedInsertHeadList", args="ptr, ptr, ptr", cc="fastcall", arches=_X86)
def exf_interlocked_insert_head_list(m: Machine, head: int, entry: int, lock: int) -> int:
    return insert_head(m, head, entry)


@export("ExInterlockedInsertTailList", args="ptr, ptr, ptr", arches=_X86)
@export("ExfInterlockedInsertTailList", args="ptr, ptr, ptr", cc="fastcall", arches=_X86)
def exf_interlocked_insert_tail_list(m: Machine, head: int, entry: int, lock: int) -> int:
    return insert_tail(m, head, entry)


@export("ExInterlockedRemoveHeadList", args="ptr, ptr", arches=_X86)
@export("ExfInterlockedRemoveHeadList", args="ptr, ptr", cc="fastcall", arches=_X86)
def exf_interlocked_remove_head_list(m: Machine, head: int, lock: int) -> int:
    return remove_head(m, head)


# -- SLists ------------------------------------------------------------------------------------------------
# The header is opaque. x86: next pointer, depth (16 bits), sequence. x64: depth (16 bits) and sequence in the
# first eight bytes, the next pointer in the second, as drivers that look only at QueryDepthSList see it.


def _next_at(m: Machine, head: int) -> int:
    return head + 8 if m.memory.pointer_size == 8 else head


def _depth_at(m: Machine, head: int) -> int:
    return head if m.memory.pointer_size == 8 else head + 4


def _push(m: Machine, head: int, entry: int) -> int:
    first = m.memory.ptr(_next_at(m, head))
    m.memory.put_ptr(entry, first)
    m.memory.put_ptr(_next_at(m, head), entry)
    depth = _depth_at(m, head)
    m.memory.put_u16(depth, (m.memory.u16(depth) + 1) & 0xFFFF)
    return first


def _pop(m: Machine, head: int) -> int:
    first = m.memory.ptr(_next_at(m, head))
    if first:
        m.memory.put_ptr(_next_at(m, head), m.memory.ptr(first))
        depth = _depth_at(m, head)
        m.memory.put_u16(depth, (m.memory.u16(depth) - 1) & 0xFFFF)
    return first


def _flush(m: Machine, head: int) -> int:
    first = m.memory.ptr(_next_at(m, head))
    m.memory.put_ptr(_next_at(m, head), 0)
    m.memory.put_u16(_depth_at(m, head), 0)
    return first


@export("InitializeSListHead", args="ptr", since=(5, 2))
@export("ExInitializeSListHead", args="ptr")
def initialize_slist_head(m: Machine, head: int) -> None:
    m.memory.write(head, bytes(16 if m.memory.pointer_size == 8 else 8))


@export("ExQueryDepthSList", args="ptr")
def ex_query_depth_slist(m: Machine, head: int) -> int:
    return m.memory.u16(_depth_at(m, head))


@export("InterlockedPushEntrySList", args="ptr, ptr", cc="fastcall", arches=_X86)
@export("ExpInterlockedPushEntrySList", args="ptr, ptr", arches=("x64",))
def push_entry_slist(m: Machine, head: int, entry: int) -> int:
    return _push(m, head, entry)


@export("InterlockedPopEntrySList", args="ptr", cc="fastcall", arches=_X86)
@export("ExpInterlockedPopEntrySList", args="ptr", arches=("x64",))
def pop_entry_slist(m: Machine, head: int) -> int:
    return _pop(m, head)


@export("ExInterlockedFlushSList", args="ptr", cc="fastcall", arches=_X86)
@export("ExpInterlockedFlushSList", args="ptr", arches=("x64",))
def flush_slist(m: Machine, head: int) -> int:
    return _flush(m, head)


@export("ExInterlockedPushEntrySList", args="ptr, ptr, ptr", cc="fastcall")
def ex_interlocked_push_entry_slist(m: Machine, head: int, entry: int, lock: int) -> int:
    return _push(m, head, entry)


@export("ExInterlockedPopEntrySList", args="ptr, ptr", cc="fastcall")
def ex_interlocked_pop_entry_slist(m: Machine, head: int, lock: int) -> int:
    return _pop(m, head)


# -- lookaside lists ---------------------------------------------------------------------------------------


def _initialise(m: Machine, address: int, allocate: int, free: int, kind: int, size: int, tag: int) -> None:
    if address in m.kernel.lookaside:
        m.bugcheck(0xC4, 0xCA, address, 0, 0, reason="a lookaside list was initialised twice")
    if size < m.memory.pointer_size:
        m.bugcheck(
            0xC4, 0xCD, address, size, m.memory.pointer_size, reason="a lookaside list of too small blocks"
        )
    shape = layout("GENERAL_LOOKASIDE", m.memory.pointer_size)
    m.memory.write(address, bytes(shape.size))
    view = shape.at(m.memory, address)
    view["MaximumDepth"] = 256
    view["Depth"] = 4
    view["Type"] = kind
    view["Tag"] = tag
    view["Size"] = size
    view["Allocate"] = allocate or m.exports.address_of("ExAllocatePoolWithTag")
    view["Free"] = free or m.exports.address_of("ExFreePool")
    m.kernel.lookaside[address] = m.driver_at(m.caller())


@export("ExInitializeNPagedLookasideList", args="ptr, ptr, ptr, ulong, size, ulong, ushort")
def ex_initialize_npaged_lookaside_list(
    m: Machine, address: int, allocate: int, free: int, flags: int, size: int, tag: int, depth: int
) -> None:
    _initialise(m, address, allocate, free, flags, size, tag)


@export("ExInitializePagedLookasideList", args="ptr, ptr, ptr, ulong, size, ulong, ushort")
def ex_initialize_paged_lookaside_list(
    m: Machine, address: int, allocate: int, free: int, flags: int, size: int, tag: int, depth: int
) -> None:
    _initialise(m, address, allocate, free, 1 | flags, size, tag)


def _delete(m: Machine, address: int) -> None:
    """Free what the list holds, by the list's own free routine."""
    if address not in m.kernel.lookaside:
        m.bugcheck(0xC4, 0xCB, address, 0, 0, reason="a lookaside list was deleted that is not initialised")
    del m.kernel.lookaside[address]
    view = layout("GENERAL_LOOKASIDE", m.memory.pointer_size).at(m.memory, address)
    while entry := _pop(m, address):
        m.cpu.call(view["Free"], entry)


@export("ExDeleteNPagedLookasideList", args="ptr")
@export("ExDeletePagedLookasideList", args="ptr")
def ex_delete_lookaside_list(m: Machine, address: int) -> None:
    _delete(m, address)


@export("ExAllocateFromPagedLookasideList", args="ptr", arches=_X86)
def ex_allocate_from_paged_lookaside_list(m: Machine, address: int) -> int:
    view = layout("GENERAL_LOOKASIDE", m.memory.pointer_size).at(m.memory, address)
    view["TotalAllocates"] = view["TotalAllocates"] + 1
    entry = _pop(m, address)
    if entry:
        return entry
    view["AllocateMisses"] = view["AllocateMisses"] + 1
    routine = view["Allocate"]
    if routine == m.exports.address_of("ExAllocatePoolWithTag"):  # called as the kernel would, for the driver
        return allocate_pool(m, view["Type"], view["Size"], view["Tag"])
    return m.cpu.call(routine, view["Type"], view["Size"], view["Tag"])


@export("ExFreeToPagedLookasideList", args="ptr, ptr", arches=_X86)
def ex_free_to_paged_lookaside_list(m: Machine, address: int, entry: int) -> None:
    view = layout("GENERAL_LOOKASIDE", m.memory.pointer_size).at(m.memory, address)
    m.cpu.call(view["Free"], entry)


# LOOKASIDE_LIST_EX: inline ExAllocateFromLookasideListEx pops the list and calls AllocateEx(PoolType, Size,
# Tag, Lookaside) on a miss; the default routines below free at once, so a miss is the rule.


@export("ExpDefaultLookasideAllocateEx", args="ulong, size, ulong, ptr", modules=INTERNAL)
def exp_default_lookaside_allocate_ex(m: Machine, kind: int, size: int, tag: int, lookaside: int) -> int:
    return allocate_pool(m, kind, size, tag)


@export("ExpDefaultLookasideFreeEx", args="ptr, ptr", modules=INTERNAL)
def exp_default_lookaside_free_ex(m: Machine, entry: int, lookaside: int) -> None:
    m.pool.free(entry, None)


@export("ExInitializeLookasideListEx", args="ptr, ptr, ptr, ulong, ulong, size, ulong, ushort", since=(6, 0))
def ex_initialize_lookaside_list_ex(
    m: Machine, address: int, allocate: int, free: int, pool: int, flags: int, size: int, tag: int, depth: int
) -> int:
    if depth or flags & ~3:
        return NTSTATUS.INVALID_PARAMETER
    _initialise(
        m,
        address,
        allocate or m.exports.address_of("ExpDefaultLookasideAllocateEx"),
        free or m.exports.address_of("ExpDefaultLookasideFreeEx"),
        pool,
        size,
        tag,
    )
    return NTSTATUS.SUCCESS


@export("ExDeleteLookasideListEx", args="ptr", since=(6, 0))
def ex_delete_lookaside_list_ex(m: Machine, address: int) -> None:
    ex_flush_lookaside_list_ex(m, address)
    _delete(m, address)


@export("ExFlushLookasideListEx", args="ptr", since=(6, 0))
def ex_flush_lookaside_list_ex(m: Machine, address: int) -> None:
    view = layout("GENERAL_LOOKASIDE", m.memory.pointer_size).at(m.memory, address)
    while entry := _pop(m, address):
        m.cpu.call(view["Free"], entry, address)
