"""Processors and their state: what few drivers ask of the one processor there is.

Sources: nf-wdm-kesavefloatingpointstate, nf-wdm-kesaveextendedprocessorstate, nf-wdm-kequeryactivegroupcount,
nf-wdm-kegetprocessornumberfromindex, nf-wdm-keipigenericcall, nf-wdm-kesetsystemgroupaffinitythread.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.guest import Arch
from harness.reference.exports import export
from harness.reference.kernel.checks import DISPATCH_LEVEL, irql_name, need_irql
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_WIN7: Final = (6, 1)
_IPI_LEVEL: Final = {Arch.X64: 14, Arch.X86: 29}


@export("KeSaveFloatingPointState", args="ptr")
@export("KeRestoreFloatingPointState", args="ptr")
def ke_save_floating_point_state(m: Machine, area: int) -> int:
    """Every call into the guest keeps its own state, so there is nothing to lose."""
    need_irql(m, DISPATCH_LEVEL, "KeSaveFloatingPointState", "nf-wdm-kesavefloatingpointstate")
    return NTSTATUS.SUCCESS


@export("KeSaveExtendedProcessorState", args="ulonglong, ptr", since=_WIN7)
def ke_save_extended_processor_state(m: Machine, mask: int, area: int) -> int:
    return NTSTATUS.SUCCESS


@export("KeRestoreExtendedProcessorState", args="ptr", since=_WIN7)
def ke_restore_extended_processor_state(m: Machine, area: int) -> None:
    return None


@export("KeQueryActiveGroupCount", args="", since=_WIN7)
@export("KeQueryMaximumGroupCount", args="", since=_WIN7)
def ke_query_group_count(m: Machine) -> int:
    return 1


@export("KeQueryGroupAffinity", args="ushort", since=_WIN7)
def ke_query_group_affinity(m: Machine, group: int) -> int:
    return int(group == 0)


@export("KeGetProcessorNumberFromIndex", args="ulong, ptr", since=_WIN7)
def ke_get_processor_number_from_index(m: Machine, index: int, number: int) -> int:
    if index:
        return NTSTATUS.INVALID_PARAMETER
    m.memory.write(number, bytes(4))
    return NTSTATUS.SUCCESS


@export("KeGetProcessorIndexFromNumber", args="ptr", since=_WIN7)
def ke_get_processor_index_from_number(m: Machine, number: int) -> int:
    """INVALID_PROCESSOR_INDEX for any processor but the first."""
    group, cpu = struct.unpack("<HB", m.memory.read(number, 3))
    return 0xFFFFFFFF if group or cpu else 0


@export("KeSetSystemGroupAffinityThread", args="ptr, ptr", since=_WIN7)
def ke_set_system_group_affinity_thread(m: Machine, affinity: int, previous: int) -> None:
    if previous:
        m.memory.write(previous, bytes(m.memory.pointer_size + 8))


@export("KeRevertToUserGroupAffinityThread", args="ptr", since=_WIN7)
def ke_revert_to_user_group_affinity_thread(m: Machine, previous: int) -> None:
    return None


@export("KeSetTargetProcessorDpcEx", args="ptr, ptr", since=_WIN7)
def ke_set_target_processor_dpc_ex(m: Machine, dpc: int, number: int) -> int:
    if ke_get_processor_index_from_number(m, number):
        return NTSTATUS.INVALID_PARAMETER
    m.memory.put_u16(dpc + 2, 0x500)
    return NTSTATUS.SUCCESS


@export("KeIpiGenericCall", args="ptr, ptr", since=(5, 2))
def ke_ipi_generic_call(m: Machine, routine: int, context: int) -> int:
    """The routine runs on every processor at IPI_LEVEL; the result is that of the caller's."""
    before = m.cpu.irql
    m.cpu.irql = level = _IPI_LEVEL[m.arch]
    result = m.cpu.call(routine, context, any_irql=True)
    if m.cpu.irql != level:
        reason = f"a routine called at {irql_name(level)} returned at {irql_name(m.cpu.irql)}"
        m.bugcheck(0x0A, routine, m.cpu.irql, 0, 0, reason=reason)
    m.cpu.irql = before
    return result


@export("KeIsAttachedProcess", args="", since=(6, 0))
def ke_is_attached_process(m: Machine) -> int:
    return int(bool(m.current.body.attached))


@export("KeInvalidateAllCaches", args="", since=(5, 2))
def ke_invalidate_all_caches(m: Machine) -> int:
    return 1


@export("KeSetKernelStackSwapEnable", args="uchar")
def ke_set_kernel_stack_swap_enable(m: Machine, enable: int) -> int:
    return 1


@export("KeQueryDpcWatchdogInformation", args="ptr", since=(6, 0))
def ke_query_dpc_watchdog_information(m: Machine, out: int) -> int:
    """KDPC_WATCHDOG_INFORMATION of a system whose watchdog is off: five zeroes."""
    m.memory.write(out, bytes(20))
    return NTSTATUS.SUCCESS


@export("KeQueryRuntimeThread", args="ptr, ptr")
def ke_query_runtime_thread(m: Machine, thread: int, user: int) -> int:
    m.memory.put_u32(user, 0)
    return 0
