"""Every deliberately wrong driver is caught, each in its way; none goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness import reference
from harness.driver import ARCHITECTURES, check_signature, project_drivers
from harness.errors import DriverRefusedError, GuestCrashed, GuestHung
from harness.guest import Guest
from harness.guest.leaks import Holding, left_over
from harness.registry.status import NTSTATUS
from harness.registry.version import VISTA, WIN7, WIN10_22H2, WindowsVersion
from tests.driver import wrong_workload as workload


def trigger(guest: Guest, _name: str) -> None:
    workload.set_values(guest, "trigger")


def request(guest: Guest, _name: str) -> None:
    guest.ioctl(workload.DEVICE, workload.IOCTL)


def query(guest: Guest, _name: str) -> None:
    workload.query_value(guest)


def unload(guest: Guest, name: str) -> None:
    workload.set_values(guest, "trigger", "trigger", "trigger")
    guest.stop_driver(name)


@dataclass(frozen=True, slots=True)
class Wrong:
    """What brings a driver to do wrong, and the bugchecks that are right for it."""

    act: Callable[[Guest, str], None]
    codes: frozenset[int]
    function: str = "Callback"  # must be on the stack


def wrong(act: Callable[[Guest, str], None], *codes: int, function: str = "Callback") -> Wrong:
    return Wrong(act, frozenset(codes), function)


CRASHES = {
    "leak_at_unload": wrong(unload, 0xC4, function=""),
    "leak_per_callback": wrong(unload, 0xC4, function=""),
    "unregister_forgotten": wrong(unload, 0xC4, 0xCE, function=""),
    "double_free": wrong(trigger, 0xC2),
    "use_after_free": wrong(trigger, 0xCC),
    "pool_overrun": wrong(trigger, 0xD6, 0xC1, 0x19),
    "wild_write": wrong(trigger, 0x50),
    "null_write": wrong(trigger, 0x135),
    "user_pointer": wrong(query, 0x135),
    "region_kept": wrong(trigger, 0x01),
    "raised_irql": wrong(trigger, 0xC4, 0xA, 0x4A, 0xC8, 0xD1, function=""),
    "writes_read_only": wrong(trigger, 0xBE),
    "executes_data": wrong(trigger, 0xFC, function=""),
    "stack_overflow": wrong(trigger, 0x7F, function="Deeper"),
    "event_freed": wrong(trigger, 0xCC, function=""),
    "keeps_structure": wrong(trigger, 0x50),
    "keeps_name": wrong(trigger, 0x50, function="LaterOnName"),
    "broken_links": wrong(unload, 0x50, 0x7E, function=""),
    "waits_in_dpc": wrong(trigger, 0xC4, function="Deferred"),
    "exception_in_irp": wrong(request, 0x1E, 0x3B, 0x7E, 0x8E, function="Control"),
    "irp_completed_twice": wrong(request, 0x44, function="Control"),
}

HANGS = {
    "infinite_loop": trigger,
    "irp_never_completed": request,
}

#: What no bugcheck tells, and what of it is left after the unload.
LEAKS = {
    "handle_kept": {Holding.HANDLES},
    "reference_kept": {Holding.REFERENCES},
    "process_kept": {Holding.PROCESS_REFERENCES, Holding.KERNEL_HANDLES},
    "stays_loaded": {Holding.DRIVERS, Holding.CALLBACKS, Holding.POOL},
}

OTHERS = {"blocks_silently", "edits_input", "odd_answers", "unmodelled_import", "entry_fails"}


def test_every_wrong_driver_is_judged_here() -> None:
    written = {
        name
        for name, spec in project_drivers().items()
        if any(s.parent.name == "wrong" for s in spec.sources)
    }
    assert written == set(CRASHES) | set(HANGS) | set(LEAKS) | OTHERS


@pytest.mark.parametrize("name", sorted(CRASHES))
def test_a_crash_is_named(name: str, arch: str) -> None:
    expected = CRASHES[name]
    with workload.started(name, arch, WIN10_22H2) as guest, pytest.raises(GuestCrashed) as caught:
        expected.act(guest, name)
    bugcheck = caught.value.bugcheck
    assert bugcheck.code in expected.codes, str(bugcheck)
    assert name in bugcheck.driver or any(name in frame.module for frame in bugcheck.stack), str(bugcheck)
    if expected.function:
        assert any(frame.function == expected.function for frame in bugcheck.stack), str(bugcheck)


@pytest.mark.parametrize("name", sorted(CRASHES))
def test_it_behaves_until_then(name: str, arch: str) -> None:
    with workload.started(name, arch, WIN10_22H2) as guest:
        assert workload.set_values(guest, "harmless", "") == [0, 0]


@pytest.mark.parametrize("name", sorted(HANGS))
def test_a_hang_is_named(name: str, arch: str) -> None:
    started = workload.started(name, arch, WIN10_22H2, deadline=1.0)
    with started as guest, pytest.raises(GuestCrashed) as caught:
        HANGS[name](guest, name)
    bugcheck = caught.value.bugcheck
    assert isinstance(caught.value, GuestHung) or bugcheck.code == 0xC9, str(bugcheck)
    assert name in str(bugcheck)


@pytest.mark.parametrize("name", sorted(LEAKS))
def test_a_leak_without_a_bugcheck_is_told(name: str, arch: str) -> None:
    with reference.boot(WIN10_22H2, arch=arch) as guest:
        before = guest.outstanding()
        guest.install_driver(name, workload.driver_image(f"wrong/{name}.c", arch))
        assert guest.start_driver(name) == 0
        workload.set_values(guest, "harmless", "trigger", "trigger")
        guest.stop_driver(name)
        left = left_over(before.held, guest.outstanding().held)
    assert {held.kind for held in left} == LEAKS[name], left
    for held in left:
        if held.kind is Holding.DRIVERS:
            assert held.what == f"{name}.sys"
        elif held.kind is Holding.CALLBACKS:
            assert name in held.what
        else:
            assert held.count == 2, held


def test_a_driver_that_gives_everything_back_leaves_nothing(arch: str) -> None:
    with reference.boot(WIN10_22H2, arch=arch) as guest:
        before = guest.outstanding()
        guest.install_driver("blocks_silently", workload.driver_image("wrong/blocks_silently.c", arch))
        assert guest.start_driver("blocks_silently") == 0
        workload.set_values(guest, "trigger")
        guest.stop_driver("blocks_silently")
        assert left_over(before.held, guest.outstanding().held) == ()
    assert not before.unknown


def test_the_stack_goes_on_through_the_kernel_routine_that_called_back(arch: str) -> None:
    with workload.started("waits_in_dpc", arch, WIN10_22H2) as guest, pytest.raises(GuestCrashed) as caught:
        workload.set_values(guest, "trigger")
    functions = [frame.function for frame in caught.value.bugcheck.stack]
    assert functions == ["KeWaitForSingleObject", "Deferred", "KeInsertQueueDpc", "Callback"]


def test_answers_without_a_documented_meaning_are_remarked_once(arch: str) -> None:
    odd = {
        "input": "RegNtPreSetValueKey: the callback at 425000 changed input members",
        "status": "RegNtPostSetValueKey: the callback at 425000 wrote Status",
        "ignored": "RegNtPostSetValueKey: the callback at 425000 set ReturnStatus and returned",
        "failed": "RegNtPostSetValueKey: the callback at 425000 returned STATUS_ACCESS_DENIED",
    }
    with workload.started("odd_answers", arch, WIN10_22H2) as guest:
        workload.set_values(guest, "harmless")
        assert guest.debug_output() == []
        for name, remark in odd.items():
            workload.set_values(guest, name, name)
            (line,) = guest.debug_output()
            assert line.startswith(f"[reference guest] odd_answers.sys, {remark}")


@pytest.mark.parametrize(
    ("name", "where"), [("keeps_structure", "bytes into"), ("keeps_name", "a string or buffer of")]
)
@pytest.mark.parametrize("version", [WIN7, WIN10_22H2], ids=str)
def test_what_was_kept_is_told(name: str, where: str, version: WindowsVersion, arch: str) -> None:
    with workload.started(name, arch, version) as guest, pytest.raises(GuestCrashed) as caught:
        trigger(guest, name)
    bugcheck = caught.value.bugcheck
    assert bugcheck.driver == f"{name}.sys"
    assert f"{where} the structure of RegNtPreSetValueKey" in bugcheck.reason
    assert any(frame.source for frame in bugcheck.stack), str(bugcheck)


def test_how_much_leaked_is_told(arch: str) -> None:
    with (
        workload.started("leak_per_callback", arch, WIN10_22H2) as guest,
        pytest.raises(GuestCrashed) as caught,
    ):
        unload(guest, "leak_per_callback")
    bugcheck = caught.value.bugcheck
    assert bugcheck.parameters[0] == 0x62, str(bugcheck)
    assert 3 in bugcheck.parameters or "3" in bugcheck.reason, str(bugcheck)


def test_a_silent_block_reaches_the_caller(arch: str) -> None:
    with workload.started("blocks_silently", arch, WIN10_22H2) as guest:
        assert workload.delete_value(guest) == NTSTATUS.ACCESS_DENIED


def test_vista_swallows_what_windows_7_does_not(arch: str) -> None:
    """B-NOT-39, B-NOT-40."""
    with workload.started("null_write", arch, VISTA) as guest:
        assert workload.set_values(guest, "trigger") == [0]
        (told,) = [line for line in guest.debug_output() if "swallows" in line]
    assert "access violation, write of 0x0" in told
    assert "null_write.c:1" in told
    with workload.started("null_write", arch, WIN7) as guest, pytest.raises(GuestCrashed) as caught:
        workload.set_values(guest, "trigger")
    assert caught.value.bugcheck.code == 0x135


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_unmodelled_imports_are_named_all_at_once(arch: str) -> None:
    with reference.boot(WIN10_22H2, arch=arch) as guest:
        guest.install_driver("wrong", workload.driver_image("wrong/unmodelled_import.c", arch))
        with pytest.raises(DriverRefusedError) as caught:
            guest.start_driver("wrong")
    named = " ".join(caught.value.unmodelled)
    assert "FsRtlUninitializeFileLock" in named
    assert "FsRtlNotifyUninitializeSync" in named


def test_a_failing_entry_gives_its_status(arch: str) -> None:
    with reference.boot(WIN10_22H2, arch=arch) as guest:
        guest.install_driver("wrong", workload.driver_image("wrong/entry_fails.c", arch))
        try:
            status = guest.start_driver("wrong")
        except DriverRefusedError as error:
            status = error.status
        assert status == NTSTATUS.INSUFFICIENT_RESOURCES


def unsigned(image: bytes) -> bytes:
    from harness.driver.pysign import remove_signature

    return remove_signature(image)


def tampered(image: bytes) -> bytes:
    changed = bytearray(image)
    changed[0x410] ^= 1
    assert not check_signature(bytes(changed)).ok
    return bytes(changed)


@pytest.mark.parametrize("spoil", [unsigned, tampered])
def test_a_bad_signature_is_refused_on_x64(spoil: Callable[[bytes], bytes]) -> None:
    image = spoil(workload.driver_image("samples/traits_legacy.c", "x64"))
    with reference.boot(WIN10_22H2, arch="x64") as guest:
        guest.install_driver("bad", image)
        with pytest.raises(DriverRefusedError) as caught:
            guest.start_driver("bad")
        assert caught.value.status == NTSTATUS.INVALID_IMAGE_HASH


@pytest.mark.parametrize("spoil", [unsigned, tampered])
def test_signatures_are_not_enforced_on_x86(spoil: Callable[[bytes], bytes]) -> None:
    """XP and every x86 Windows load what is not signed, or not signed well."""
    image = spoil(workload.driver_image("samples/traits_legacy.c", "x86"))
    with reference.boot(WIN10_22H2, arch="x86") as guest:
        guest.install_driver("bad", image)
        assert guest.start_driver("bad") == 0
