"""Processes and threads: what few drivers ask. Times, exit protection, silos, user-mode blocks that aren't
there.

Sources: nf-ntddk-psgetprocessstartkey, nf-ntddk-psgetthreadcreatetime, nf-ntddk-psgetcurrentserversilo and
its siblings, nf-ntifs-psacquireprocessexitsynchronization (named in ntifs.h), nf-wdm-psgetcurrentthreadteb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.objects import GenericMapping
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_SILOS: Final = (10, 0, 14393)
_IS_TERMINATING: Final = 0xC000010A
_NORMAL_PRIORITY_CLASS: Final = 2


@export("PsAcquireProcessExitSynchronization", args="ptr", since=(5, 2))
def ps_acquire_process_exit_synchronization(m: Machine, process: int) -> int:
    found = m.kernel.processes.process_at(process)
    if found is None or found.body.exit_status is not None:
        return _IS_TERMINATING
    return NTSTATUS.SUCCESS


@export("PsGetProcessExitTime", args="", returns="ulonglong")
def ps_get_process_exit_time(m: Machine) -> int:
    """Of the current process, which is there: 0."""
    return 0


@export("PsReleaseProcessExitSynchronization", args="ptr", since=(5, 2))
def ps_release_process_exit_synchronization(m: Machine, process: int) -> None:
    return None


@export("PsGetCurrentProcessWin32Process", args="", since=(5, 2))
@export("PsGetCurrentProcessWow64Process", args="", since=(5, 2))
@export("PsGetCurrentThreadTeb", args="", since=(5, 2))
def ps_get_nothing_of_the_current(m: Machine) -> int:
    """What the model's processes and threads do not have: NULL."""
    return 0


@export("PsGetThreadTeb", args="ptr")
@export("PsGetThreadWin32Thread", args="ptr")
@export("PsGetThreadSessionId", args="ptr")
@export("PsGetProcessWin32Process", args="ptr")
@export("PsGetProcessSecurityPort", args="ptr")
@export("PsGetProcessSignatureLevel", args="ptr, ptr", since=(6, 3))
def ps_get_nothing(m: Machine, of: int, section: int = 0) -> int:
    return 0


@export("PsGetProcessPriorityClass", args="ptr")
def ps_get_process_priority_class(m: Machine, process: int) -> int:
    return _NORMAL_PRIORITY_CLASS


@export("PsGetThreadCreateTime", args="ptr", returns="ulonglong", since=(10, 0))
def ps_get_thread_create_time(m: Machine, thread: int) -> int:
    """The model's threads are as old as their process."""
    found = m.kernel.processes.thread_at(thread)
    return 0 if found is None else int(found.process.body.create_time)


@export("PsGetProcessStartKey", args="ptr", returns="ulonglong", since=(10, 0, 16299))
def ps_get_process_start_key(m: Machine, process: int) -> int:
    """Unique while the system runs: the model never uses a process id again."""
    found = m.kernel.processes.process_at(process)
    return 0 if found is None else 1 << 48 | found.pid


@export("PsLookupProcessThreadByCid", args="ptr, ptr, ptr")
def ps_lookup_process_thread_by_cid(m: Machine, client: int, process: int, thread: int) -> int:
    """CLIENT_ID to referenced objects; `process` may be NULL."""
    found = m.kernel.processes.by_tid.get(m.memory.ptr(client + m.memory.pointer_size))
    if found is None or found.process.pid != m.memory.ptr(client):
        return NTSTATUS.INVALID_CID
    if process:
        m.objects.reference(found.process.body.object)
        m.memory.put_ptr(process, found.process.address)
    m.objects.reference(found.body.object)
    m.memory.put_ptr(thread, found.address)
    return NTSTATUS.SUCCESS


@export("PsGetCurrentThreadStackLimit", args="", since=(5, 2))
def ps_get_current_thread_stack_limit(m: Machine) -> int:
    return m.current.stack.low


@export("PsGetCurrentThreadStackBase", args="", since=(5, 2))
def ps_get_current_thread_stack_base(m: Machine) -> int:
    return m.current.stack.high


@export("PsJobType", data=True)
def ps_job_type(m: Machine) -> int:
    return _type_variable(m, "Job", GenericMapping(0x20004, 0x2000B, 0x120000, 0x1F001F))


@export("MmSectionObjectType", data=True)
def mm_section_object_type(m: Machine) -> int:
    return _type_variable(m, "Section", GenericMapping(0x20005, 0x20002, 0x20008, 0xF001F))


def _type_variable(m: Machine, name: str, mapping: GenericMapping) -> int:
    """A variable with a type of objects that nobody makes here."""
    kind = m.objects.types.get(name) or m.objects.define_type(name, mapping)
    address = m.memory.alloc_static(m.memory.pointer_size)
    m.memory.put_ptr(address, kind.address)
    return address


# -- silos: everything runs in the host ----------------------------------------------------------------------


@export("PsGetCurrentSilo", args="", since=_SILOS)
@export("PsGetCurrentServerSilo", args="", since=_SILOS)
@export("PsGetHostSilo", args="", since=_SILOS)
def ps_get_current_silo(m: Machine) -> int:
    return 0


@export("PsGetProcessServerSilo", args="ptr", since=_SILOS)
@export("PsGetEffectiveServerSilo", args="ptr", since=_SILOS)
@export("PsGetThreadServerSilo", args="ptr", since=_SILOS)
@export("PsGetServerSiloServiceSessionId", args="ptr", since=_SILOS)
@export("PsAttachSiloToCurrentThread", args="ptr", since=_SILOS)
def ps_get_server_silo(m: Machine, of: int) -> int:
    return 0


@export("PsDetachSiloFromCurrentThread", args="ptr", since=_SILOS)
def ps_detach_silo_from_current_thread(m: Machine, silo: int) -> None:
    return None


@export("PsIsHostSilo", args="ptr", since=_SILOS)
def ps_is_host_silo(m: Machine, silo: int) -> int:
    return int(not silo)


@export("PsIsCurrentThreadInServerSilo", args="", since=_SILOS)
def ps_is_current_thread_in_server_silo(m: Machine) -> int:
    return 0
