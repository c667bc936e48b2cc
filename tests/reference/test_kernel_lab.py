"""The kernel API as compiled drivers use it: threads, timers, locks, tables, files, and what stops it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import reference
from harness.driver import build_signed
from harness.errors import GuestCrashed, GuestHung, ToolMissingError
from harness.reference import ReferenceGuest
from harness.registry.status import NTSTATUS

SOURCE = Path(__file__).parent / "drivers" / "lab"
DEVICE = r"\\.\Lab"
TARGETS = [("10.0.26100", "x64"), ("6.1", "x86"), ("5.1", "x86")]


def control_code(number: int, method: int = 0) -> int:
    return 0x22 << 16 | (0x900 + number) << 2 | method


@pytest.fixture(params=TARGETS, ids=lambda each: f"{each[0]}-{each[1]}")
def lab(request: pytest.FixtureRequest) -> Iterator[ReferenceGuest]:
    """A guest with the laboratory driver running."""
    version, arch = request.param
    try:
        image = build_signed(SOURCE, arch).read()
    except ToolMissingError as error:
        pytest.skip(str(error))
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver("lab", image)
        assert guest.start_driver("lab") == 0
        yield guest


def run(guest: ReferenceGuest, number: int) -> int:
    result = guest.ioctl(DEVICE, control_code(number), output=4)
    assert result.status == 0
    assert result.information == 4
    return int.from_bytes(result.data, "little")


def test_a_worker_thread_answers_and_ends_at_unload(lab: ReferenceGuest) -> None:
    assert [run(lab, 0), run(lab, 0)] == [1, 2]
    assert lab.stop_driver("lab") == 0
    said = lab.debug_output()
    assert said[0] == r"lab: \REGISTRY\MACHINE\SYSTEM\ControlSet001\Services\lab"
    assert said[-1] == "lab: 2 rounds, unloaded"


def test_a_timer_fires_its_dpc_at_dispatch_level(lab: ReferenceGuest) -> None:
    assert run(lab, 1) == 2


def test_a_wait_times_out_without_anybody_sleeping(lab: ReferenceGuest) -> None:
    assert run(lab, 2) == NTSTATUS.TIMEOUT


def test_an_avl_table_sorts_refuses_twins_and_frees(lab: ReferenceGuest) -> None:
    # 10, 20, 50, 80, 90 weighted by place, then the count
    assert run(lab, 3) == (10 + 200 + 5000 + 80000 + 900000) * 10 + 5


def test_a_file_written_by_a_driver_can_be_got(lab: ReferenceGuest) -> None:
    assert run(lab, 4) == 19
    assert lab.get(r"C:\harness\lab.txt") == b"written by a driver"


def test_locks_raise_and_restore_the_irql(lab: ReferenceGuest) -> None:
    assert run(lab, 5) == 21710


def test_the_requester_is_the_runner(lab: ReferenceGuest) -> None:
    assert run(lab, 6) == 1


def test_a_pending_request_is_completed_by_a_work_item(lab: ReferenceGuest) -> None:
    assert run(lab, 7) == 0x600D
    assert run(lab, 8) == 0  # the work item ran at PASSIVE_LEVEL


def test_information_beyond_the_buffer_is_cut(lab: ReferenceGuest) -> None:
    result = lab.ioctl(DEVICE, control_code(9), output=8)
    assert (result.status, len(result.data)) == (0, 8)
    assert any("output buffer has 8 bytes" in line for line in lab.debug_output())


@pytest.mark.parametrize("method", [1, 2])
def test_direct_requests_reach_the_users_pages(lab: ReferenceGuest, method: int) -> None:
    result = lab.ioctl(DEVICE, control_code(0x80, method), b"aBcD", output=6)
    assert (result.status, result.data) == (0, b"AbCd..")


def test_a_long_direct_buffer_keeps_its_order(lab: ReferenceGuest) -> None:
    data = bytes(range(256)) * 40
    result = lab.ioctl(DEVICE, control_code(0x80, 2), data, output=len(data))
    assert result.data == bytes(each ^ 0x20 for each in data)


def test_an_unknown_code_is_the_drivers_to_refuse(lab: ReferenceGuest) -> None:
    assert lab.ioctl(DEVICE, control_code(0x70), output=4).status == NTSTATUS.INVALID_DEVICE_REQUEST


def test_a_major_function_nobody_set_is_refused_by_the_io_manager(lab: ReferenceGuest) -> None:
    assert lab.read_device(DEVICE, 16).status == NTSTATUS.INVALID_DEVICE_REQUEST


@pytest.mark.parametrize(
    ("number", "code", "first"),
    [
        (1, 0x0F, None),
        (2, 0xC4, 0x121),
        (3, 0x18, None),
        (4, 0xC4, 0xE5),
        (5, 0xC9, 0x05),
        (6, 0xC2, 7),
        (8, 0xC4, 0xC5),
        (9, 0xDEAD, 1),
        (10, 0x93, 0x1234),
    ],
)
def test_a_mistake_stops_the_machine(lab: ReferenceGuest, number: int, code: int, first: int | None) -> None:
    with pytest.raises(GuestCrashed) as crash:
        lab.ioctl(DEVICE, control_code(0x40 + number))
    assert crash.value.bugcheck.code == code
    assert crash.value.bugcheck.driver == "lab.sys"
    if first is not None:
        assert crash.value.bugcheck.parameters[0] == first
    with pytest.raises(GuestCrashed):  # and it stays stopped
        lab.ioctl(DEVICE, control_code(6), output=4)


@pytest.mark.parametrize("number", [0, 7])
def test_what_nothing_can_end_is_a_hang(lab: ReferenceGuest, number: int) -> None:
    with pytest.raises(GuestHung, match="nothing"):
        lab.ioctl(DEVICE, control_code(0x40 + number))


def test_lowering_to_a_higher_irql(lab: ReferenceGuest) -> None:
    """x64 drivers write CR8 themselves; there it shows when the dispatch routine returns."""
    with pytest.raises(GuestCrashed) as crash:
        lab.ioctl(DEVICE, control_code(0x40 + 11))
    expected = (0xC9, 0x05) if lab.info.arch == "x64" else (0xC4, 0x31)
    assert (crash.value.bugcheck.code, crash.value.bugcheck.parameters[0]) == expected
