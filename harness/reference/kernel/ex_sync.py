"""Executive synchronisation: fast and guarded mutexes, resources, push locks, rundown protection.

With one thread running at a time a lock somebody else holds is waited for through the scheduler, and one the
same thread holds already is a deadlock, found at once. Sources: nf-wdm-exacquirefastmutex,
nf-wdm-exacquireresourceexclusivelite, nf-wdm-exacquirerundownprotection, nf-wdm-kereleaseguardedmutex,
bug-check-0xc4 (0x33, 0x34, 0x37, 0x38, 0xD0 to 0xD2), kernel/eresource-structures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from harness.errors import GuestHung
from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, irql_name, need_irql
from harness.reference.kernel.dispatcher import DispatcherType, initialise
from harness.reference.kernel.layouts import layout
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.reference.kernel.layouts import View
    from harness.reference.machine import Machine

__all__ = ["Resource", "wait_for"]

_BOTH: Final = ("ntoskrnl.exe", "hal.dll")


@dataclass(slots=True)
class Resource:
    """An ERESOURCE: who owns it how often. Key 0 of `shared` never occurs: threads are named by ETHREAD."""

    exclusive: int = 0
    exclusive_count: int = 0
    shared: dict[int, int] = field(default_factory=dict)


def wait_for(m: Machine, done: Callable[[], bool], what: str, lock: int) -> None:
    """Let the others run until `done`; `what` waits for `lock`. Raises `GuestHung` when nothing can help."""

    def stuck() -> NoReturn:
        raise GuestHung(
            m.describe_hang(f"{what} waits for {lock:#x}, which nothing that is left to run releases")
        )

    if m.cpu.irql > APC_LEVEL:
        m.bugcheck(0xC4, 0xE5, m.cpu.irql, 0, 0, reason=f"{what} waits at {irql_name(m.cpu.irql)}")
    m.kernel.scheduler.run_until(done, stuck)


# -- fast mutexes (guarded mutexes have the same layout) ---------------------------------------------------


def _mutex(m: Machine, address: int) -> View:
    return layout("FAST_MUTEX", m.memory.pointer_size).at(m.memory, address)


@export("ExInitializeFastMutex", args="ptr")
@export("KeInitializeGuardedMutex", args="ptr", cc="fastcall", since=(5, 2))
def ex_initialize_fast_mutex(m: Machine, address: int) -> None:
    view = _mutex(m, address)
    view["Count"] = 1
    view["Owner"] = 0
    view["Contention"] = 0
    size = layout("KEVENT", m.memory.pointer_size).size
    initialise(m, view.of("Event"), DispatcherType.SYNCHRONIZATION_EVENT, size, 0)


def _acquire(m: Machine, address: int, what: str) -> View:
    view = _mutex(m, address)
    if view["Count"] != 1:
        if view["Owner"] == m.current.address:
            raise GuestHung(m.describe_hang(f"{what}: the thread owns the mutex at {address:#x} already"))
        wait_for(m, lambda: view["Count"] == 1, what, address)
    view["Count"] = 0
    view["Owner"] = m.current.address
    return view


def _release(m: Machine, address: int, what: str) -> View:
    view = _mutex(m, address)
    if view["Count"] != 0:
        m.bugcheck(0xC4, 0x34, m.cpu.irql, address, 0, reason=f"{what}: the mutex is not held")
    view["Owner"] = 0
    view["Count"] = 1
    return view


@export("ExAcquireFastMutex", args="ptr", cc="fastcall", modules=_BOTH)
def ex_acquire_fast_mutex(m: Machine, address: int) -> None:
    old = m.cpu.irql
    if old > APC_LEVEL:
        m.bugcheck(0xC4, 0x33, old, address, 0, reason=f"ExAcquireFastMutex at {irql_name(old)}")
    view = _acquire(m, address, "ExAcquireFastMutex")
    view["OldIrql"] = old
    m.cpu.irql = APC_LEVEL


@export("ExReleaseFastMutex", args="ptr", cc="fastcall", modules=_BOTH)
def ex_release_fast_mutex(m: Machine, address: int) -> None:
    if m.cpu.irql != APC_LEVEL:
        m.bugcheck(
            0xC4, 0x34, m.cpu.irql, address, 0, reason=f"ExReleaseFastMutex at {irql_name(m.cpu.irql)}"
        )
    view = _mutex(m, address)
    old = view["OldIrql"]
    _release(m, address, "ExReleaseFastMutex")
    m.cpu.irql = old & 0xFF


@export("ExTryToAcquireFastMutex", args="ptr", cc="fastcall", modules=_BOTH)
def ex_try_to_acquire_fast_mutex(m: Machine, address: int) -> int:
    if m.cpu.irql > APC_LEVEL:
        m.bugcheck(0xC4, 0x33, m.cpu.irql, address, 0, reason="ExTryToAcquireFastMutex above APC_LEVEL")
    view = _mutex(m, address)
    if view["Count"] != 1:
        return 0
    view["OldIrql"] = m.cpu.irql
    view["Count"] = 0
    view["Owner"] = m.current.address
    m.cpu.irql = APC_LEVEL
    return 1


@export("ExAcquireFastMutexUnsafe", args="ptr", cc="fastcall")
@export("KeAcquireGuardedMutexUnsafe", args="ptr", cc="fastcall", since=(5, 2))
def ex_acquire_fast_mutex_unsafe(m: Machine, address: int) -> None:
    _acquire(m, address, "ExAcquireFastMutexUnsafe")


@export("ExReleaseFastMutexUnsafe", args="ptr", cc="fastcall")
@export("KeReleaseGuardedMutexUnsafe", args="ptr", cc="fastcall", since=(5, 2))
def ex_release_fast_mutex_unsafe(m: Machine, address: int) -> None:
    _release(m, address, "ExReleaseFastMutexUnsafe")


@export("ExEnterCriticalRegionAndAcquireFastMutexUnsafe", args="ptr", cc="fastcall", since=(6, 0))
def ex_enter_region_and_acquire_fast_mutex(m: Machine, address: int) -> None:
    m.current.body.apc_disable -= 1
    _acquire(m, address, "ExEnterCriticalRegionAndAcquireFastMutexUnsafe")


@export("ExReleaseFastMutexUnsafeAndLeaveCriticalRegion", args="ptr", cc="fastcall", since=(6, 0))
def ex_release_fast_mutex_and_leave_region(m: Machine, address: int) -> None:
    _release(m, address, "ExReleaseFastMutexUnsafeAndLeaveCriticalRegion")
    m.current.body.apc_disable += 1


@export("KeAcquireGuardedMutex", args="ptr", cc="fastcall", since=(5, 2))
def ke_acquire_guarded_mutex(m: Machine, address: int) -> None:
    need_irql(m, APC_LEVEL, "KeAcquireGuardedMutex", "nf-wdm-keacquireguardedmutex")
    _acquire(m, address, "KeAcquireGuardedMutex")
    m.current.body.special_apc_disable -= 1


@export("KeReleaseGuardedMutex", args="ptr", cc="fastcall", since=(5, 2))
def ke_release_guarded_mutex(m: Machine, address: int) -> None:
    _release(m, address, "KeReleaseGuardedMutex")
    m.current.body.special_apc_disable += 1


@export("KeTryToAcquireGuardedMutex", args="ptr", cc="fastcall", since=(5, 2))
def ke_try_to_acquire_guarded_mutex(m: Machine, address: int) -> int:
    if _mutex(m, address)["Count"] != 1:
        return 0
    ke_acquire_guarded_mutex(m, address)
    return 1


# -- resources ---------------------------------------------------------------------------------------------


def _resource(m: Machine, address: int) -> Resource:
    found = m.kernel.resources.get(address)
    if found is None:
        m.bugcheck(0xC4, 0x3D, 0, 0, address, reason="an ERESOURCE was used that is not initialised")
    return found


@export("ExInitializeResourceLite", args="ptr")
def ex_initialize_resource_lite(m: Machine, address: int) -> int:
    if address in m.kernel.resources:
        m.bugcheck(0xC4, 0xD0, address, 0, 0, reason="an ERESOURCE was initialised twice")
    m.memory.write(address, bytes(104 if m.memory.pointer_size == 8 else 56))
    m.kernel.resources[address] = Resource()
    return NTSTATUS.SUCCESS


@export("ExReinitializeResourceLite", args="ptr")
def ex_reinitialize_resource_lite(m: Machine, address: int) -> int:
    m.kernel.resources[address] = Resource()
    return NTSTATUS.SUCCESS


@export("ExDeleteResourceLite", args="ptr")
def ex_delete_resource_lite(m: Machine, address: int) -> int:
    if m.kernel.resources.pop(address, None) is None:
        m.bugcheck(0xC4, 0xD1, address, 0, 0, reason="an ERESOURCE was deleted that is not initialised")
    return NTSTATUS.SUCCESS


def _apcs(m: Machine, address: int, code: int) -> None:
    if m.cpu.irql < APC_LEVEL and not m.current.body.combined_apc_disable and not m.current.system:
        m.bugcheck(
            0xC4, code, m.cpu.irql, 0, address, reason="a resource is used while normal APCs are enabled"
        )


def _free_for(resource: Resource, me: int, *, exclusive: bool) -> bool:
    if resource.exclusive:
        return resource.exclusive == me
    return not exclusive or not any(owner != me for owner in resource.shared)


def _take(m: Machine, address: int, wait: int, what: str, *, exclusive: bool) -> int:
    _apcs(m, address, 0x37)
    resource = _resource(m, address)
    me = m.current.address
    if exclusive and not resource.exclusive and me in resource.shared:
        if not wait & 0xFF:
            return 0
        raise GuestHung(
            m.describe_hang(f"{what}: the thread holds the resource at {address:#x} shared already")
        )
    if not _free_for(resource, me, exclusive=exclusive):
        if not wait & 0xFF:
            return 0
        wait_for(m, lambda: _free_for(resource, me, exclusive=exclusive), what, address)
    if exclusive or resource.exclusive == me:
        resource.exclusive = me
        resource.exclusive_count += 1
    else:
        resource.shared[me] = resource.shared.get(me, 0) + 1
    return 1


@export("ExAcquireResourceExclusiveLite", args="ptr, uchar")
def ex_acquire_resource_exclusive_lite(m: Machine, address: int, wait: int) -> int:
    return _take(m, address, wait, "ExAcquireResourceExclusiveLite", exclusive=True)


@export("ExAcquireResourceSharedLite", args="ptr, uchar")
@export("ExAcquireSharedStarveExclusive", args="ptr, uchar")
@export("ExAcquireSharedWaitForExclusive", args="ptr, uchar")
def ex_acquire_resource_shared_lite(m: Machine, address: int, wait: int) -> int:
    return _take(m, address, wait, "ExAcquireResourceSharedLite", exclusive=False)


def _give_back(m: Machine, address: int, me: int) -> None:
    _apcs(m, address, 0x38)
    resource = _resource(m, address)
    if resource.exclusive == me:
        resource.exclusive_count -= 1
        if not resource.exclusive_count:
            resource.exclusive = 0
    elif me in resource.shared:
        resource.shared[me] -= 1
        if not resource.shared[me]:
            del resource.shared[me]
    else:
        # RESOURCE_NOT_OWNED: resource, thread, owner table, type
        m.bugcheck(0xE3, address, me, 0, 0, reason="a resource was released by a thread that does not own it")


@export("ExReleaseResourceLite", args="ptr", cc="fastcall")
def ex_release_resource_lite(m: Machine, address: int) -> None:
    _give_back(m, address, m.current.address)


@export("ExReleaseResourceForThreadLite", args="ptr, ptr")
def ex_release_resource_for_thread_lite(m: Machine, address: int, thread: int) -> None:
    _give_back(m, address, thread)


@export("ExConvertExclusiveToSharedLite", args="ptr")
def ex_convert_exclusive_to_shared_lite(m: Machine, address: int) -> None:
    resource = _resource(m, address)
    resource.shared[m.current.address] = resource.exclusive_count
    resource.exclusive = resource.exclusive_count = 0


@export("ExIsResourceAcquiredExclusiveLite", args="ptr")
def ex_is_resource_acquired_exclusive_lite(m: Machine, address: int) -> int:
    return int(_resource(m, address).exclusive == m.current.address)


@export("ExIsResourceAcquiredSharedLite", args="ptr")
def ex_is_resource_acquired_shared_lite(m: Machine, address: int) -> int:
    resource = _resource(m, address)
    me = m.current.address
    return resource.exclusive_count if resource.exclusive == me else resource.shared.get(me, 0)


@export("ExGetExclusiveWaiterCount", args="ptr")
@export("ExGetSharedWaiterCount", args="ptr")
def ex_get_waiter_count(m: Machine, address: int) -> int:
    _resource(m, address)
    return 0


@export("ExEnterCriticalRegionAndAcquireResourceExclusive", args="ptr", since=(5, 2))
def ex_enter_region_and_acquire_exclusive(m: Machine, address: int) -> int:
    m.current.body.apc_disable -= 1
    _take(m, address, 1, "ExEnterCriticalRegionAndAcquireResourceExclusive", exclusive=True)
    return 0


@export("ExEnterCriticalRegionAndAcquireResourceShared", args="ptr", since=(5, 2))
def ex_enter_region_and_acquire_shared(m: Machine, address: int) -> int:
    m.current.body.apc_disable -= 1
    _take(m, address, 1, "ExEnterCriticalRegionAndAcquireResourceShared", exclusive=False)
    return 0


@export("ExReleaseResourceAndLeaveCriticalRegion", args="ptr", cc="fastcall", since=(5, 2))
def ex_release_resource_and_leave_region(m: Machine, address: int) -> None:
    _give_back(m, address, m.current.address)
    m.current.body.apc_disable += 1


# -- push locks: bit 0 exclusive, the rest counts shared owners in steps of 16 -----------------------------


@export("FltInitializePushLock", args="ptr", modules=("fltmgr.sys",))
@export("ExInitializePushLock", args="ptr")
def ex_initialize_push_lock(m: Machine, lock: int) -> None:
    m.memory.put_ptr(lock, 0)


def _push_exclusive(m: Machine, lock: int) -> None:
    if m.memory.ptr(lock):
        wait_for(m, lambda: not m.memory.ptr(lock), "an exclusive push lock", lock)
    m.memory.put_ptr(lock, 1)


def _push_shared(m: Machine, lock: int) -> None:
    if m.memory.ptr(lock) & 1:
        wait_for(m, lambda: not m.memory.ptr(lock) & 1, "a shared push lock", lock)
    m.memory.put_ptr(lock, m.memory.ptr(lock) + 16)


def _push_release(m: Machine, lock: int) -> None:
    value = m.memory.ptr(lock)
    if not value:
        m.bugcheck(0xC4, 0xEB, m.cpu.irql, 0, lock, reason="a push lock was released that nobody holds")
    m.memory.put_ptr(lock, 0 if value & 1 else value - 16)


@export("FltAcquirePushLockExclusive", args="ptr", modules=("fltmgr.sys",))
@export("ExfAcquirePushLockExclusive", args="ptr", cc="fastcall", since=(5, 2))
@export("ExAcquirePushLockExclusiveEx", args="ptr, ulong", since=(10, 0))
def ex_acquire_push_lock_exclusive(m: Machine, lock: int, flags: int = 0) -> None:
    _push_exclusive(m, lock)


@export("FltAcquirePushLockShared", args="ptr", modules=("fltmgr.sys",))
@export("ExfAcquirePushLockShared", args="ptr", cc="fastcall", since=(5, 2))
@export("ExAcquirePushLockSharedEx", args="ptr, ulong", since=(10, 0))
def ex_acquire_push_lock_shared(m: Machine, lock: int, flags: int = 0) -> None:
    _push_shared(m, lock)


@export("FltReleasePushLock", args="ptr", modules=("fltmgr.sys",))
@export("ExfReleasePushLock", args="ptr", cc="fastcall", since=(5, 2))
@export("ExfReleasePushLockExclusive", args="ptr", cc="fastcall", since=(6, 0))
@export("ExfReleasePushLockShared", args="ptr", cc="fastcall", since=(5, 2))
@export("ExReleasePushLockExclusiveEx", args="ptr, ulong", since=(10, 0))
@export("ExReleasePushLockSharedEx", args="ptr, ulong", since=(10, 0))
def ex_release_push_lock(m: Machine, lock: int, flags: int = 0) -> None:
    _push_release(m, lock)


@export("FltDeletePushLock", args="ptr", modules=("fltmgr.sys",))
def flt_delete_push_lock(m: Machine, lock: int) -> None:
    if m.memory.ptr(lock):
        m.bugcheck(0xC4, 0xEB, m.cpu.irql, 0, lock, reason="a push lock was deleted while it is held")


def _push_try(m: Machine, lock: int, busy: int, step: int) -> int:
    value = m.memory.ptr(lock)
    if value & busy:
        return 0
    m.memory.put_ptr(lock, value + step)
    return 1


@export("ExTryAcquirePushLockExclusiveEx", args="ptr, ulong", since=(6, 3))
def ex_try_acquire_push_lock_exclusive(m: Machine, lock: int, flags: int) -> int:
    return _push_try(m, lock, -1, 1)


@export("ExfTryAcquirePushLockShared", args="ptr", cc="fastcall", since=(6, 0))
@export("ExTryAcquirePushLockSharedEx", args="ptr, ulong", since=(6, 3))
def ex_try_acquire_push_lock_shared(m: Machine, lock: int, flags: int = 0) -> int:
    return _push_try(m, lock, 1, 16)
