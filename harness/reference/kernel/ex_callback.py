"""Callback objects: named points that drivers register routines with and notify one another by.

The system's own (``\\Callback\\PowerState``, ``SetSystemTime``, ``ProcessorAdd``) are there and never
notified. Sources: nf-wdm-excreatecallback, nf-wdm-exregistercallback, nf-wdm-exnotifycallback,
kernel/callback-objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, DISPATCH_LEVEL, need_irql
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.objects import KernelObject
from harness.reference.kernel.rtl_strings import string_text
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["SYSTEM_CALLBACKS", "CallbackPoint", "Registration", "registrations"]

SYSTEM_CALLBACKS: Final = ("PowerState", "SetSystemTime", "ProcessorAdd")
_REGISTRATION_SIZE: Final = 0x40


@dataclass(slots=True, eq=False)
class Registration:
    """A routine with its context. `handle` is the address drivers know it by."""

    handle: int
    routine: int
    context: int
    owner: object


@dataclass(slots=True, eq=False)
class CallbackPoint:
    """The state of one callback object."""

    multiple: bool
    registered: list[Registration] = field(default_factory=list)


def registrations(m: Machine, owner: object) -> list[Registration]:
    """What a driver has registered and not taken back."""
    points = m.objects.of_type(m.objects.types["Callback"])
    return [each for point in points for each in point.body.registered if each.owner is owner]


def _point(m: Machine, address: int, routine: str) -> KernelObject:
    found = m.objects.at(address)
    if found is None or found.type.name != "Callback":
        m.bugcheck(0xC4, 0xE1, address, 0, 0, reason=f"{routine} got something that is no callback object")
    return found


@export("ExCreateCallback", args="ptr, ptr, uchar, uchar")
def ex_create_callback(m: Machine, out: int, attributes: int, create: int, multiple: int) -> int:
    need_irql(m, 0, "ExCreateCallback", "nf-wdm-excreatecallback")
    view = layout("OBJECT_ATTRIBUTES", m.memory.pointer_size).at(m.memory, attributes)
    name = string_text(m, view["ObjectName"]) if view["ObjectName"] else ""
    if name:
        found = m.kernel.namespace.find(name)
        if not isinstance(found, int):
            if found.rest or found.object.type.name != "Callback":
                return NTSTATUS.OBJECT_TYPE_MISMATCH
            m.objects.reference(found.object)
            m.memory.put_ptr(out, found.object.address)
            return NTSTATUS.SUCCESS
        if not create & 0xFF:
            return found
    elif not create & 0xFF:
        return NTSTATUS.UNSUCCESSFUL
    point = m.objects.create(m.objects.types["Callback"], CallbackPoint(bool(multiple & 0xFF)))
    if name:
        status = m.kernel.namespace.insert(name, point)
        if status:
            m.objects.dereference(point)
            return status
    m.memory.put_ptr(out, point.address)
    return NTSTATUS.SUCCESS


@export("ExRegisterCallback", args="ptr, ptr, ptr")
def ex_register_callback(m: Machine, address: int, routine: int, context: int) -> int:
    need_irql(m, APC_LEVEL, "ExRegisterCallback", "nf-wdm-exregistercallback")
    point = _point(m, address, "ExRegisterCallback")
    body: CallbackPoint = point.body
    if body.registered and not body.multiple:
        return 0
    handle = m.objects.heap.alloc(_REGISTRATION_SIZE)
    m.memory.put_ptr(handle, address)
    m.objects.reference(point)
    body.registered.append(Registration(handle, routine, context, m.driver_at(routine)))
    return handle


@export("ExUnregisterCallback", args="ptr")
def ex_unregister_callback(m: Machine, handle: int) -> None:
    need_irql(m, APC_LEVEL, "ExUnregisterCallback", "nf-wdm-exunregistercallback")
    for point in m.objects.of_type(m.objects.types["Callback"]):
        for each in point.body.registered:
            if each.handle == handle:
                point.body.registered.remove(each)
                m.objects.heap.free(handle)
                m.objects.dereference(point)
                return
    m.bugcheck(0xC4, 0xE1, handle, 0, 0, reason="ExUnregisterCallback of something that is not registered")


@export("ExNotifyCallback", args="ptr, ptr, ptr")
def ex_notify_callback(m: Machine, address: int, argument1: int, argument2: int) -> None:
    need_irql(m, DISPATCH_LEVEL, "ExNotifyCallback", "nf-wdm-exnotifycallback")
    for each in list(_point(m, address, "ExNotifyCallback").body.registered):
        m.cpu.call(each.routine, each.context, argument1, argument2)
