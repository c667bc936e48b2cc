"""The object manager: references, handles, names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import reference
from harness.errors import GuestCrashed
from harness.reference import ReferenceGuest
from harness.reference.kernel.objects import KERNEL_MODE, USER_MODE, GenericMapping, KernelObject
from harness.registry.status import NTSTATUS

MAPPING = GenericMapping(0x20001, 0x20002, 0x20004, 0xF0007)


@pytest.fixture(scope="module")
def booted() -> Iterator[ReferenceGuest]:
    with reference.boot("10.0.26100") as guest:
        yield guest


@pytest.fixture
def m(booted: ReferenceGuest) -> object:
    return booted.machine


def new(guest: ReferenceGuest, deleted: list[str] | None = None) -> KernelObject:
    objects = guest.machine.objects
    kind = objects.types.get("Thing") or objects.define_type("Thing", MAPPING)
    kind.delete = None if deleted is None else lambda obj: deleted.append(obj.body)
    return objects.create(kind, "body")


def test_the_last_reference_deletes(booted: ReferenceGuest) -> None:
    deleted: list[str] = []
    obj = new(booted, deleted)
    objects = booted.machine.objects
    objects.reference(obj)
    objects.dereference(obj)
    assert deleted == []
    objects.dereference(obj)
    assert deleted == ["body"]
    assert objects.at(obj.address) is None


def test_a_handle_holds_a_reference_and_closing_gives_it_back(booted: ReferenceGuest) -> None:
    deleted: list[str] = []
    obj = new(booted, deleted)
    objects = booted.machine.objects
    handle = objects.open_handle(obj, 0x80000000)
    objects.dereference(obj)
    assert objects.resolve(handle) is obj
    assert objects.granted(handle) == MAPPING.read
    assert objects.close(handle) == 0
    assert deleted == ["body"]


def test_user_mode_sees_no_kernel_handles_and_is_held_to_its_access(booted: ReferenceGuest) -> None:
    obj = new(booted)
    machine = booted.machine
    objects = machine.objects
    with machine.running_as(booted.user):
        kernel = objects.open_handle(obj, 1)
        user = objects.open_handle(obj, 1, table=machine.current.process.body.handles)
        assert objects.is_kernel_handle(kernel)
        assert not objects.is_kernel_handle(user)
        assert objects.resolve(kernel, mode=USER_MODE) == NTSTATUS.INVALID_HANDLE
        assert objects.resolve(kernel, mode=KERNEL_MODE) is obj
        assert objects.resolve(user, access=2, mode=USER_MODE) == NTSTATUS.ACCESS_DENIED
        assert objects.resolve(user, access=2, mode=KERNEL_MODE) is obj
        assert objects.resolve(user, objects.types["Event"]) == NTSTATUS.OBJECT_TYPE_MISMATCH
        assert objects.close(user, USER_MODE) == 0
        assert objects.close(user, USER_MODE) == NTSTATUS.INVALID_HANDLE
        assert objects.close(kernel) == 0


def test_pseudo_handles_name_the_current_process_and_thread(booted: ReferenceGuest) -> None:
    machine = booted.machine
    top = 1 << 64
    with machine.running_as(booted.user):
        assert machine.objects.resolve(top - 1) is booted.user.process.body.object
        assert machine.objects.resolve(top - 2) is booted.user.body.object


def test_a_handle_belongs_to_its_process(booted: ReferenceGuest) -> None:
    obj = new(booted)
    machine = booted.machine
    handle = machine.objects.open_handle(obj, 1, table=booted.user.process.body.handles)
    with machine.running_as(machine.kernel.processes.system_thread):
        assert machine.objects.resolve(handle) == NTSTATUS.INVALID_HANDLE


def test_links_lead_through_the_dos_devices(booted: ReferenceGuest) -> None:
    namespace = booted.machine.kernel.namespace
    obj = new(booted)
    assert namespace.insert("\\Device\\Thing", obj) == 0
    assert namespace.insert("\\Device\\THING", new(booted)) == NTSTATUS.OBJECT_NAME_COLLISION
    assert not isinstance(namespace.create_link("\\DosDevices\\Thing", "\\Device\\Thing"), int)
    found = namespace.find("\\??\\thing\\below\\it")
    assert not isinstance(found, int)
    assert (found.object, found.rest) == (obj, "\\below\\it")
    assert namespace.full_name(obj) == "\\Device\\Thing"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("Device", NTSTATUS.OBJECT_PATH_SYNTAX_BAD),
        ("\\Nowhere", NTSTATUS.OBJECT_NAME_NOT_FOUND),
        ("\\Nowhere\\there", NTSTATUS.OBJECT_PATH_NOT_FOUND),
        ("\\Device\\\\x", NTSTATUS.OBJECT_NAME_INVALID),
    ],
)
def test_paths_that_lead_nowhere(booted: ReferenceGuest, path: str, status: int) -> None:
    assert booted.machine.kernel.namespace.find(path) == status


def test_links_in_a_circle_end(booted: ReferenceGuest) -> None:
    namespace = booted.machine.kernel.namespace
    namespace.create_link("\\GLOBAL??\\A", "\\GLOBAL??\\B")
    namespace.create_link("\\GLOBAL??\\B", "\\GLOBAL??\\A")
    assert namespace.find("\\??\\A") == NTSTATUS.OBJECT_NAME_INVALID


def test_a_reference_too_few_is_bugcheck_18() -> None:
    with reference.boot("6.1") as guest:
        obj = new(guest)
        obj.handles = 1
        with pytest.raises(GuestCrashed) as crash:
            guest.machine.objects.dereference_address(obj.address)
        assert crash.value.bugcheck.code == 0x18
        assert crash.value.bugcheck.parameters[1] == obj.address


def test_kernel_code_closing_what_is_not_open_is_bugcheck_93() -> None:
    with reference.boot("6.1") as guest:
        assert guest.machine.objects.close(0) == NTSTATUS.INVALID_HANDLE
        with pytest.raises(GuestCrashed) as crash:
            guest.machine.objects.close(0x4444)
        assert crash.value.bugcheck.code == 0x93


@pytest.mark.parametrize(("start", "count"), [(0, 1), (3, 2), (3, 18), (8, 8), (7, 1), (0, 64), (5, 0)])
def test_bits_of_a_map_are_set_and_cleared_and_no_others(
    booted: ReferenceGuest, start: int, count: int
) -> None:
    m = booted.machine

    def call(name: str, *arguments: int) -> int:
        return m.cpu.call(m.exports.address_of(name), bitmap, *arguments)

    bitmap = m.pool.alloc(0x40, 1, paged=False)
    buffer = bitmap + 0x20
    call("RtlInitializeBitMap", buffer, 64)
    chosen = ((1 << count) - 1) << start
    m.memory.put_u64(buffer, (1 << 64) - 1)
    call("RtlClearBits", start, count)
    assert m.memory.u64(buffer) == (1 << 64) - 1 & ~chosen
    m.memory.put_u64(buffer, 0)
    call("RtlSetBits", start, count)
    assert m.memory.u64(buffer) == chosen
    assert [call("RtlTestBit", bit) for bit in range(64)] == [chosen >> bit & 1 for bit in range(64)]
