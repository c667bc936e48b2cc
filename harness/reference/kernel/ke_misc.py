"""Time, bugchecks on demand, exceptions, processor facts and process attachment.

Sources: nf-wdm-kequerysystemtime-r1, nf-wdm-kequeryperformancecounter, nf-wdm-kequeryinterrupttime,
nf-wdm-kebugcheckex, nf-ntifs-kestackattachprocess, nf-wdm-exraisestatus, nf-wdm-probeforread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.clock import COUNTER_FREQUENCY
from harness.reference.exports import export
from harness.reference.kernel.checks import need_irql
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_TIME_INCREMENT: Final = 156_250  # 15.625 ms, the usual clock interval
_BOTH: Final = ("ntoskrnl.exe", "hal.dll")


# -- time --------------------------------------------------------------------------------------------------


@export("KeQuerySystemTime", args="ptr")
def ke_query_system_time(m: Machine, out: int) -> None:
    m.memory.put_u64(out, m.system_time() // _TIME_INCREMENT * _TIME_INCREMENT)


@export("KeQuerySystemTimePrecise", args="ptr", since=(6, 2))
def ke_query_system_time_precise(m: Machine, out: int) -> None:
    m.memory.put_u64(out, m.system_time())


@export("KeQueryTimeIncrement", args="")
def ke_query_time_increment(m: Machine) -> int:
    return _TIME_INCREMENT


@export("KeQueryInterruptTime", args="", returns="ulonglong")
def ke_query_interrupt_time(m: Machine) -> int:
    return m.interrupt_time() // _TIME_INCREMENT * _TIME_INCREMENT


@export("KeQueryUnbiasedInterruptTime", args="", returns="ulonglong", since=(6, 1))
def ke_query_unbiased_interrupt_time(m: Machine) -> int:
    return m.interrupt_time()


@export("KeQueryInterruptTimePrecise", args="ptr", returns="ulonglong", since=(6, 3))
def ke_query_interrupt_time_precise(m: Machine, counter: int) -> int:
    m.memory.put_u64(counter, m.performance_counter())
    return m.interrupt_time()


@export("KeQueryTickCount", args="ptr", arches=("x86",))
def ke_query_tick_count(m: Machine, out: int) -> None:
    m.memory.put_u64(out, m.interrupt_time() // _TIME_INCREMENT)


@export("KeQueryPerformanceCounter", args="ptr", returns="ulonglong", modules=_BOTH)
def ke_query_performance_counter(m: Machine, frequency: int) -> int:
    if frequency:
        m.memory.put_u64(frequency, COUNTER_FREQUENCY)
    return m.performance_counter()


@export("KeStallExecutionProcessor", args="ulong", modules=_BOTH)
def ke_stall_execution_processor(m: Machine, microseconds: int) -> None:
    m.advance_time(microseconds * 10)


@export("ExSystemTimeToLocalTime", args="ptr, ptr")
def ex_system_time_to_local_time(m: Machine, system: int, local: int) -> None:
    """The model's time zone is UTC."""
    m.memory.put_u64(local, m.memory.u64(system))


@export("ExLocalTimeToSystemTime", args="ptr, ptr")
def ex_local_time_to_system_time(m: Machine, local: int, system: int) -> None:
    m.memory.put_u64(system, m.memory.u64(local))


@export("ExGetCurrentProcessorCounts", args="ptr, ptr, ptr", since=(5, 2))
def ex_get_current_processor_counts(m: Machine, idle: int, kernel: int, index: int) -> None:
    ticks = m.interrupt_time() // _TIME_INCREMENT & 0xFFFFFFFF
    m.memory.put_u32(idle, 0)
    m.memory.put_u32(kernel, ticks)
    m.memory.put_u32(index, 0)


# -- processors --------------------------------------------------------------------------------------------


@export("KeGetCurrentProcessorNumber", args="")
def ke_get_current_processor_number(m: Machine) -> int:
    return 0


@export("KeGetCurrentProcessorNumberEx", args="ptr", since=(6, 1))
def ke_get_current_processor_number_ex(m: Machine, out: int) -> int:
    if out:
        m.memory.put_u32(out, 0)
    return 0


@export("KeQueryActiveProcessors", args="")
def ke_query_active_processors(m: Machine) -> int:
    return 1


@export("KeQueryActiveProcessorCount", args="ptr", since=(6, 0))
def ke_query_active_processor_count(m: Machine, affinity: int) -> int:
    if affinity:
        m.memory.put_ptr(affinity, 1)
    return 1


@export("KeQueryActiveProcessorCountEx", args="ushort", since=(6, 1))
@export("KeQueryMaximumProcessorCountEx", args="ushort", since=(6, 1))
def ke_query_processor_count_ex(m: Machine, group: int) -> int:
    return 1


@export("KeQueryMaximumProcessorCount", args="", since=(6, 0))
def ke_query_maximum_processor_count(m: Machine) -> int:
    return 1


@export("KeSetSystemAffinityThread", args="ptr")
@export("KeSetSystemAffinityThreadEx", args="ptr", since=(6, 0))
def ke_set_system_affinity_thread(m: Machine, affinity: int) -> int:
    return 1


@export("KeRevertToUserAffinityThread", args="")
def ke_revert_to_user_affinity_thread(m: Machine) -> None:
    return None


@export("KeRevertToUserAffinityThreadEx", args="ptr", since=(6, 0))
def ke_revert_to_user_affinity_thread_ex(m: Machine, affinity: int) -> None:
    return None


@export("KeMemoryBarrier", args="", arches=("x86",))
def ke_memory_barrier(m: Machine) -> None:
    return None


# -- bugchecks and exceptions ------------------------------------------------------------------------------


@export("KeBugCheck", args="ulong")
def ke_bug_check(m: Machine, code: int) -> None:
    m.bugcheck(code, 0, 0, 0, 0, reason="the driver called KeBugCheck")


@export("KeBugCheckEx", args="ulong, ptr, ptr, ptr, ptr")
def ke_bug_check_ex(m: Machine, code: int, p1: int, p2: int, p3: int, p4: int) -> None:
    m.bugcheck(code, p1, p2, p3, p4, reason="the driver called KeBugCheckEx")


@export("ExRaiseStatus", args="ulong")
def ex_raise_status(m: Machine, status: int) -> None:
    m.raise_status(status)


@export("ExRaiseAccessViolation", args="")
def ex_raise_access_violation(m: Machine) -> None:
    m.raise_status(NTSTATUS.ACCESS_VIOLATION)


@export("ExRaiseDatatypeMisalignment", args="")
def ex_raise_datatype_misalignment(m: Machine) -> None:
    m.raise_status(NTSTATUS.DATATYPE_MISALIGNMENT)


@export("RtlRaiseStatus", args="ulong")
def rtl_raise_status(m: Machine, status: int) -> None:
    m.raise_status(status)


def _check_user_range(m: Machine, address: int, size: int, alignment: int) -> None:
    if address & (alignment - 1):
        m.raise_status(NTSTATUS.DATATYPE_MISALIGNMENT)
    if address + size < address or address + size > m.memory.map.user_limit - 0x10000:
        m.raise_status(NTSTATUS.ACCESS_VIOLATION)


@export("ProbeForRead", args="ptr, size, ulong")
def probe_for_read(m: Machine, address: int, size: int, alignment: int) -> None:
    """Range and alignment only: the pages are not touched (nf-wdm-probeforread)."""
    need_irql(m, 1, "ProbeForRead", "nf-wdm-probeforread")
    if size:
        _check_user_range(m, address, size, alignment)


@export("ProbeForWrite", args="ptr, size, ulong")
def probe_for_write(m: Machine, address: int, size: int, alignment: int) -> None:
    """Touches every page for writing; raises where one is not there."""
    need_irql(m, 1, "ProbeForWrite", "nf-wdm-probeforwrite")
    if not size:
        return
    _check_user_range(m, address, size, alignment)
    for page in range(address & ~0xFFF, address + size, 0x1000):
        if m.memory.rights(page) & 2 == 0:
            m.raise_status(NTSTATUS.ACCESS_VIOLATION)


@export("ExGetPreviousMode", args="")
def ex_get_previous_mode(m: Machine) -> int:
    return m.current.previous_mode


# -- attachment --------------------------------------------------------------------------------------------


def _attach(m: Machine, process: int) -> None:
    target = m.kernel.processes.process_at(process)
    if target is None:
        m.bugcheck(0x05, process, 0, 0, 0, reason="an attachment to something that is no process")
    thread = m.current
    thread.body.attached.append(thread.process)
    thread.process = target
    m.switch(thread)


def _detach(m: Machine) -> None:
    thread = m.current
    if not thread.body.attached:
        m.bugcheck(0x06, thread.process.address, 0, 0, 0, reason="a detach without an attachment")
    thread.process = thread.body.attached.pop()
    m.switch(thread)


@export("KeStackAttachProcess", args="ptr, ptr")
def ke_stack_attach_process(m: Machine, process: int, state: int) -> None:
    _attach(m, process)


@export("KeUnstackDetachProcess", args="ptr")
def ke_unstack_detach_process(m: Machine, state: int) -> None:
    _detach(m)


@export("KeAttachProcess", args="ptr")
def ke_attach_process(m: Machine, process: int) -> None:
    _attach(m, process)


@export("KeDetachProcess", args="")
def ke_detach_process(m: Machine) -> None:
    _detach(m)


@export("KeGetCurrentThread", args="", arches=("x86",))
def ke_get_current_thread(m: Machine) -> int:
    return m.current.address


@export("KeSetPriorityThread", args="ptr, long")
def ke_set_priority_thread(m: Machine, thread: int, priority: int) -> int:
    return 8


@export("KeQueryPriorityThread", args="ptr")
def ke_query_priority_thread(m: Machine, thread: int) -> int:
    return 8


@export("KeSetBasePriorityThread", args="ptr, long")
def ke_set_base_priority_thread(m: Machine, thread: int, increment: int) -> int:
    return 0


@export("ExUuidCreate", args="ptr")
def ex_uuid_create(m: Machine, out: int) -> int:
    """Reproducible identifiers: version 1 in form, counted from the machine's start."""
    m.memory.write(out, m.kernel.next_uuid().bytes_le)
    return NTSTATUS.SUCCESS


@export("KeExpandKernelStackAndCallout", args="ptr, ptr, size", since=(5, 2))
def ke_expand_kernel_stack_and_callout(m: Machine, routine: int, parameter: int, size: int) -> int:
    m.cpu.call(routine, parameter)
    return NTSTATUS.SUCCESS


@export("KeExpandKernelStackAndCalloutEx", args="ptr, ptr, size, uchar, ptr", since=(6, 1))
def ke_expand_kernel_stack_and_callout_ex(
    m: Machine, routine: int, parameter: int, size: int, wait: int, context: int
) -> int:
    """The stack here is as large as it gets."""
    m.cpu.call(routine, parameter)
    return NTSTATUS.SUCCESS


@export("KeIsExecutingDpc", args="", since=(5, 2))
def ke_is_executing_dpc(m: Machine) -> int:
    return int(m.kernel.scheduler.in_dpc > 0)


@export("KeRegisterBugCheckCallback", args="ptr, ptr, ptr, ulong, ptr")
@export("KeRegisterBugCheckReasonCallback", args="ptr, ptr, ulong, ptr")
def ke_register_bug_check_callback(m: Machine, record: int, routine: int, *about: int) -> int:
    """Accepted; the model ends at a bugcheck without running anything."""
    return 1


@export("KeDeregisterBugCheckCallback", args="ptr")
@export("KeDeregisterBugCheckReasonCallback", args="ptr")
def ke_deregister_bug_check_callback(m: Machine, record: int) -> int:
    return 1
