"""Run-time routines that few registry filters use: bit tests, access masks, times, one-time initialisation.

Sources: nf-wdm-rtlarebitsset, nf-wdm-rtlareallaccessesgranted, nf-ntddk-rtlsecondssince1970totime,
nf-ntddk-rtlrunonceexecuteonce, nf-ntifs-rtlntstatustodoserror.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.rtl_strings import string_bytes
from harness.reference.kernel.text import upcase_unit
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_TICKS: Final = 10_000_000
_TO_1970: Final = 11_644_473_600
_TO_1980: Final = 11_960_006_400
_DONE: Final = 2  # the state in the low bits of RTL_RUN_ONCE


def _are(m: Machine, bitmap: int, start: int, length: int, value: int) -> int:
    size, buffer = m.memory.u32(bitmap), m.memory.ptr(bitmap + m.memory.pointer_size)
    if not length or start >= size or length > size - start:
        return 0
    raw = m.memory.read(buffer, -(-size // 32) * 4)
    return int(all(raw[bit >> 3] >> (bit & 7) & 1 == value for bit in range(start, start + length)))


@export("RtlAreBitsSet", args="ptr, ulong, ulong")
def rtl_are_bits_set(m: Machine, bitmap: int, start: int, length: int) -> int:
    return _are(m, bitmap, start, length, 1)


@export("RtlAreBitsClear", args="ptr, ulong, ulong")
def rtl_are_bits_clear(m: Machine, bitmap: int, start: int, length: int) -> int:
    return _are(m, bitmap, start, length, 0)


@export("RtlAreAllAccessesGranted", args="ulong, ulong")
def rtl_are_all_accesses_granted(m: Machine, granted: int, desired: int) -> int:
    return int(not desired & ~granted)


@export("RtlAreAnyAccessesGranted", args="ulong, ulong")
def rtl_are_any_accesses_granted(m: Machine, granted: int, desired: int) -> int:
    return int(bool(granted & desired))


@export("RtlCopyLuid", args="ptr, ptr")
def rtl_copy_luid(m: Machine, target: int, source: int) -> None:
    m.memory.put_u64(target, m.memory.u64(source))


@export("RtlEqualLuid", args="ptr, ptr")
def rtl_equal_luid(m: Machine, first: int, second: int) -> int:
    return int(m.memory.u64(first) == m.memory.u64(second))


@export("RtlSecondsSince1970ToTime", args="ulong, ptr")
def rtl_seconds_since_1970_to_time(m: Machine, seconds: int, time: int) -> None:
    m.memory.put_u64(time, (seconds + _TO_1970) * _TICKS)


@export("RtlSecondsSince1980ToTime", args="ulong, ptr")
def rtl_seconds_since_1980_to_time(m: Machine, seconds: int, time: int) -> None:
    m.memory.put_u64(time, (seconds + _TO_1980) * _TICKS)


@export("RtlTimeToSecondsSince1980", args="ptr, ptr")
def rtl_time_to_seconds_since_1980(m: Machine, time: int, seconds: int) -> int:
    value = m.memory.u64(time) // _TICKS - _TO_1980
    if not 0 <= value <= 0xFFFFFFFF:
        return 0
    m.memory.put_u32(seconds, value)
    return 1


@export("RtlCompareUnicodeStrings", args="ptr, size, ptr, size, uchar", since=(6, 0))
def rtl_compare_unicode_strings(
    m: Machine, first: int, first_length: int, second: int, second_length: int, ignore_case: int
) -> int:
    """Lengths are in characters."""
    a, b = (
        [raw[i] | raw[i + 1] << 8 for i in range(0, len(raw), 2)]
        for raw in (m.memory.read(first, first_length * 2), m.memory.read(second, second_length * 2))
    )
    if ignore_case & 0xFF:
        a, b = [upcase_unit(unit) for unit in a], [upcase_unit(unit) for unit in b]
    return (a > b) - (a < b)


@export("RtlPrefixString", args="ptr, ptr, uchar")
def rtl_prefix_string(m: Machine, first: int, second: int, ignore_case: int) -> int:
    a, b = string_bytes(m, first), string_bytes(m, second)
    return int(b.upper().startswith(a.upper()) if ignore_case & 0xFF else b.startswith(a))


@export("RtlRunOnceInitialize", args="ptr", since=(6, 0))
def rtl_run_once_initialize(m: Machine, once: int) -> None:
    m.memory.put_ptr(once, 0)


@export("RtlRunOnceExecuteOnce", args="ptr, ptr, ptr, ptr", since=(6, 0))
def rtl_run_once_execute_once(m: Machine, once: int, routine: int, parameter: int, context: int) -> int:
    """The routine runs once; when it says FALSE, the next caller tries again."""
    if m.memory.ptr(once) & 3 != _DONE:
        with m.memory.scratch() as scratch:
            cell = scratch.alloc(m.memory.pointer_size)
            m.memory.put_ptr(cell, 0)
            if not m.cpu.call(routine, once, parameter, cell) & 0xFFFFFFFF:
                return NTSTATUS.UNSUCCESSFUL
            m.memory.put_ptr(once, m.memory.ptr(cell) & ~3 | _DONE)
    if context:
        m.memory.put_ptr(context, m.memory.ptr(once) & ~3)
    return NTSTATUS.SUCCESS


_CHECK_ONLY, _ASYNC, _INIT_FAILED = 1, 2, 4  # flags of the two routines below


@export("RtlRunOnceBeginInitialize", args="ptr, ulong, ptr", since=(6, 0))
def rtl_run_once_begin_initialize(m: Machine, once: int, flags: int, context: int) -> int:
    """STATUS_PENDING asks the caller to initialise and complete; threads that come meanwhile would wait."""
    if flags & ~(_CHECK_ONLY | _ASYNC):
        return NTSTATUS.INVALID_PARAMETER
    state = m.memory.ptr(once)
    if state & 3 == _DONE:
        if context:
            m.memory.put_ptr(context, state & ~3)
        return NTSTATUS.SUCCESS
    if flags & _CHECK_ONLY:
        return NTSTATUS.UNSUCCESSFUL
    m.memory.put_ptr(once, 1)
    return NTSTATUS.PENDING


@export("RtlRunOnceComplete", args="ptr, ulong, ptr", since=(6, 0))
def rtl_run_once_complete(m: Machine, once: int, flags: int, context: int) -> int:
    if m.memory.ptr(once) & 3 != 1:
        return NTSTATUS.UNSUCCESSFUL
    m.memory.put_ptr(once, 0 if flags & _INIT_FAILED else context & ~3 | _DONE)
    return NTSTATUS.SUCCESS


@export("RtlTimeToElapsedTimeFields", args="ptr, ptr")
def rtl_time_to_elapsed_time_fields(m: Machine, time: int, fields: int) -> None:
    """TIME_FIELDS of a span: days in Day, year, month and weekday 0."""
    seconds, ticks = divmod(m.memory.u64(time), _TICKS)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    m.memory.write(fields, struct.pack("<8H", 0, 0, days & 0xFFFF, hour, minute, second, ticks // 10_000, 0))


@export("PsGetCurrentProcessSessionId", args="")
def ps_get_current_process_session_id(m: Machine) -> int:
    return 0


@export("IoIs32bitProcess", args="ptr", since=(5, 1))
def io_is_32bit_process(m: Machine, irp: int) -> int:
    """Programs on this guest have the kernel's own width."""
    return int(m.memory.pointer_size == 4)


@export("MmIsDriverVerifying", args="ptr")
@export("MmIsDriverVerifyingByAddress", args="ptr", since=(6, 0))
def mm_is_driver_verifying(m: Machine, driver: int) -> int:
    return 1


@export("ZwResetEvent", args="handle, ptr")
@export("NtResetEvent", args="handle, ptr")
def zw_reset_event(m: Machine, handle: int, previous: int) -> int:
    found = m.objects.resolve(handle, m.objects.types["Event"])
    if isinstance(found, int):
        return found
    if previous:
        m.memory.put_u32(previous, m.memory.u32(found.address + 4))
    m.memory.put_u32(found.address + 4, 0)
    return NTSTATUS.SUCCESS


@export("ZwClearEvent", args="handle")
@export("NtClearEvent", args="handle")
def zw_clear_event(m: Machine, handle: int) -> int:
    return zw_reset_event(m, handle, 0)
