"""What drivers import: Cm*, Zw*, Rtl* and transactions, called as the export table calls them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from filtering_world import Notification, World

from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.reference.arenas import Scratch
from harness.reference.exports import collect
from harness.reference.filtering.kernel_calls import KernelCalls
from harness.reference.filtering.keyobject import KeyObject
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.text import read_wide_z
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.registry.version import MODELLED, VISTA, WIN7, WIN8, WIN11_24H2, WS03, XP, WindowsVersion

ROOT = "\\REGISTRY\\MACHINE\\Software\\ExportTest"
EXPORTS = collect()


def exists(name: str, version: WindowsVersion, arch: str = "x64") -> bool:
    return any(entry.exists_on(version.number, Arch(arch)) for entry in EXPORTS.get(name, ()))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("CmRegisterCallback", XP),
        ("CmUnRegisterCallback", XP),
        ("CmRegisterCallbackEx", VISTA),
        ("CmSetCallbackObjectContext", VISTA),
        ("CmCallbackGetKeyObjectID", VISTA),
        ("CmGetBoundTransaction", VISTA),
        ("CmGetCallbackVersion", VISTA),
        ("CmCallbackGetKeyObjectIDEx", WIN8),
        ("CmCallbackReleaseKeyObjectIDEx", WIN8),
        ("ZwOpenKey", XP),
        ("ZwOpenKeyEx", WIN7),
        ("ZwRenameKey", WIN8),
        ("ZwCreateKeyTransacted", VISTA),
    ],
)
def test_routines_exist_from_their_first_version_on(name: str, first: WindowsVersion) -> None:
    for version in MODELLED:
        assert exists(name, version) is (version >= first), str(version)  # B-REG-02, B-VER-09


class Driver:
    """A driver in Python: calls exports in a world, with scratch memory for its arguments."""

    def __init__(self, world: World, scratch: Scratch) -> None:
        self.world = world
        self.scratch = scratch

    def call(self, name: str, *args: int) -> int:
        fitting = [e for e in EXPORTS[name] if e.exists_on(self.world.version.number, self.world.arch)]
        result: int | None = fitting[-1].function(self.world, *args)
        return 0 if result is None else result

    def attributes(self, name: str, root: int = 0) -> int:
        shape = layout("OBJECT_ATTRIBUTES", self.world.memory.pointer_size)
        address = self.scratch.alloc(shape.size)
        view = shape.at(self.world.memory, address)
        view["Length"] = shape.size
        view["RootDirectory"] = root
        view["ObjectName"] = self.scratch.unicode(name)
        view["Attributes"] = 0x240
        return address

    def cell(self, value: int = 0) -> int:
        return self.scratch.bytes(value.to_bytes(8, "little"))

    def wide(self, text: str) -> int:
        return self.scratch.bytes((text + "\0").encode("utf-16-le"))

    def u32(self, address: int) -> int:
        return self.world.memory.u32(address)

    def ptr(self, address: int) -> int:
        return self.world.memory.ptr(address)


@pytest.fixture
def driver() -> Iterator[Driver]:
    world = World(WIN11_24H2)
    with world.memory.scratch() as scratch:
        yield Driver(world, scratch)


def register(driver: Driver, altitude: str = "380010", routine: int = 0x9000) -> tuple[int, int]:
    cookie = driver.cell()
    driver.world._callbacks.setdefault(routine, (altitude, None))
    status = driver.call(
        "CmRegisterCallbackEx", routine, driver.scratch.unicode(altitude), 0x5000, 0xC0, cookie, 0
    )
    return status, cookie


def test_registering_by_export(driver: Driver) -> None:
    status, cookie = register(driver)
    assert status == 0
    assert register(driver)[0] == NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION
    value = driver.world.memory.u64(cookie)
    assert driver.call("CmUnRegisterCallback", value) == 0
    assert driver.call("CmUnRegisterCallback", value) == NTSTATUS.INVALID_PARAMETER  # B-REG-20
    assert driver.call("CmUnRegisterCallback", 0) == NTSTATUS.INVALID_PARAMETER


def test_registration_is_refused_above_apc_level(driver: Driver) -> None:
    driver.world.cpu.irql = 1
    assert register(driver)[0] == 0  # B-REG-16
    driver.world.cpu.irql = 2
    with pytest.raises(GuestCrashed) as caught:
        register(driver, "380020")
    assert caught.value.bugcheck.code == 0xC4


@pytest.mark.parametrize(("version", "expected"), [(VISTA, (1, 0)), (WIN7, (1, 1)), (WIN11_24H2, (1, 1))])
def test_callback_version(version: WindowsVersion, expected: tuple[int, int]) -> None:
    world = World(version)
    with world.memory.scratch() as scratch:
        driver = Driver(world, scratch)
        major, minor = driver.cell(9), driver.cell(9)
        driver.call("CmGetCallbackVersion", major, minor)
        assert (driver.u32(major), driver.u32(minor)) == expected  # B-INF-18
        driver.call("CmGetCallbackVersion", 0, 0)


def opened(driver: Driver, name: str = ROOT) -> tuple[int, KeyObject]:
    handle_at = driver.cell()
    status = driver.call("ZwCreateKey", handle_at, KEY_ALL_ACCESS, driver.attributes(name), 0, 0, 0, 0)
    assert status == 0
    handle = driver.ptr(handle_at)
    entry = driver.world.objects.lookup(handle)
    assert entry is not None
    key: KeyObject = entry.object.body
    return handle, key


def test_object_ids_names_and_their_arguments(driver: Driver) -> None:
    _, cookie = register(driver)
    handle, key = opened(driver)
    id_at, name_at = driver.cell(), driver.cell()
    assert driver.call("CmCallbackGetKeyObjectIDEx", cookie, key.address, id_at, name_at, 0) == 0
    assert driver.ptr(id_at) == key.key.object_id
    name = driver.ptr(name_at)
    assert driver.world.memory.read_unicode(name).upper() == ROOT.upper()  # B-INF-04
    bad = driver.cell(0xBAD)
    for arguments in ((bad, key.address, 0), (cookie, 0, 0), (cookie, key.address, 1), (cookie, handle, 0)):
        cookie_at, address, flags = arguments
        status = driver.call("CmCallbackGetKeyObjectIDEx", cookie_at, address, id_at, name_at, flags)
        assert status == NTSTATUS.INVALID_PARAMETER  # B-INF-03
    assert driver.call("CmCallbackGetKeyObjectID", bad, key.address, id_at, 0) == NTSTATUS.INVALID_PARAMETER
    assert driver.call("CmCallbackGetKeyObjectID", cookie, key.address, 0, 0) == 0  # B-INF-01
    assert driver.call("ZwClose", handle) == 0 if "ZwClose" in EXPORTS else True
    assert driver.world.memory.read_unicode(name).upper() == ROOT.upper()  # B-INF-12
    assert name in driver.world.pool.live
    driver.call("CmCallbackReleaseKeyObjectIDEx", name)
    assert name not in driver.world.pool.live


def test_the_undefined_object_of_a_post_must_not_be_used(driver: Driver) -> None:
    _, cookie = register(driver)
    with pytest.raises(GuestCrashed):
        driver.call("CmGetBoundTransaction", cookie, driver.world.engine.undefined_object)  # B-INF-14


def test_object_contexts_by_export(driver: Driver) -> None:
    _, cookie = register(driver)
    _, key = opened(driver)
    old = driver.cell(7)
    assert driver.call("CmSetCallbackObjectContext", key.address, cookie, 0x11, old) == 0
    assert driver.ptr(old) == 0
    assert driver.call("CmSetCallbackObjectContext", key.address, cookie, 0x22, old) == 0
    assert driver.ptr(old) == 0x11  # B-CTX-10
    bad = driver.cell(1)
    status = driver.call("CmSetCallbackObjectContext", key.address, bad, 0x33, 0)
    assert status == NTSTATUS.INVALID_PARAMETER  # B-CTX-17
    driver.world.seen.clear()
    assert driver.call("CmUnRegisterCallback", driver.world.memory.u64(cookie)) == 0
    assert [note.members["ObjectContext"] for note in driver.world.seen] == [0x22]  # B-REG-25


def test_requests_of_drivers_are_shown_with_their_own_pointers(driver: Driver) -> None:
    register(driver)
    handle, _ = opened(driver)
    name, data = driver.scratch.unicode("v"), driver.scratch.bytes(b"data")
    assert driver.call("ZwSetValueKey", handle, name, 0, 3, data, 4) == 0
    note = driver.world.first(Pre.SetValueKey)
    assert (note.members["ValueName"], note.members["Data"]) == (name, data)  # B-CAP-02
    assert note.mode == 0  # B-NOT-32
    assert driver.world.current.previous_mode == 0


def rtl_table(driver: Driver, *entries: tuple[int, int, int, int, int, int, int]) -> int:
    pointer = driver.world.memory.pointer_size
    raw = b"".join(value.to_bytes(pointer, "little") for entry in (*entries, (0,) * 7) for value in entry)
    return driver.scratch.bytes(raw)


def test_rtl_query_registry_values(driver: Driver) -> None:
    calls = KernelCalls(driver.world.engine)
    _, handle = calls.create(ROOT)
    calls.set(handle, "Number", 4, (42).to_bytes(4, "little"))
    calls.set(handle, "Text", 1, "abc\0".encode("utf-16-le"))
    calls.set(handle, "Many", 7, "one\0two\0\0".encode("utf-16-le"))
    seen: list[tuple[str, int, bytes]] = []

    def routine(name: int, type_: int, data: int, length: int, context: int, entry: int) -> int:
        assert (context, entry) == (0xAA, 0xBB)
        memory = driver.world.memory
        seen.append((read_wide_z(memory, name), type_, memory.read(data, length) if data else b""))
        return 0

    driver.world.cpu.routines[0x700] = routine
    number, text = driver.cell(), driver.scratch.alloc(16)
    direct, required = 0x20, 0x04
    table = rtl_table(
        driver,
        (0, direct, driver.wide("Number"), number, 0, 0, 0),
        (0, direct, driver.wide("Text"), text, 0, 0, 0),
        (0x700, 0, driver.wide("Many"), 0xBB, 0, 0, 0),
        (0x700, 0, driver.wide("Absent"), 0xBB, 4, driver.cell(5), 4),
        (0x700, 0, driver.wide("Nothing"), 0xBB, 0, 0, 0),
    )
    status = driver.call("RtlQueryRegistryValues", 0, driver.wide(ROOT), table, 0xAA, 0)
    assert status == 0
    assert driver.u32(number) == 42
    assert driver.world.memory.read_unicode(text) == "abc"
    assert seen == [
        ("Many", 1, "one\0".encode("utf-16-le")),
        ("Many", 1, "two\0".encode("utf-16-le")),
        ("Absent", 4, b"\5\0\0\0"),
    ]
    missing = rtl_table(driver, (0x700, required, driver.wide("Absent"), 0xBB, 0, 0, 0))
    status = driver.call("RtlQueryRegistryValues", 0, driver.wide(ROOT), missing, 0xAA, 0)
    assert status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_rtl_write_check_and_delete(driver: Driver) -> None:
    path = driver.wide(ROOT + "\\a\\b")
    assert driver.call("RtlCheckRegistryKey", 0, path) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert driver.call("RtlCreateRegistryKey", 0, path) == 0
    assert driver.call("RtlCheckRegistryKey", 0, path) == 0
    name, data = driver.wide("v"), driver.cell(1)
    assert driver.call("RtlWriteRegistryValue", 0, path, name, 4, data, 4) == 0
    assert driver.call("RtlDeleteRegistryValue", 0, path, name) == 0
    assert driver.call("RtlDeleteRegistryValue", 0, path, name) == NTSTATUS.OBJECT_NAME_NOT_FOUND


class Resource:
    """A volatile resource manager whose callback notes what it is told."""

    def __init__(self, driver: Driver, mask: int) -> None:
        self.driver = driver
        self.told: list[int] = []
        tm, rm, self.transaction, self.enlistment = (driver.cell() for _ in range(4))
        assert driver.call("ZwCreateTransactionManager", tm, 0x1F003F, 0, 0, 1, 0) == 0
        assert driver.call("ZwCreateResourceManager", rm, 0x1F007F, driver.ptr(tm), 0, 0, 1, 0) == 0
        obj = driver.world.objects.resolve(driver.ptr(rm))
        assert not isinstance(obj, int)
        driver.world.cpu.routines[0x800] = self.notified
        assert driver.call("TmEnableCallbacks", obj.address, 0x800, 0xCAFE) == 0
        assert driver.call("ZwCreateTransaction", self.transaction, 0x1F003F, *[0] * 8) == 0
        handles = driver.ptr(rm), driver.ptr(self.transaction)
        assert driver.call("ZwCreateEnlistment", self.enlistment, 0x1F001F, *handles, 0, 0, mask, 0xF00D) == 0

    def notified(self, enlistment: int, rm_key: int, key: int, notification: int, *_: int) -> int:
        assert (rm_key, key) == (0xCAFE, 0xF00D)
        self.told.append(notification)
        if notification == 4:
            assert self.driver.call("TmCommitComplete", enlistment, 0) == 0
        elif notification == 8:
            assert self.driver.call("TmRollbackComplete", enlistment, 0) == 0
        return 0


def test_an_enlisted_resource_manager_hears_of_the_commit(driver: Driver) -> None:
    resource = Resource(driver, 0x4 | 0x8)
    transaction = driver.ptr(resource.transaction)
    assert driver.call("ZwCommitTransaction", transaction, 1) == 0
    assert resource.told == [4]  # B-TXN-06
    assert driver.call("ZwRollbackTransaction", transaction, 1) == NTSTATUS.TRANSACTION_ALREADY_COMMITTED


def test_an_enlisted_resource_manager_hears_of_the_rollback(driver: Driver) -> None:
    resource = Resource(driver, 0xF)
    assert driver.call("ZwRollbackTransaction", driver.ptr(resource.transaction), 1) == 0
    assert resource.told == [8]


def test_a_commit_that_nobody_waits_for_is_pending_where_somebody_takes_part(driver: Driver) -> None:
    resource = Resource(driver, 0x4 | 0x8)
    assert driver.call("ZwCommitTransaction", driver.ptr(resource.transaction), 0) == NTSTATUS.PENDING
    assert resource.told == [4]
    alone = driver.cell()
    driver.call("ZwCreateTransaction", alone, 0x1F003F, *[0] * 8)
    assert driver.call("ZwCommitTransaction", driver.ptr(alone), 0) == 0


def test_a_read_only_resource_manager_hears_no_more(driver: Driver) -> None:
    resource = Resource(driver, 0xC)
    handle = driver.ptr(resource.enlistment)
    assert driver.call("ZwReadOnlyEnlistment", handle, 0) == 0
    assert driver.call("ZwReadOnlyEnlistment", handle, 0) == NTSTATUS.TRANSACTION_NOT_REQUESTED
    assert driver.call("ZwCommitTransaction", driver.ptr(resource.transaction), 1) == 0
    assert resource.told == []


def test_who_prepares_may_roll_back_and_the_commit_says_so(driver: Driver) -> None:
    resource = Resource(driver, 0xF)
    handle = driver.ptr(resource.enlistment)
    transaction = driver.ptr(resource.transaction)
    begun: list[int] = []

    def notified(enlistment: int, _rm: int, _key: int, notification: int, *_: int) -> int:
        resource.told.append(notification)
        if notification == 2:
            begun.append(driver.call("ZwCommitTransaction", transaction, 1))
            assert driver.call("ZwRollbackEnlistment", handle, 0) == 0
        return 0

    driver.world.cpu.routines[0x800] = notified
    status = driver.call("ZwCommitTransaction", transaction, 1)
    assert status == NTSTATUS.TRANSACTION_ALREADY_ABORTED
    assert begun == [NTSTATUS.TRANSACTION_REQUEST_NOT_VALID]
    assert resource.told == [1, 2, 8]


@pytest.mark.parametrize("mask", [0x1, 0x3, 0x5, 0x8000_0004])
def test_a_mask_that_makes_no_sense_is_refused(driver: Driver, mask: int) -> None:
    resource = Resource(driver, 0x4)
    manager = next(driver.world.objects.of_type(driver.world.objects.types["TmRm"]))
    handles = driver.world.objects.open_handle(manager, 0x1F007F), driver.ptr(resource.transaction)
    status = driver.call("ZwCreateEnlistment", driver.cell(), 0x1F001F, *handles, 0, 0, mask, 0)
    assert status == NTSTATUS.INVALID_PARAMETER


def test_closing_an_enlistment_early_aborts(driver: Driver) -> None:
    resource = Resource(driver, 0x4)
    driver.world.objects.close(driver.ptr(resource.enlistment))
    status = driver.call("ZwCommitTransaction", driver.ptr(resource.transaction), 1)
    assert status == NTSTATUS.TRANSACTION_ALREADY_ABORTED  # B-TXN-07


def test_the_bound_transaction_of_an_object(driver: Driver) -> None:
    _, cookie = register(driver)
    transaction = driver.cell()
    driver.call("ZwCreateTransaction", transaction, 0x1F003F, *[0] * 8)
    obj = driver.world.objects.resolve(driver.ptr(transaction))
    assert not isinstance(obj, int)
    handle_at = driver.cell()
    arguments = (handle_at, KEY_ALL_ACCESS, driver.attributes(ROOT), 0, 0, 0, driver.ptr(transaction), 0)
    assert driver.call("ZwCreateKeyTransacted", *arguments) == 0
    bound = driver.world.first(Post.CreateKeyEx).members["Object"]
    assert driver.call("CmGetBoundTransaction", cookie, bound) == obj.address  # B-INF-15
    assert driver.call("CmGetBoundTransaction", cookie, driver.world.engine.keys.root.address) == 0


@pytest.mark.parametrize("version", [WS03, VISTA, WIN11_24H2])
def test_a_post_object_can_be_opened_before_windows_8_1_only(version: WindowsVersion) -> None:
    world = World(version)
    statuses: list[int] = []

    def check(note: Notification) -> int:
        if note.notify_class is Post.CreateKeyEx:
            obj = world.objects.at(note.members["Object"])
            assert obj is not None
            assert obj.type.open_check is not None
            statuses.append(obj.type.open_check(obj, KEY_ALL_ACCESS, 0))
        return 0

    world.add("opener", "380010" if version.has_layering else None, check)
    with world.memory.scratch() as scratch:
        opened(Driver(world, scratch))
    assert statuses == [0 if version.can_open_post_object else NTSTATUS.ACCESS_DENIED]  # B-OBJ-11
