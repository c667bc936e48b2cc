"""Timers that call back by themselves: a device's timer of one second, and the timers of Windows 8.1 and
later.

Both are a kernel timer with a deferred procedure of the kernel's own. Sources: nf-wdm-ioinitializetimer,
nf-wdm-iostarttimer, nf-wdm-exallocatetimer, nf-wdm-exsettimer, nf-wdm-exdeletetimer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import DISPATCH_LEVEL, INTERNAL, need_irql
from harness.reference.kernel.dispatcher import DispatcherType, initialise
from harness.reference.kernel.io_device import device_or_bugcheck
from harness.reference.kernel.ke_wait import ke_initialize_dpc
from harness.reference.kernel.layouts import layout
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_SECOND: Final = 10_000_000
_EX: Final = (6, 3)
_TAG: Final = int.from_bytes(b"ExTm", "little")

_EX_TIMER_NOTIFICATION: Final = 1 << 31


def _parts(m: Machine) -> tuple[int, int, int]:
    """A block is KTIMER, KDPC, the driver's routine and context: offsets of the middle ones, and its size."""
    dpc = -(-layout("KTIMER", m.memory.pointer_size).size // 16) * 16
    routine = dpc + layout("KDPC", m.memory.pointer_size).size
    return dpc, routine, routine + 2 * m.memory.pointer_size


def _fill(m: Machine, block: int, kind: int, expired: str, routine: int, context: int) -> None:
    dpc, at, _size = _parts(m)
    initialise(m, block, kind, layout("KTIMER", m.memory.pointer_size).size, 0)
    ke_initialize_dpc(m, block + dpc, m.exports.address_of(expired), block)
    m.memory.put_ptr(block + at, routine)
    m.memory.put_ptr(block + at + m.memory.pointer_size, context)


def _set(m: Machine, block: int, due: int, period: int) -> bool:
    """Whether it was set already. `due` as in KeSetTimer, `period` in milliseconds."""
    dpc, _at, _size = _parts(m)
    was_set = m.kernel.scheduler.set_timer(block, due, period, block + dpc)
    m.kernel.timer_owner(block, block + dpc)
    return was_set


def _routine(m: Machine, block: int) -> tuple[int, int]:
    _dpc, at, _size = _parts(m)
    return m.memory.ptr(block + at), m.memory.ptr(block + at + m.memory.pointer_size)


# -- devices -----------------------------------------------------------------------------------------------


@export("IoInitializeTimer", args="ptr, ptr, ptr")
def io_initialize_timer(m: Machine, device: int, routine: int, context: int) -> int:
    obj = device_or_bugcheck(m, device, "IoInitializeTimer")
    view = m.kernel.io.device_layout.at(m.memory, obj.address)
    if not view["Timer"]:
        view["Timer"] = m.objects.heap.alloc(_parts(m)[2] + m.memory.pointer_size)
    _fill(m, view["Timer"], DispatcherType.NOTIFICATION_TIMER, "IopTimerDispatch", routine, context)
    m.memory.put_ptr(view["Timer"] + _parts(m)[2], device)
    return NTSTATUS.SUCCESS


def _device_timer(m: Machine, device: int, routine: str) -> int:
    view = m.kernel.io.device_layout.at(m.memory, device_or_bugcheck(m, device, routine).address)
    if not view["Timer"]:
        m.bugcheck(0xC4, 0xE1, device, 0, 0, reason=f"{routine} for a device without IoInitializeTimer")
    return view["Timer"]


@export("IoStartTimer", args="ptr")
def io_start_timer(m: Machine, device: int) -> None:
    _set(m, _device_timer(m, device, "IoStartTimer"), -_SECOND, 1000)


@export("IoStopTimer", args="ptr")
def io_stop_timer(m: Machine, device: int) -> None:
    m.kernel.scheduler.cancel_timer(_device_timer(m, device, "IoStopTimer"))


@export("IopTimerDispatch", args="ptr, ptr, ptr, ptr", modules=INTERNAL)
def iop_timer_dispatch(m: Machine, dpc: int, block: int, argument1: int, argument2: int) -> None:
    routine, context = _routine(m, block)
    m.cpu.call(routine, m.memory.ptr(block + _parts(m)[2]), context)


# -- timers of Windows 8.1 ---------------------------------------------------------------------------------


@export("ExAllocateTimer", args="ptr, ptr, ulong", since=_EX)
def ex_allocate_timer(m: Machine, routine: int, context: int, attributes: int) -> int:
    need_irql(m, DISPATCH_LEVEL, "ExAllocateTimer", "nf-wdm-exallocatetimer")
    block = m.pool.alloc(_parts(m)[2], _TAG, paged=False, zero=True)
    notification = attributes & _EX_TIMER_NOTIFICATION
    kind = DispatcherType.NOTIFICATION_TIMER if notification else DispatcherType.SYNCHRONIZATION_TIMER
    _fill(m, block, kind, "ExpTimerDispatch", routine, context)
    return block


@export("ExSetTimer", args="ptr, longlong, longlong, ptr", since=_EX)
def ex_set_timer(m: Machine, timer: int, due: int, period: int, parameters: int) -> int:
    """`due` and `period` are in 100 ns."""
    need_irql(m, DISPATCH_LEVEL, "ExSetTimer", "nf-wdm-exsettimer")
    return int(_set(m, timer, due, -(-period // 10_000)))


@export("ExCancelTimer", args="ptr, ptr", since=_EX)
def ex_cancel_timer(m: Machine, timer: int, parameters: int) -> int:
    need_irql(m, DISPATCH_LEVEL, "ExCancelTimer", "nf-wdm-excanceltimer")
    return int(m.kernel.scheduler.cancel_timer(timer))


@export("ExDeleteTimer", args="ptr, uchar, uchar, ptr", since=_EX)
def ex_delete_timer(m: Machine, timer: int, cancel: int, wait: int, parameters: int) -> int:
    """With `cancel` the timer ends now, else when it has expired."""
    scheduler = m.kernel.scheduler
    if timer in scheduler.timers and not cancel & 0xFF:
        m.kernel.debug.note("ExDeleteTimer without Cancel ends the timer at once here")
    cancelled = scheduler.cancel_timer(timer)
    scheduler.remove_dpc(timer + _parts(m)[0])
    m.pool.free(timer, _TAG)
    return int(cancelled)


@export("ExpTimerDispatch", args="ptr, ptr, ptr, ptr", modules=INTERNAL)
def exp_timer_dispatch(m: Machine, dpc: int, block: int, argument1: int, argument2: int) -> None:
    routine, context = _routine(m, block)
    if routine:
        m.cpu.call(routine, block, context)
