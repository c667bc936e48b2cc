"""Event tracing, which drivers built with TraceLogging or WPP carry along: nobody listens on this guest.

Registrations succeed and no provider is ever enabled, so nothing is written. Sources: nf-wdm-etwregister and
its siblings, nf-wdm-iowmiregistrationcontrol, nf-wdm-wmitracemessage.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from harness.reference.exports import VarArgs, export
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_VISTA: Final = (6, 0)
_handles = itertools.count(0x1000)


@export("EtwRegister", args="ptr, ptr, ptr, ptr", since=_VISTA)
def etw_register(m: Machine, provider: int, callback: int, context: int, handle: int) -> int:
    m.memory.put_u64(handle, next(_handles))
    return NTSTATUS.SUCCESS


@export("EtwRegisterClassicProvider", args="ptr, ulong, ptr, ptr, ptr", since=_VISTA)
def etw_register_classic_provider(
    m: Machine, provider: int, kind: int, callback: int, context: int, handle: int
) -> int:
    return etw_register(m, provider, callback, context, handle)


@export("EtwUnregister", args="ulonglong", since=_VISTA)
def etw_unregister(m: Machine, handle: int) -> int:
    return NTSTATUS.SUCCESS if handle else NTSTATUS.INVALID_HANDLE


@export("EtwSetInformation", args="ulonglong, ulong, ptr, ulong", since=(6, 2))
def etw_set_information(m: Machine, handle: int, kind: int, buffer: int, length: int) -> int:
    return NTSTATUS.SUCCESS


@export("EtwEventEnabled", args="ulonglong, ptr", since=_VISTA)
def etw_event_enabled(m: Machine, handle: int, descriptor: int) -> int:
    return 0


@export("EtwProviderEnabled", args="ulonglong, uchar, ulonglong", since=_VISTA)
def etw_provider_enabled(m: Machine, handle: int, level: int, keyword: int) -> int:
    return 0


@export("EtwWrite", args="ulonglong, ptr, ptr, ulong, ptr", since=_VISTA)
def etw_write(m: Machine, handle: int, descriptor: int, activity: int, count: int, data: int) -> int:
    return NTSTATUS.SUCCESS


@export("EtwWriteTransfer", args="ulonglong, ptr, ptr, ptr, ulong, ptr", since=_VISTA)
def etw_write_transfer(
    m: Machine, handle: int, descriptor: int, activity: int, related: int, count: int, data: int
) -> int:
    return NTSTATUS.SUCCESS


@export("EtwWriteEx", args="ulonglong, ptr, ulonglong, ulong, ptr, ptr, ulong, ptr", since=(6, 1))
def etw_write_ex(
    m: Machine,
    handle: int,
    descriptor: int,
    selection: int,
    flags: int,
    activity: int,
    related: int,
    count: int,
    data: int,
) -> int:
    return NTSTATUS.SUCCESS


@export("EtwWriteString", args="ulonglong, uchar, ulonglong, ptr, ptr", since=_VISTA)
def etw_write_string(m: Machine, handle: int, level: int, keyword: int, activity: int, text: int) -> int:
    return NTSTATUS.SUCCESS


@export("EtwActivityIdControl", args="ulong, ptr", since=_VISTA)
def etw_activity_id_control(m: Machine, control: int, activity: int) -> int:
    """EVENT_ACTIVITY_CTRL_GET_ID (1), SET (2), CREATE (3), GET_SET (4), CREATE_SET (5): nothing is kept."""
    if not 1 <= control <= 5:
        return NTSTATUS.INVALID_PARAMETER
    if control in (3, 5):
        m.memory.write(activity, next(_handles).to_bytes(16, "little"))
    elif control in (1, 4):
        m.memory.write(activity, bytes(16))
    return NTSTATUS.SUCCESS


@export("IoWMIRegistrationControl", args="ptr, ulong")
def io_wmi_registration_control(m: Machine, target: int, action: int) -> int:
    return NTSTATUS.SUCCESS


@export("WmiTraceMessage", args="ulonglong, ulong, ptr, ushort, va", cc="cdecl")
def wmi_trace_message(m: Machine, logger: int, flags: int, guid: int, number: int, rest: VarArgs) -> int:
    return NTSTATUS.SUCCESS


@export("WmiTraceMessageVa", args="ulonglong, ulong, ptr, ushort, ptr")
def wmi_trace_message_va(m: Machine, logger: int, flags: int, guid: int, number: int, va_list: int) -> int:
    return NTSTATUS.SUCCESS


@export("WmiQueryTraceInformation", args="ulong, ptr, ulong, ptr, ptr")
def wmi_query_trace_information(
    m: Machine, kind: int, out: int, length: int, needed: int, buffer: int
) -> int:
    """No session of that name or number runs."""
    return NTSTATUS.NOT_FOUND
