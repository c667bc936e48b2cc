"""The filter manager, as far as registry filters that are minifilters besides touch it.

Registration is accepted so that such drivers load; no file operation is ever filtered, and what would need
one answers STATUS_NOT_SUPPORTED. The debug output says so. Sources: nf-fltkernel-fltregisterfilter,
nf-fltkernel-fltgetfilenameinformation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, need_irql
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_FLT: Final = ("fltmgr.sys",)


@export("FltRegisterFilter", args="ptr, ptr, ptr", modules=_FLT)
def flt_register_filter(m: Machine, driver: int, registration: int, out: int) -> int:
    need_irql(m, 0, "FltRegisterFilter", "nf-fltkernel-fltregisterfilter")
    handle = m.objects.heap.alloc(64)
    m.kernel.minifilters[handle] = m.driver_at(m.caller())
    m.memory.put_ptr(out, handle)
    m.kernel.debug.note("FltRegisterFilter was accepted; the model filters no file operations")
    return NTSTATUS.SUCCESS


@export("FltStartFiltering", args="ptr", modules=_FLT)
def flt_start_filtering(m: Machine, handle: int) -> int:
    return NTSTATUS.SUCCESS if handle in m.kernel.minifilters else NTSTATUS.INVALID_PARAMETER


@export("FltUnregisterFilter", args="ptr", modules=_FLT)
def flt_unregister_filter(m: Machine, handle: int) -> None:
    if m.kernel.minifilters.pop(handle, None) is None:
        m.bugcheck(0xC4, 0xE1, handle, 0, 0, reason="FltUnregisterFilter of something that is no filter")


def _unsupported(m: Machine, what: str) -> int:
    m.kernel.debug.note(f"{what} is not modelled: STATUS_NOT_SUPPORTED")
    return NTSTATUS.NOT_SUPPORTED


@export("FltGetFileNameInformation", args="ptr, ulong, ptr", modules=_FLT)
def flt_get_file_name_information(m: Machine, data: int, options: int, out: int) -> int:
    need_irql(m, APC_LEVEL, "FltGetFileNameInformation", "nf-fltkernel-fltgetfilenameinformation")
    m.memory.put_ptr(out, 0)
    return _unsupported(m, "FltGetFileNameInformation")


@export("FltGetFileNameInformationUnsafe", args="ptr, ptr, ulong, ptr", modules=_FLT)
def flt_get_file_name_information_unsafe(m: Machine, file: int, instance: int, options: int, out: int) -> int:
    m.memory.put_ptr(out, 0)
    return _unsupported(m, "FltGetFileNameInformationUnsafe")


@export("FltParseFileNameInformation", args="ptr", modules=_FLT)
def flt_parse_file_name_information(m: Machine, information: int) -> int:
    return _unsupported(m, "FltParseFileNameInformation")


@export("FltReleaseFileNameInformation", args="ptr", modules=_FLT)
def flt_release_file_name_information(m: Machine, information: int) -> None:
    return None


@export("FltBuildDefaultSecurityDescriptor", args="ptr, ulong", modules=_FLT)
def flt_build_default_security_descriptor(m: Machine, out: int, access: int) -> int:
    m.memory.put_ptr(out, 0)
    return _unsupported(m, "FltBuildDefaultSecurityDescriptor")


@export("FltFreeSecurityDescriptor", args="ptr", modules=_FLT)
def flt_free_security_descriptor(m: Machine, descriptor: int) -> None:
    return None


@export("FltCreateCommunicationPort", args="ptr, ptr, ptr, ptr, ptr, ptr, ptr, long", modules=_FLT)
def flt_create_communication_port(
    m: Machine,
    filter_: int,
    out: int,
    attributes: int,
    cookie: int,
    connect: int,
    gone: int,
    message: int,
    limit: int,
) -> int:
    m.memory.put_ptr(out, 0)
    return _unsupported(m, "FltCreateCommunicationPort")


@export("FltCloseCommunicationPort", args="ptr", modules=_FLT)
def flt_close_communication_port(m: Machine, port: int) -> None:
    return None


@export("FltCloseClientPort", args="ptr, ptr", modules=_FLT)
def flt_close_client_port(m: Machine, filter_: int, port: int) -> None:
    return None


@export("FltSendMessage", args="ptr, ptr, ptr, ulong, ptr, ptr, ptr", modules=_FLT)
def flt_send_message(
    m: Machine, filter_: int, port: int, buffer: int, size: int, reply: int, reply_size: int, timeout: int
) -> int:
    return _unsupported(m, "FltSendMessage")


@export("FltGetRequestorProcess", args="ptr", modules=_FLT)
def flt_get_requestor_process(m: Machine, data: int) -> int:
    return m.current.process.address


@export("FltGetRequestorProcessId", args="ptr", modules=_FLT)
def flt_get_requestor_process_id(m: Machine, data: int) -> int:
    return m.current.process.pid
