"""Devices and requests: what few drivers need of the I/O manager.

Sources: nf-ntddk-iocreatefileex, nf-ntifs-iocreatefilespecifydeviceobjecthint, nf-ntifs-
iogetlowerdeviceobject, nf-ntifs-ioenumeratedeviceobjectlist, nf-wdm-iosetcompletionroutineex, nf-wdm-
iowithinstacklimits, nf-ntifs-ioraisehardinformationalerror.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.kernel.checks import PASSIVE_LEVEL, need_irql
from harness.reference.kernel.io_device import device_or_bugcheck
from harness.reference.kernel.irps import SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS
from harness.reference.kernel.zw_file import zw_create_file, zw_query_information_file
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_CREATE = "ptr, ulong, ptr, ptr, ptr, ulong, ulong, ulong, ulong, ptr, ulong, ulong, ptr, ulong, ptr"


@export("IoCreateFileSpecifyDeviceObjectHint", args=_CREATE)
@export("IoCreateFileEx", args=_CREATE, since=(6, 0))
def io_create_file_ex(m: Machine, *arguments: int) -> int:
    """The last arguments say whom the request goes to; no filter is in the way here."""
    return zw_create_file(m, *arguments)


@export("IoQueryFileInformation", args="ptr, ulong, ulong, ptr, ptr")
def io_query_file_information(
    m: Machine, file: int, kind: int, length: int, buffer: int, returned: int
) -> int:
    need_irql(m, PASSIVE_LEVEL, "IoQueryFileInformation", "nf-ntifs-ioqueryfileinformation")
    obj = m.objects.at(file)
    if obj is None or obj.type is not m.kernel.io.file_type:
        return NTSTATUS.INVALID_PARAMETER
    handle = m.objects.open_handle(obj, 0x80)
    try:
        with m.memory.scratch() as scratch:
            block = scratch.alloc(2 * m.memory.pointer_size)
            status = zw_query_information_file(m, handle, block, buffer, length, kind)
            m.memory.put_u32(returned, m.memory.u32(block + m.memory.pointer_size))
            return status
    finally:
        m.objects.close(handle)


def _below(m: Machine, device: int) -> int:
    """The device that `device` is attached to, 0 when there is none."""
    for other in m.objects.of_type(m.kernel.io.device_type):
        if m.kernel.io.device_layout.at(m.memory, other.address)["AttachedDevice"] == device:
            return other.address
    return 0


@export("IoGetLowerDeviceObject", args="ptr")
def io_get_lower_device_object(m: Machine, device: int) -> int:
    """With a reference."""
    below = _below(m, device_or_bugcheck(m, device, "IoGetLowerDeviceObject").address)
    obj = m.objects.at(below)
    if obj is not None:
        m.objects.reference(obj)
    return below


@export("IoGetDeviceAttachmentBaseRef", args="ptr")
def io_get_device_attachment_base_ref(m: Machine, device: int) -> int:
    """The lowest device of the stack, with a reference."""
    here = device_or_bugcheck(m, device, "IoGetDeviceAttachmentBaseRef").address
    while below := _below(m, here):
        here = below
    m.objects.reference(device_or_bugcheck(m, here, "IoGetDeviceAttachmentBaseRef"))
    return here


@export("IoEnumerateDeviceObjectList", args="ptr, ptr, ulong, ptr")
def io_enumerate_device_object_list(m: Machine, driver: int, array: int, size: int, count: int) -> int:
    """References to every device that fits into `size` bytes; `count` is how many there are."""
    obj = m.objects.at(driver)
    if obj is None or obj.type is not m.kernel.io.driver_type:
        return NTSTATUS.INVALID_PARAMETER
    devices = obj.body.devices
    m.memory.put_u32(count, len(devices))
    room = size // m.memory.pointer_size if array else 0
    for index, device in enumerate(devices[:room]):
        m.objects.reference(device)
        m.memory.put_ptr(array + index * m.memory.pointer_size, device.address)
    return NTSTATUS.SUCCESS if room >= len(devices) else NTSTATUS.BUFFER_TOO_SMALL


@export("IoSetCompletionRoutineEx", args="ptr, ptr, ptr, ptr, uchar, uchar, uchar")
def io_set_completion_routine_ex(
    m: Machine, device: int, irp: int, routine: int, context: int, success: int, error: int, cancel: int
) -> int:
    engine = m.kernel.io.irps
    current = engine.irp_layout.at(m.memory, irp)["CurrentStackLocation"]
    location = engine.stack_layout.at(m.memory, current - engine.stack_layout.size)
    location["CompletionRoutine"], location["Context"] = routine, context
    location["Control"] = (
        (SL_INVOKE_ON_SUCCESS if success & 0xFF else 0)
        | (SL_INVOKE_ON_ERROR if error & 0xFF else 0)
        | (SL_INVOKE_ON_CANCEL if cancel & 0xFF else 0)
    )
    return NTSTATUS.SUCCESS


@export("IoIsOperationSynchronous", args="ptr")
def io_is_operation_synchronous(m: Machine, irp: int) -> int:
    """Every requester of this guest waits for its request."""
    return 1


@export("IoIsSystemThread", args="ptr")
def io_is_system_thread(m: Machine, thread: int) -> int:
    found = m.kernel.processes.thread_at(thread)
    return int(found is not None and found.process.system)


@export("IoWithinStackLimits", args="ptr, size", since=(6, 0))
def io_within_stack_limits(m: Machine, start: int, size: int) -> int:
    stack = m.current.stack
    return int(stack.low <= start and start + size <= stack.high)


@export("IoGetTransactionParameterBlock", args="ptr", since=(6, 0))
def io_get_transaction_parameter_block(m: Machine, file: int) -> int:
    return 0


@export("IoSetThreadHardErrorMode", args="uchar")
def io_set_thread_hard_error_mode(m: Machine, enable: int) -> int:
    return 1


@export("IoRaiseInformationalHardError", args="ulong, ptr, ptr")
def io_raise_informational_hard_error(m: Machine, status: int, text: int, thread: int) -> int:
    """Nobody sits before this guest."""
    m.kernel.debug.note(f"IoRaiseInformationalHardError({status:#010x}): there is nobody to tell")
    return 0


@export("IoGetActivityIdThread", args="", since=(6, 2))
def io_get_activity_id_thread(m: Machine) -> int:
    return 0


@export("IoSetActivityIdThread", args="ptr", since=(6, 2))
def io_set_activity_id_thread(m: Machine, activity: int) -> int:
    return 0


@export("IoClearActivityIdThread", args="ptr", since=(6, 2))
def io_clear_activity_id_thread(m: Machine, before: int) -> None:
    return None
