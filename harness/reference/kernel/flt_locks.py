"""Locks and waits under the filter manager's and the file system library's names.

Sources: nf-fltkernel-fltacquireresourceexclusive, nf-fltkernel-fltreleaseresource,
nf-fltkernel-fltacquirepushlockexclusiveex, nf-fltkernel-fltcancellablewaitforsingleobject,
nf-ntifs-fsrtlcancellablewaitforsingleobject, nf-ntifs-fsrtlcancellablewaitformultipleobjects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, need_irql
from harness.reference.kernel.ex_sync import (
    ex_acquire_push_lock_exclusive,
    ex_acquire_push_lock_shared,
    ex_enter_region_and_acquire_exclusive,
    ex_enter_region_and_acquire_shared,
    ex_release_push_lock,
    ex_release_resource_and_leave_region,
)
from harness.reference.kernel.ke_wait import ke_wait_for_multiple_objects

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_FLT: Final = ("fltmgr.sys",)
_VISTA: Final = (6, 0)
_WIN8: Final = (6, 2)


@export("FltAcquireResourceExclusive", args="ptr", modules=_FLT)
def flt_acquire_resource_exclusive(m: Machine, resource: int) -> None:
    """No critical region is needed around it: the routine enters one."""
    ex_enter_region_and_acquire_exclusive(m, resource)


@export("FltAcquireResourceShared", args="ptr", modules=_FLT)
def flt_acquire_resource_shared(m: Machine, resource: int) -> None:
    ex_enter_region_and_acquire_shared(m, resource)


@export("FltReleaseResource", args="ptr", modules=_FLT)
def flt_release_resource(m: Machine, resource: int) -> None:
    ex_release_resource_and_leave_region(m, resource)


@export("FltAcquirePushLockExclusiveEx", args="ptr, ulong", modules=_FLT, since=_WIN8)
def flt_acquire_push_lock_exclusive_ex(m: Machine, lock: int, _flags: int) -> None:
    ex_acquire_push_lock_exclusive(m, lock)


@export("FltAcquirePushLockSharedEx", args="ptr, ulong", modules=_FLT, since=_WIN8)
def flt_acquire_push_lock_shared_ex(m: Machine, lock: int, _flags: int) -> None:
    ex_acquire_push_lock_shared(m, lock)


@export("FltReleasePushLockEx", args="ptr, ulong", modules=_FLT, since=_WIN8)
def flt_release_push_lock_ex(m: Machine, lock: int, _flags: int) -> None:
    ex_release_push_lock(m, lock)


@export("FsRtlCancellableWaitForSingleObject", args="ptr, ptr, ptr", since=_VISTA)
@export("FltCancellableWaitForSingleObject", args="ptr, ptr, ptr", modules=_FLT, since=_VISTA)
def cancellable_wait_for_single_object(m: Machine, obj: int, timeout: int, _request: int) -> int:
    """A wait; requests are not cancelled here while somebody waits for them."""
    name = "FsRtlCancellableWaitForSingleObject"
    need_irql(m, APC_LEVEL, name, "nf-ntifs-fsrtlcancellablewaitforsingleobject")
    scheduler = m.kernel.scheduler
    return scheduler.wait((obj,), wait_all=False, deadline=scheduler.due_time(timeout), what=name)


@export("FsRtlCancellableWaitForMultipleObjects", args="ulong, ptr, ulong, ptr, ptr, ptr", since=_VISTA)
@export(
    "FltCancellableWaitForMultipleObjects",
    args="ulong, ptr, ulong, ptr, ptr, ptr",
    modules=_FLT,
    since=_VISTA,
)
def cancellable_wait_for_multiple_objects(
    m: Machine, count: int, array: int, kind: int, timeout: int, blocks: int, _request: int
) -> int:
    need_irql(
        m,
        APC_LEVEL,
        "FsRtlCancellableWaitForMultipleObjects",
        "nf-ntifs-fsrtlcancellablewaitformultipleobjects",
    )
    return ke_wait_for_multiple_objects(m, count, array, kind, 0, 0, 0, timeout, blocks)
