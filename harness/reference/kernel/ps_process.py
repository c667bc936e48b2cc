"""Processes and threads as drivers ask about them, and system threads.

Sources: nf-ntddk-psgetcurrentprocessid, nf-ntifs-pslookupprocessbyprocessid, nf-wdm-pscreatesystemthread,
nf-wdm-psterminatesystemthread, nf-ntifs-psgetprocessexitstatus, nf-ntifs-psreferenceprimarytoken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import need_irql
from harness.reference.kernel.scheduler import Task, ThreadExit
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.threads import Process, Thread

__all__: list[str] = []

_STILL_ACTIVE: Final = 0x103
_BAD_PROCESS: Final = "a process routine got something that is no process"


def _process(m: Machine, address: int) -> Process:
    found = m.kernel.processes.process_at(address)
    if found is None:
        m.bugcheck(0x50, address, 0, m.cpu.current_pc(), 0, reason=_BAD_PROCESS)
    return found


def _thread(m: Machine, address: int) -> Thread:
    found = m.kernel.processes.thread_at(address)
    if found is None:
        m.bugcheck(
            0x50, address, 0, m.cpu.current_pc(), 0, reason="a thread routine got something that is no thread"
        )
    return found


@export("PsGetCurrentProcessId", args="")
def ps_get_current_process_id(m: Machine) -> int:
    return m.current.process.pid


@export("PsGetCurrentThreadId", args="")
def ps_get_current_thread_id(m: Machine) -> int:
    return m.current.tid


@export("PsGetCurrentThread", args="", arches=("x86",))
def ps_get_current_thread(m: Machine) -> int:
    return m.current.address


@export("PsGetCurrentThreadProcess", args="", since=(5, 2))
def ps_get_current_thread_process(m: Machine) -> int:
    return m.current.process.address


@export("PsGetCurrentThreadProcessId", args="", since=(5, 2))
def ps_get_current_thread_process_id(m: Machine) -> int:
    return m.current.process.pid


@export("PsGetCurrentThreadPreviousMode", args="", since=(5, 2))
def ps_get_current_thread_previous_mode(m: Machine) -> int:
    return m.current.previous_mode


@export("PsGetProcessId", args="ptr")
def ps_get_process_id(m: Machine, process: int) -> int:
    return _process(m, process).pid


@export("PsGetThreadId", args="ptr")
def ps_get_thread_id(m: Machine, thread: int) -> int:
    return _thread(m, thread).tid


@export("PsGetThreadProcessId", args="ptr")
def ps_get_thread_process_id(m: Machine, thread: int) -> int:
    return _thread(m, thread).process.pid


@export("PsGetProcessImageFileName", args="ptr")
def ps_get_process_image_file_name(m: Machine, process: int) -> int:
    """The first 14 characters of the image's name, as the kernel keeps them."""
    return m.kernel.processes.image_name_address(_process(m, process))


@export("PsGetProcessInheritedFromUniqueProcessId", args="ptr")
def ps_get_process_inherited_from(m: Machine, process: int) -> int:
    return int(_process(m, process).body.parent)


@export("PsGetProcessExitStatus", args="ptr")
def ps_get_process_exit_status(m: Machine, process: int) -> int:
    status = _process(m, process).body.exit_status
    return _STILL_ACTIVE if status is None else int(status)


@export("PsGetProcessExitProcessCalled", args="ptr")
def ps_get_process_exit_process_called(m: Machine, process: int) -> int:
    return int(_process(m, process).body.exit_status is not None)


@export("PsGetProcessCreateTimeQuadPart", args="ptr", returns="ulonglong")
def ps_get_process_create_time(m: Machine, process: int) -> int:
    return int(_process(m, process).body.create_time)


@export("PsGetProcessSessionId", args="ptr")
@export("PsGetProcessSessionIdEx", args="ptr")
def ps_get_process_session_id(m: Machine, process: int) -> int:
    return 0


@export("PsGetProcessPeb", args="ptr")
@export("PsGetProcessWow64Process", args="ptr")
@export("PsGetProcessDebugPort", args="ptr")
@export("PsGetProcessJob", args="ptr")
@export("PsGetProcessSectionBaseAddress", args="ptr")
def ps_get_nothing(m: Machine, process: int) -> int:
    """What the model's processes do not have: a PEB, a debugger, a job, a mapped image. NULL."""
    _process(m, process)
    return 0


@export("PsIsSystemProcess", args="ptr")
def ps_is_system_process(m: Machine, process: int) -> int:
    return int(_process(m, process).system)


@export("PsIsSystemThread", args="ptr")
def ps_is_system_thread(m: Machine, thread: int) -> int:
    return int(_thread(m, thread).system)


@export("PsIsThreadTerminating", args="ptr")
def ps_is_thread_terminating(m: Machine, thread: int) -> int:
    return int(_thread(m, thread).body.exit_status is not None)


@export("PsIsProtectedProcess", args="ptr", since=(6, 0))
@export("PsIsProtectedProcessLight", args="ptr", since=(6, 3))
@export("PsIsProcessBeingDebugged", args="ptr")
def ps_is_not(m: Machine, process: int) -> int:
    _process(m, process)
    return 0


@export("PsIsWin32KFilterEnabled", args="", since=(10, 0))
def ps_is_win32k_filter_enabled(m: Machine) -> int:
    return 0


@export("PsLookupProcessByProcessId", args="handle, ptr")
def ps_lookup_process_by_process_id(m: Machine, pid: int, out: int) -> int:
    need_irql(m, 1, "PsLookupProcessByProcessId", "nf-ntifs-pslookupprocessbyprocessid")
    found = m.kernel.processes.by_pid.get(pid)
    if found is None:
        return NTSTATUS.INVALID_CID if m.version.major >= 6 else NTSTATUS.INVALID_PARAMETER
    m.objects.reference(found.body.object)
    m.memory.put_ptr(out, found.address)
    return NTSTATUS.SUCCESS


@export("PsLookupThreadByThreadId", args="handle, ptr")
def ps_lookup_thread_by_thread_id(m: Machine, tid: int, out: int) -> int:
    need_irql(m, 1, "PsLookupThreadByThreadId", "nf-ntifs-pslookupthreadbythreadid")
    found = m.kernel.processes.by_tid.get(tid)
    if found is None:
        return NTSTATUS.INVALID_PARAMETER
    m.objects.reference(found.body.object)
    m.memory.put_ptr(out, found.address)
    return NTSTATUS.SUCCESS


@export("PsReferenceProcessFilePointer", args="ptr, ptr", since=(5, 2))
def ps_reference_process_file_pointer(m: Machine, process: int, out: int) -> int:
    """The model's processes have an image path and no section behind it."""
    image = _process(m, process).body.image
    if not image:
        return NTSTATUS.UNSUCCESSFUL
    file = m.kernel.files.file_object_of(image)
    m.memory.put_ptr(out, file.address)
    return NTSTATUS.SUCCESS


@export("SeLocateProcessImageName", args="ptr, ptr")
def se_locate_process_image_name(m: Machine, process: int, out: int) -> int:
    """A pool block with a UNICODE_STRING and its text; the caller frees it."""
    image = _process(m, process).body.image
    text = m.kernel.files.object_name(image) if image else ""
    raw = text.encode("utf-16-le")
    head = m.memory.unicode_string_size
    address = m.pool.alloc(head + len(raw) + 2, int.from_bytes(b"SeIm", "little"), paged=True, zero=True)
    m.memory.write(address + head, raw)
    m.memory.put_unicode_string(address, len(raw), len(raw) + 2, address + head)
    m.memory.put_ptr(out, address)
    return NTSTATUS.SUCCESS


# -- system threads ----------------------------------------------------------------------------------------


@export("PsCreateSystemThread", args="ptr, ulong, ptr, handle, ptr, ptr, ptr")
def ps_create_system_thread(
    m: Machine, out: int, access: int, attributes: int, process: int, client: int, routine: int, context: int
) -> int:
    """The thread begins when the current one waits or the system is idle."""
    need_irql(m, 0, "PsCreateSystemThread", "nf-wdm-pscreatesystemthread")
    processes = m.kernel.processes
    owner = processes.system
    if process:
        found = m.objects.resolve(process, processes.process_type)
        if isinstance(found, int):
            return found
        owner = found.body.process
    thread = processes.create_thread(owner, start=routine)
    thread.previous_mode = 0
    driver = m.driver_at(m.caller()) or m.driver_at(routine)
    table = m.objects.table_for(m.memory.u32(attributes + 3 * m.memory.pointer_size) if attributes else 0)
    handle = m.objects.open_handle(thread.body.object, access or 0x1FFFFF, table=table)
    m.memory.put_ptr(out, handle)
    if client:
        m.memory.put_ptr(client, owner.pid)
        m.memory.put_ptr(client + m.memory.pointer_size, thread.tid)
    task = Task(thread, routine, (context,), "a system thread", driver)

    def over(status: int) -> None:
        m.kernel.notify.thread(owner.pid, thread.tid, created=False)
        processes.thread_ended(thread, status)

    task.ended = over
    m.kernel.notify.thread(owner.pid, thread.tid, created=True)
    m.kernel.scheduler.add(task)
    return NTSTATUS.SUCCESS


@export("PsTerminateSystemThread", args="ulong")
def ps_terminate_system_thread(m: Machine, status: int) -> int:
    need_irql(m, 0, "PsTerminateSystemThread", "nf-wdm-psterminatesystemthread")
    if not m.kernel.scheduler.in_system_thread():
        return NTSTATUS.INVALID_PARAMETER
    raise ThreadExit(status)


# -- tokens ------------------------------------------------------------------------------------------------


@export("PsReferencePrimaryToken", args="ptr")
def ps_reference_primary_token(m: Machine, process: int) -> int:
    token = _process(m, process).body.token_object
    m.objects.reference(token)
    return int(token.address)


@export("PsDereferencePrimaryToken", args="ptr")
@export("PsDereferenceImpersonationToken", args="ptr")
def ps_dereference_token(m: Machine, token: int) -> None:
    m.objects.dereference_address(token)


@export("PsReferenceImpersonationToken", args="ptr, ptr, ptr, ptr")
def ps_reference_impersonation_token(m: Machine, thread: int, copy: int, effective: int, level: int) -> int:
    token = _thread(m, thread).body.impersonating
    if token is None:
        return 0
    m.objects.reference(token)
    m.memory.put_u8(copy, 0)
    m.memory.put_u8(effective, 0)
    m.memory.put_u32(level, 2)
    return int(token.address)


@export("PsImpersonateClient", args="ptr, ptr, uchar, uchar, ulong")
def ps_impersonate_client(m: Machine, thread: int, token: int, copy: int, effective: int, level: int) -> int:
    found = m.objects.at(token) if token else None
    if found is not None and found.type is not m.kernel.processes.token_type:
        return NTSTATUS.INVALID_PARAMETER
    _thread(m, thread).body.impersonating = found
    return NTSTATUS.SUCCESS


@export("PsRevertToSelf", args="")
def ps_revert_to_self(m: Machine) -> None:
    m.current.body.impersonating = None


@export("PsIsThreadImpersonating", args="ptr")
def ps_is_thread_impersonating(m: Machine, thread: int) -> int:
    return int(_thread(m, thread).body.impersonating is not None)
