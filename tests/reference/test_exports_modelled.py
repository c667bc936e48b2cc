"""What the guest exports: everything filters are known to import, and nothing that is two things at once."""

from __future__ import annotations

from typing import Final

import pytest

from harness.guest import Arch
from harness.reference.exports import collect
from harness.reference.machine import Machine
from tests.reference.native import machine

#: What at least three of eleven public registry filters import, and the compilers' own.
COMMON: Final = (
    "CmUnRegisterCallback", "CmRegisterCallbackEx", "DbgPrint", "IoCreateDevice", "IoCreateSymbolicLink",
    "IoDeleteDevice", "IoDeleteSymbolicLink", "IofCompleteRequest", "ExAllocatePoolWithTag",
    "PsGetCurrentProcessId", "RtlInitUnicodeString", "ExFreePool", "ExFreePoolWithTag", "KeInitializeEvent",
    "RtlCopyUnicodeString", "CmCallbackGetKeyObjectIDEx", "CmCallbackReleaseKeyObjectIDEx",
    "ObfDereferenceObject", "ZwClose", "ZwOpenKey", "memcpy", "DbgPrintEx", "IoGetCurrentProcess",
    "ObOpenObjectByPointer", "RtlAssert", "ZwQueryValueKey", "_vsnwprintf", "wcsstr", "CmRegisterCallback",
    "ExAllocatePool2", "MmIsAddressValid", "ObQueryNameString", "PsGetProcessImageFileName",
    "PsSetCreateProcessNotifyRoutineEx", "RtlEqualUnicodeString", "ZwCreateKey", "ZwSetValueKey", "memset",
    "sprintf",
)  # fmt: skip
OF_ARCH: Final = {
    Arch.X64: ("__C_specific_handler", "__chkstk"),
    Arch.X86: ("_except_handler3", "_chkstk", "_allmul", "_alldiv", "_aulldvrm", "_allshl", "_aullshr"),
}
#: From the kernel on x64, from the HAL on x86.
ELSEWHERE: Final = ("ExAcquireFastMutex", "ExReleaseFastMutex", "KeGetCurrentIrql")


@pytest.fixture(params=list(Arch), ids=str)
def either(request: pytest.FixtureRequest) -> object:
    with machine(request.param) as m:
        yield m


def test_what_filters_commonly_import_is_modelled(either: Machine) -> None:
    names = (*COMMON, *OF_ARCH[either.arch])
    found = {name: either.exports.find("ntoskrnl.exe", name) for name in names}
    assert [name for name, export in found.items() if export is None or export.declined] == []
    assert [name for name in ELSEWHERE if either.exports.find("hal.dll", name) is None] == []


def test_no_routine_is_modelled_and_declined() -> None:
    both = [
        name
        for name, entries in collect().items()
        if any(each.declined for each in entries) and not all(each.declined for each in entries)
    ]
    assert both == []


def test_a_declined_routine_says_so_once_and_fails() -> None:
    from harness import reference
    from harness.registry.status import NTSTATUS

    with reference.boot("10.0.26100") as guest:
        m = guest.machine
        address = m.exports.address_of("ZwLoadDriver")
        with m.memory.scratch() as scratch:
            name = scratch.unicode("\\Registry\\Machine\\Nothing")
            assert [m.cpu.call(address, name) & 0xFFFFFFFF for _again in range(2)] == [
                NTSTATUS.NOT_SUPPORTED
            ] * 2
        said = [line for line in guest.debug_output() if "ZwLoadDriver is not modelled" in line]
    assert len(said) == 1
