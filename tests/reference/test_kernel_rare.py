"""Routines that few drivers need, by the results of their pages."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from harness import reference
from harness.errors import GuestCrashed
from harness.reference.kernel.dispatcher import DispatcherType, initialise
from harness.reference.machine import Machine
from harness.registry.status import NTSTATUS


@pytest.fixture(params=["x64", "x86"])
def m(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with reference.boot("6.1", arch=request.param) as guest:
        yield guest.machine


def call(m: Machine, name: str, *arguments: int) -> int:
    mask = m.memory.map.address_mask
    return m.cpu.call(m.exports.address_of(name), *(each & mask for each in arguments)) & 0xFFFF_FFFF


def wide(m: Machine, text: str) -> int:
    address = m.memory.alloc_static(2 * len(text) + 2)
    m.memory.write(address, text.encode("utf-16-le"))
    return address


def test_lengths_of_converted_text(m: Machine) -> None:
    out = m.memory.alloc_static(64)
    assert call(m, "RtlUnicodeToMultiByteSize", out, wide(m, "abc"), 6) == 0
    assert m.memory.u32(out) == 3
    assert call(m, "RtlMultiByteToUnicodeSize", out, m.memory.alloc_static(8), 5) == 0
    assert m.memory.u32(out) == 10
    assert call(m, "RtlUpcaseUnicodeToMultiByteN", out, 2, out + 32, wide(m, "abc"), 6) == 0
    assert (m.memory.read(out, 2), m.memory.u32(out + 32)) == (b"AB", 2)


@pytest.mark.parametrize(
    ("value", "base", "room", "status", "text"),
    [
        (255, 16, 8, 0, b"FF\0"),
        (0, 0, 8, 0, b"0\0"),
        (4_000_000_000, 10, 10, 0, b"4000000000"),
        (5, 2, 2, NTSTATUS.BUFFER_OVERFLOW, b""),
        (5, 7, 8, NTSTATUS.INVALID_PARAMETER, b""),
    ],
)
def test_a_number_as_characters(
    m: Machine, value: int, base: int, room: int, status: int, text: bytes
) -> None:
    out = m.memory.alloc_static(16)
    assert call(m, "RtlIntegerToChar", value, base, room, out) == status
    assert m.memory.read(out, len(text)) == text


def test_strings_are_checked(m: Machine) -> None:
    string, buffer = m.memory.alloc_static(16), wide(m, "abc")
    for length, maximum, at, status in (
        (6, 8, buffer, 0),
        (0, 0, 0, 0),
        (5, 8, buffer, NTSTATUS.INVALID_PARAMETER),
        (8, 6, buffer, NTSTATUS.INVALID_PARAMETER),
        (0, 8, 0, NTSTATUS.INVALID_PARAMETER),
    ):
        m.memory.put_unicode_string(string, length, maximum, at)
        assert call(m, "RtlValidateUnicodeString", 0, string) == status
    address, out = m.memory.alloc_static(4), m.memory.alloc_static(64)
    m.memory.write(address, bytes((10, 0, 200, 1)))
    end = m.cpu.call(m.exports.address_of("RtlIpv4AddressToStringW"), address, out)
    assert m.memory.read(out, 22).decode("utf-16-le") == "10.0.200.1\0"
    assert end == out + 20


def test_file_system_pool_is_there_or_an_exception(m: Machine) -> None:
    address = m.cpu.call(m.exports.address_of("FsRtlAllocatePoolWithTag"), 1, 32, 0x41424344)
    assert m.pool.get(address) is not None
    call(m, "ExFreePoolWithTag", address, 0x41424344)
    assert call(m, "FsRtlIsNtstatusExpected", NTSTATUS.OBJECT_NAME_NOT_FOUND) == 1
    assert call(m, "FsRtlIsNtstatusExpected", NTSTATUS.ACCESS_VIOLATION) == 0
    with pytest.raises(GuestCrashed, match="INSUFFICIENT_RESOURCES"):
        call(m, "FsRtlAllocatePoolWithTag", 1, 1 << 30, 0x41424344)


def test_the_filter_managers_locks_hold_a_critical_region(m: Machine) -> None:
    resource = m.memory.alloc_static(256)
    call(m, "ExInitializeResourceLite", resource)
    call(m, "FltAcquireResourceExclusive", resource)
    assert call(m, "KeAreApcsDisabled") == 1
    assert call(m, "ExIsResourceAcquiredExclusiveLite", resource) == 1
    call(m, "FltReleaseResource", resource)
    assert call(m, "KeAreApcsDisabled") == 0


def test_a_wait_that_could_be_cancelled_is_a_wait(m: Machine) -> None:
    event, timeout = m.memory.alloc_static(64), m.memory.alloc_static(8)
    initialise(m, event, DispatcherType.SYNCHRONIZATION_EVENT, 24, 1)
    m.memory.write(timeout, struct.pack("<q", -10_000))
    assert call(m, "FsRtlCancellableWaitForSingleObject", event, timeout, 0) == 0
    assert call(m, "FsRtlCancellableWaitForSingleObject", event, timeout, 0) == NTSTATUS.TIMEOUT


def test_the_descriptor_of_a_key_by_pointer(m: Machine) -> None:
    out, allocated = m.memory.alloc_static(16), m.memory.alloc_static(16)
    key = m.registry.keys.root
    assert call(m, "ObGetObjectSecurity", key.address, out, allocated) == 0
    descriptor = m.memory.ptr(out)
    assert m.memory.u8(allocated) == 1
    assert call(m, "RtlValidSecurityDescriptor", descriptor) & 0xFF == 1
    call(m, "ObReleaseObjectSecurity", descriptor, 1)
    assert m.pool.get(descriptor) is None
    event = m.objects.create(m.objects.types["Event"], None)
    assert call(m, "ObGetObjectSecurity", event.address, out, allocated) == 0
    assert (m.memory.ptr(out), m.memory.u8(allocated)) == (0, 0)


def test_pages_of_an_mdl_are_nobodys_until_they_are_mapped(m: Machine) -> None:
    slots = 8 // m.memory.pointer_size  # of a PHYSICAL_ADDRESS
    zero, all_ones = (0,) * slots, (m.memory.map.address_mask,) * slots
    free = m.memory.free_pages()
    mdl = m.cpu.call(m.exports.address_of("MmAllocatePagesForMdl"), *zero, *all_ones, *zero, 5000)
    arguments = mdl, 0, 1, 0, 0, 16
    first = m.cpu.call(m.exports.address_of("MmMapLockedPagesSpecifyCache"), *arguments)
    assert m.memory.read(first, 8192) == bytes(8192)
    m.memory.write(first + 4090, b"across pages")
    call(m, "MmUnmapLockedPages", first, mdl)
    assert not m.memory.is_mapped(first)
    second = m.cpu.call(m.exports.address_of("MmMapLockedPagesSpecifyCache"), *arguments)
    assert m.memory.read(second + 4090, 12) == b"across pages"
    call(m, "MmFreePagesFromMdl", mdl)
    assert not m.memory.is_mapped(second)
    call(m, "ExFreePoolWithTag", mdl, 0)
    assert m.memory.free_pages() == free
    with pytest.raises(GuestCrashed, match="MmFreePagesFromMdl"):
        call(m, "MmFreePagesFromMdl", mdl)


def test_routines_of_the_transaction_manager_are_in_modules_of_its_own_too(m: Machine) -> None:
    for module in ("ntoskrnl.exe", "tm.sys", "Ext-MS-Win-ntos-tm-l1-1-0.dll"):
        found = m.exports.find(module, "TmReadOnlyEnlistment")
        assert found is not None, module
    assert m.exports.find("fltmgr.sys", "TmReadOnlyEnlistment") is None


def test_an_unknown_thread_is_another_status_than_an_unknown_process(m: Machine) -> None:
    out = m.memory.alloc_static(8)
    assert call(m, "PsLookupProcessByProcessId", 0x7FFC, out) == NTSTATUS.INVALID_CID
    assert call(m, "PsLookupThreadByThreadId", 0x7FFC, out) == NTSTATUS.INVALID_PARAMETER
