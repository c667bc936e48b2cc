"""Process, thread and image-load notifications, and object callbacks.

Sources: nf-ntddk-pssetcreateprocessnotifyroutine(ex, ex2), nf-ntddk-pssetcreatethreadnotifyroutine,
nf-ntddk-pssetloadimagenotifyroutine, nf-wdm-obregistercallbacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, irql_name, need_irql
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.rtl_strings import string_text
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.threads import Process

__all__ = ["Notifications", "NotifyRoutine", "ObjectCallbacks"]

_MAX_ROUTINES: Final = 64


@dataclass(slots=True, eq=False)
class NotifyRoutine:
    """A registered routine; `extended` process routines get PS_CREATE_NOTIFY_INFO."""

    routine: int
    owner: object
    extended: bool = False


@dataclass(slots=True, eq=False)
class ObjectCallbacks:
    """An ObRegisterCallbacks registration: accepted and kept, never called (handle filtering is not
    modelled)."""

    handle: int
    altitude: str
    owner: object


@dataclass(slots=True)
class Notifications:
    """Everything registered, in order of registration."""

    m: Machine
    process_routines: list[NotifyRoutine] = field(default_factory=list)
    thread_routines: list[NotifyRoutine] = field(default_factory=list)
    image_routines: list[NotifyRoutine] = field(default_factory=list)
    object_callbacks: list[ObjectCallbacks] = field(default_factory=list)

    def _call(self, what: str, routine: int, *args: int) -> None:
        m = self.m
        irql = m.cpu.irql
        m.cpu.call(routine, *args)
        if m.cpu.irql != irql:
            m.bugcheck(0x4A, routine, m.cpu.irql, 0, 0, reason=f"{what} returned at {irql_name(m.cpu.irql)}")

    def process_created(self, process: Process) -> int:
        """Tell about a new process; returns the status an extended routine may have set to refuse it."""
        m = self.m
        status = 0
        for each in list(self.process_routines):
            if not each.extended:
                self._call("a process notify routine", each.routine, process.body.parent, process.pid, 1)
                continue
            with m.memory.scratch() as scratch:
                shape = layout("PS_CREATE_NOTIFY_INFO", m.memory.pointer_size)
                image = m.kernel.files.object_name(process.body.image) if process.body.image else ""
                names = scratch.unicode(image), scratch.unicode(process.body.command_line)
                view = shape.at(m.memory, scratch.show(bytes(shape.size), "PS_CREATE_NOTIFY_INFO"))
                view["Size"] = shape.size
                view["Flags"] = 1  # FileOpenNameAvailable
                view["ParentProcessId"] = process.body.parent
                view["CreatingProcessId"] = m.current.process.pid
                view["CreatingThreadId"] = m.current.tid
                file = m.kernel.files.file_object_of(process.body.image) if image else None
                view["FileObject"] = file.address if file is not None else 0
                view["ImageFileName"], view["CommandLine"] = names
                self._call(
                    "a process notify routine", each.routine, process.address, process.pid, view.address
                )
                status = status or view["CreationStatus"]
                if file is not None:
                    m.objects.dereference(file)
        return status

    def process_ended(self, process: Process) -> None:
        for each in list(self.process_routines):
            if each.extended:
                self._call("a process notify routine", each.routine, process.address, process.pid, 0)
            else:
                self._call("a process notify routine", each.routine, process.body.parent, process.pid, 0)

    def thread(self, pid: int, tid: int, *, created: bool) -> None:
        for each in list(self.thread_routines):
            self._call("a thread notify routine", each.routine, pid, tid, int(created))

    def image(self, name: str, pid: int, base: int, size: int, *, system: bool) -> None:
        """An image was mapped. IMAGE_INFO.Properties: address mode 3, SystemModeImage bit 8."""
        m = self.m
        for each in list(self.image_routines):
            with m.memory.scratch() as scratch:
                shape = layout("IMAGE_INFO", m.memory.pointer_size)
                name_at = scratch.unicode(name)
                view = shape.at(m.memory, scratch.show(bytes(shape.size), "IMAGE_INFO"))
                view["Properties"] = 0x103 if system else 0x003
                view["ImageBase"] = base
                view["ImageSize"] = size
                self._call("an image notify routine", each.routine, name_at, pid, view.address)

    def owned_by(self, owner: object) -> list[str]:
        """What a driver has not taken back, in words."""
        left = []
        for what, routines in (
            ("process notify routine", self.process_routines),
            ("thread notify routine", self.thread_routines),
            ("image load notify routine", self.image_routines),
        ):
            left += [f"{what} at {each.routine:#x}" for each in routines if each.owner is owner]
        left += [
            f"object callbacks at altitude {c.altitude}" for c in self.object_callbacks if c.owner is owner
        ]
        return left

    def abandon(self, owner: object) -> None:
        for routines in (self.process_routines, self.thread_routines, self.image_routines):
            routines[:] = [each for each in routines if each.owner is not owner]
        self.object_callbacks[:] = [each for each in self.object_callbacks if each.owner is not owner]


def _add(m: Machine, routines: list[NotifyRoutine], routine: int, *, extended: bool = False) -> int:
    if any(each.routine == routine for each in routines):
        return NTSTATUS.INVALID_PARAMETER
    if len(routines) >= _MAX_ROUTINES:
        return NTSTATUS.INVALID_PARAMETER
    routines.append(NotifyRoutine(routine, m.driver_at(routine), extended))
    return NTSTATUS.SUCCESS


def _remove(routines: list[NotifyRoutine], routine: int, missing: int) -> int:
    for each in routines:
        if each.routine == routine:
            routines.remove(each)
            return NTSTATUS.SUCCESS
    return missing


def _set_process(m: Machine, routine: int, remove: int, *, extended: bool, name: str) -> int:
    need_irql(m, 0, name, f"nf-ntddk-{name.lower()}")
    notify = m.kernel.notify
    if remove & 0xFF:
        return _remove(notify.process_routines, routine, NTSTATUS.INVALID_PARAMETER)
    if extended and not m.kernel.integrity_checked(routine):
        # Images not linked with /INTEGRITYCHECK are refused (nf-ntddk-pssetcreateprocessnotifyroutineex).
        return NTSTATUS.ACCESS_DENIED
    return _add(m, notify.process_routines, routine, extended=extended)


@export("PsSetCreateProcessNotifyRoutine", args="ptr, uchar")
def ps_set_create_process_notify_routine(m: Machine, routine: int, remove: int) -> int:
    return _set_process(m, routine, remove, extended=False, name="PsSetCreateProcessNotifyRoutine")


@export("PsSetCreateProcessNotifyRoutineEx", args="ptr, uchar", since=(6, 0, 6001))
def ps_set_create_process_notify_routine_ex(m: Machine, routine: int, remove: int) -> int:
    return _set_process(m, routine, remove, extended=True, name="PsSetCreateProcessNotifyRoutineEx")


@export("PsSetCreateProcessNotifyRoutineEx2", args="ulong, ptr, uchar", since=(10, 0, 15063))
def ps_set_create_process_notify_routine_ex2(m: Machine, kind: int, routine: int, remove: int) -> int:
    if kind != 0:
        return NTSTATUS.INVALID_PARAMETER
    return _set_process(m, routine, remove, extended=True, name="PsSetCreateProcessNotifyRoutineEx2")


@export("PsSetCreateThreadNotifyRoutine", args="ptr")
def ps_set_create_thread_notify_routine(m: Machine, routine: int) -> int:
    need_irql(m, 0, "PsSetCreateThreadNotifyRoutine", "nf-ntddk-pssetcreatethreadnotifyroutine")
    return _add(m, m.kernel.notify.thread_routines, routine)


@export("PsSetCreateThreadNotifyRoutineEx", args="ulong, ptr", since=(10, 0))
def ps_set_create_thread_notify_routine_ex(m: Machine, kind: int, routine: int) -> int:
    return _add(m, m.kernel.notify.thread_routines, routine) if kind in (0, 1) else NTSTATUS.INVALID_PARAMETER


@export("PsRemoveCreateThreadNotifyRoutine", args="ptr")
def ps_remove_create_thread_notify_routine(m: Machine, routine: int) -> int:
    return _remove(m.kernel.notify.thread_routines, routine, NTSTATUS.PROCEDURE_NOT_FOUND)


@export("PsSetLoadImageNotifyRoutine", args="ptr")
def ps_set_load_image_notify_routine(m: Machine, routine: int) -> int:
    need_irql(m, 0, "PsSetLoadImageNotifyRoutine", "nf-ntddk-pssetloadimagenotifyroutine")
    return _add(m, m.kernel.notify.image_routines, routine)


@export("PsSetLoadImageNotifyRoutineEx", args="ptr, size", since=(10, 0, 16299))
def ps_set_load_image_notify_routine_ex(m: Machine, routine: int, flags: int) -> int:
    return _add(m, m.kernel.notify.image_routines, routine)


@export("PsRemoveLoadImageNotifyRoutine", args="ptr")
def ps_remove_load_image_notify_routine(m: Machine, routine: int) -> int:
    return _remove(m.kernel.notify.image_routines, routine, NTSTATUS.PROCEDURE_NOT_FOUND)


@export("ObRegisterCallbacks", args="ptr, ptr", since=(6, 0, 6001))
def ob_register_callbacks(m: Machine, registration: int, handle_out: int) -> int:
    need_irql(m, APC_LEVEL, "ObRegisterCallbacks", "nf-wdm-obregistercallbacks")
    view = layout("OB_CALLBACK_REGISTRATION", m.memory.pointer_size).at(m.memory, registration)
    if view["Version"] != 0x100 or not view["OperationRegistrationCount"]:
        return NTSTATUS.INVALID_PARAMETER
    first = view["OperationRegistration"]
    size = m.memory.pointer_size
    routine = m.memory.ptr(first + 2 * size) or m.memory.ptr(first + 3 * size)
    if not m.kernel.integrity_checked(routine):
        return NTSTATUS.ACCESS_DENIED
    altitude = string_text(m, view.of("Altitude"))
    notify = m.kernel.notify
    if any(each.altitude == altitude for each in notify.object_callbacks):
        return NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION
    handle = m.objects.heap.alloc(32)
    notify.object_callbacks.append(ObjectCallbacks(handle, altitude, m.driver_at(routine)))
    m.memory.put_ptr(handle_out, handle)
    m.kernel.debug.note("ObRegisterCallbacks was accepted; the model never calls object callbacks")
    return NTSTATUS.SUCCESS


@export("ObUnRegisterCallbacks", args="ptr", since=(6, 0, 6001))
def ob_unregister_callbacks(m: Machine, handle: int) -> None:
    notify = m.kernel.notify
    if not any(each.handle == handle for each in notify.object_callbacks):
        m.bugcheck(
            0xC4, 0xE1, handle, 0, 0, reason="ObUnRegisterCallbacks with a handle that is not registered"
        )
    notify.object_callbacks[:] = [each for each in notify.object_callbacks if each.handle != handle]


@export("ObGetFilterVersion", args="", since=(6, 0, 6001))
def ob_get_filter_version(m: Machine) -> int:
    return 0x100
