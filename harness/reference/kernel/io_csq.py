"""Cancel-safe queues: the I/O manager's part of a driver's own queue of pending requests.

Sources: kernel/cancel-safe-irp-queues, nf-wdm-iocsqinitialize, nf-wdm-iocsqinsertirp, nf-wdm-
iocsqremovenextirp. The driver locks, inserts, removes and peeks; these routines call it in the right order
and let cancelled requests out of the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import INTERNAL
from harness.reference.kernel.irps import SL_PENDING_RETURNED
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

#: Members of IO_CSQ after its Type, in pointers: the driver's routines in their order, then ReservePointer.
_INSERT, _REMOVE, _PEEK, _ACQUIRE, _RELEASE, _COMPLETE = range(1, 7)
_TYPE_IRP_CONTEXT: Final = 1
_TYPE_CSQ: Final = 2
_TYPE_CSQ_EX: Final = 3
#: Tail.Overlay.DriverContext[3]: the queue, or the context that names it.
_OWN_SLOT: Final = 3


def _routine(m: Machine, csq: int, member: int) -> int:
    return m.memory.ptr(csq + member * m.memory.pointer_size)


class _Locked:
    """The queue's lock, held inside the block; taking and giving it back may change the IRQL."""

    def __init__(self, m: Machine, csq: int) -> None:
        self._m = m
        self._csq = csq
        self._irql = 0

    def __enter__(self) -> None:
        m = self._m
        with m.memory.scratch() as scratch:
            cell = scratch.alloc(8)
            m.cpu.call(_routine(m, self._csq, _ACQUIRE), self._csq, cell, any_irql=True)
            self._irql = m.memory.u8(cell)

    def __exit__(self, *_exception: object) -> None:
        m = self._m
        if m.crash is None:
            m.cpu.call(_routine(m, self._csq, _RELEASE), self._csq, self._irql, any_irql=True)


def _slot(m: Machine, irp: int) -> int:
    """The address of the request's Tail.Overlay.DriverContext[3]."""
    view = m.kernel.io.irps.irp_layout.at(m.memory, irp)
    return view.of("DriverContext") + _OWN_SLOT * m.memory.pointer_size


@export("IoCsqInitialize", args="ptr, ptr, ptr, ptr, ptr, ptr, ptr")
@export("IoCsqInitializeEx", args="ptr, ptr, ptr, ptr, ptr, ptr, ptr", since=(5, 2))
def io_csq_initialize(m: Machine, csq: int, *routines: int) -> int:
    name = m.cpu.code.export_at(m.cpu.levels[-1].trap)
    kind = _TYPE_CSQ_EX if name is not None and name.name.endswith("Ex") else _TYPE_CSQ
    size = m.memory.pointer_size
    m.memory.put_ptr(csq, kind)
    for index, routine in enumerate(routines, 1):
        m.memory.put_ptr(csq + index * size, routine)
    m.memory.put_ptr(csq + 7 * size, 0)
    return NTSTATUS.SUCCESS


@export("IoCsqInsertIrp", args="ptr, ptr, ptr")
def io_csq_insert_irp(m: Machine, csq: int, irp: int, context: int) -> None:
    io_csq_insert_irp_ex(m, csq, irp, context, 0)


@export("IoCsqInsertIrpEx", args="ptr, ptr, ptr, ptr", since=(5, 2))
def io_csq_insert_irp_ex(m: Machine, csq: int, irp: int, context: int, insert: int) -> int:
    size = m.memory.pointer_size
    engine = m.kernel.io.irps
    view = engine.irp_layout.at(m.memory, irp)
    if context:
        m.memory.put_ptr(context, _TYPE_IRP_CONTEXT)
        m.memory.put_ptr(context + size, irp)
        m.memory.put_ptr(context + 2 * size, csq)
    m.memory.put_ptr(_slot(m, irp), context or csq)
    extended = m.memory.u32(csq) == _TYPE_CSQ_EX
    with _Locked(m, csq):
        arguments = (csq, irp, insert) if extended else (csq, irp)
        status = m.cpu.call(_routine(m, csq, _INSERT), *arguments) & 0xFFFFFFFF
        if extended and status >= 0x80000000:
            return status
        location = engine.stack_layout.at(m.memory, view["CurrentStackLocation"])
        location["Control"] = location["Control"] | SL_PENDING_RETURNED
        view["CancelRoutine"] = m.exports.address_of("IopCsqCancelRoutine")
        if not view["Cancel"]:
            return NTSTATUS.SUCCESS
        # Cancelled before it was in: nobody else will let it out.
        view["CancelRoutine"] = 0
        m.cpu.call(_routine(m, csq, _REMOVE), csq, irp)
        _forget(m, irp)
    m.cpu.call(_routine(m, csq, _COMPLETE), csq, irp)
    return NTSTATUS.SUCCESS


def _forget(m: Machine, irp: int) -> None:
    """The request is not in a queue any more, and its context says so."""
    slot = _slot(m, irp)
    context = m.memory.ptr(slot)
    if m.memory.u32(context) == _TYPE_IRP_CONTEXT:
        m.memory.put_ptr(context + m.memory.pointer_size, 0)
    m.memory.put_ptr(slot, 0)


def _take(m: Machine, csq: int, irp: int) -> None:
    m.kernel.io.irps.irp_layout.at(m.memory, irp)["CancelRoutine"] = 0
    m.cpu.call(_routine(m, csq, _REMOVE), csq, irp)
    _forget(m, irp)


@export("IoCsqRemoveIrp", args="ptr, ptr")
def io_csq_remove_irp(m: Machine, csq: int, context: int) -> int:
    with _Locked(m, csq):
        irp = m.memory.ptr(context + m.memory.pointer_size)
        if irp:
            _take(m, csq, irp)
        return irp


@export("IoCsqRemoveNextIrp", args="ptr, ptr")
def io_csq_remove_next_irp(m: Machine, csq: int, peek: int) -> int:
    with _Locked(m, csq):
        irp = m.cpu.call(_routine(m, csq, _PEEK), csq, 0, peek)
        if irp:
            _take(m, csq, irp)
        return irp


@export("IopCsqCancelRoutine", args="ptr, ptr", modules=INTERNAL)
def iop_csq_cancel_routine(m: Machine, device: int, irp: int) -> None:
    """The cancel routine of every queued request; it is called with the cancel spin lock held."""
    view = m.kernel.io.irps.irp_layout.at(m.memory, irp)
    m.cpu.irql = view["CancelIrql"]
    owner = m.memory.ptr(_slot(m, irp))
    csq = owner
    if m.memory.u32(owner) == _TYPE_IRP_CONTEXT:
        csq = m.memory.ptr(owner + 2 * m.memory.pointer_size)
    with _Locked(m, csq):
        m.cpu.call(_routine(m, csq, _REMOVE), csq, irp)
        _forget(m, irp)
    m.cpu.call(_routine(m, csq, _COMPLETE), csq, irp)
