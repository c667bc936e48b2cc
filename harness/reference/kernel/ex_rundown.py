"""Rundown protection: users of something count themselves in and out, and its owner waits for the last.

The word has bit 0 set once the owner waits, and the users in steps of 2. The cache-aware form is a block of
the same with a count for each processor; there is one processor. Source: kernel/run-down-protection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.ex_sync import wait_for

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_CACHE_AWARE: Final = (5, 2)
#: Size of the cache-aware form on one processor, in pointers: a count of its own and the shared members.
_POINTERS: Final = 4


@export("ExInitializeRundownProtection", args="ptr", cc="fastcall")
@export("ExReInitializeRundownProtection", args="ptr", cc="fastcall")
@export("ExReInitializeRundownProtectionCacheAware", args="ptr", cc="fastcall", since=_CACHE_AWARE)
def ex_initialize_rundown_protection(m: Machine, ref: int) -> None:
    m.memory.put_ptr(ref, 0)


@export("ExAcquireRundownProtection", args="ptr", cc="fastcall")
@export("ExAcquireRundownProtectionEx", args="ptr, ulong", cc="fastcall", since=(5, 2))
@export("ExAcquireRundownProtectionCacheAwareEx", args="ptr, ulong", cc="fastcall", since=_CACHE_AWARE)
@export("ExAcquireRundownProtectionCacheAware", args="ptr", cc="fastcall", since=_CACHE_AWARE)
def ex_acquire_rundown_protection(m: Machine, ref: int, count: int = 1) -> int:
    value = m.memory.ptr(ref)
    if value & 1:
        return 0
    m.memory.put_ptr(ref, value + 2 * count)
    return 1


@export("ExReleaseRundownProtection", args="ptr", cc="fastcall")
@export("ExReleaseRundownProtectionEx", args="ptr, ulong", cc="fastcall", since=(5, 2))
@export("ExReleaseRundownProtectionCacheAwareEx", args="ptr, ulong", cc="fastcall", since=_CACHE_AWARE)
@export("ExReleaseRundownProtectionCacheAware", args="ptr", cc="fastcall", since=_CACHE_AWARE)
def ex_release_rundown_protection(m: Machine, ref: int, count: int = 1) -> None:
    value = m.memory.ptr(ref)
    if value < 2 * count:
        m.bugcheck(0xC4, 0xE1, ref, 0, 0, reason="rundown protection was released more often than acquired")
    m.memory.put_ptr(ref, value - 2 * count)


@export("ExWaitForRundownProtectionRelease", args="ptr", cc="fastcall")
@export("ExWaitForRundownProtectionReleaseCacheAware", args="ptr", cc="fastcall", since=_CACHE_AWARE)
def ex_wait_for_rundown_protection_release(m: Machine, ref: int) -> None:
    m.memory.put_ptr(ref, m.memory.ptr(ref) | 1)
    if m.memory.ptr(ref) != 1:
        wait_for(m, lambda: m.memory.ptr(ref) == 1, "ExWaitForRundownProtectionRelease", ref)


@export("ExRundownCompleted", args="ptr", cc="fastcall")
@export("ExRundownCompletedCacheAware", args="ptr", cc="fastcall", since=_CACHE_AWARE)
def ex_rundown_completed(m: Machine, ref: int) -> None:
    m.memory.put_ptr(ref, 1)


# -- the cache-aware form's memory -------------------------------------------------------------------------


@export("ExSizeOfRundownProtectionCacheAware", args="", since=_CACHE_AWARE)
def ex_size_of_rundown_protection_cache_aware(m: Machine) -> int:
    return _POINTERS * m.memory.pointer_size


@export("ExInitializeRundownProtectionCacheAware", args="ptr, size", since=_CACHE_AWARE)
def ex_initialize_rundown_protection_cache_aware(m: Machine, ref: int, size: int) -> None:
    m.memory.put_ptr(ref, 0)


@export("ExAllocateCacheAwareRundownProtection", args="ulong, ulong", since=_CACHE_AWARE)
def ex_allocate_cache_aware_rundown_protection(m: Machine, pool: int, tag: int) -> int:
    return m.pool.alloc(_POINTERS * m.memory.pointer_size, tag, paged=bool(pool & 1), zero=True)


@export("ExFreeCacheAwareRundownProtection", args="ptr", since=_CACHE_AWARE)
def ex_free_cache_aware_rundown_protection(m: Machine, ref: int) -> None:
    m.pool.free(ref)
