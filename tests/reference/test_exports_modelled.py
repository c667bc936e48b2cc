"""What the guest exports: everything filters are known to import, and nothing that is two things at once."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

from harness.guest import Arch
from harness.reference.exports import Convention, collect
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
NM: Final = "i686-w64-mingw32-nm"
LIBRARIES: Final = tuple(f"/usr/i686-w64-mingw32/lib/lib{name}.a" for name in ("ntoskrnl", "hal"))
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


#: What the import library has wrong: both take a second argument, or one, by every page about them.
NOT_AS_IN_THE_LIBRARY: Final = {
    "ExAcquireRundownProtectionCacheAwareEx", "ExAcquireRundownProtectionEx", "ExfReleasePushLock",
    "RtlRaiseException",
}  # fmt: skip


def conventions(library: str) -> Iterator[tuple[str, Convention, int]]:
    """Routine, convention and bytes of arguments of every decorated name in an x86 import library."""
    listed = subprocess.run([NM, library], capture_output=True, text=True, check=True).stdout
    for mark, name, size in re.findall(r" T ([@_])(\w+)@(\d+)$", listed, re.MULTILINE):
        yield name, Convention.FASTCALL if mark == "@" else Convention.STDCALL, int(size)


def test_x86_routines_take_their_arguments_as_the_import_libraries_say() -> None:
    """One that pops too little or too much breaks its caller's stack."""
    if shutil.which(NM) is None:
        pytest.skip(f"{NM} is not installed")
    theirs = {name: found for library in LIBRARIES for name, *found in conventions(library)}
    assert len(theirs) > 1000
    ours = {
        name: [each.convention, 4 * sum(kind.slots for kind in each.args)]
        for name, entries in collect().items()
        for each in entries
        if Arch.X86 in each.arches and not each.data and name in theirs
    }
    assert len(ours) > 700
    different = {name for name, found in ours.items() if found != theirs[name]}
    assert different - NOT_AS_IN_THE_LIBRARY == set()


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
