"""Each thing registry filtering offers, as one driver tries them all from its own requests."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from harness.reference.guest import ReferenceGuest
from harness.registry.status import NTSTATUS
from harness.workload.registry import Registry
from tests.field.world import ioctl, running

DEVICE = r"\\.\FieldFeatures"
DENIED = NTSTATUS.ACCESS_DENIED
MISSING = NTSTATUS.OBJECT_NAME_NOT_FOUND
PENDING = NTSTATUS.PENDING
NOT_ACTIVE = 0xC0190003  # STATUS_TRANSACTION_NOT_ACTIVE
ALREADY_ABORTED = 0xC0190015  # STATUS_TRANSACTION_ALREADY_ABORTED

BLOCK, BYPASS, FAIL, RESCUE, ENLIST, REPLAY, CALL_CONTEXT, OBJECT_CONTEXT = range(8)
ALTITUDE_BLOCK, ALTITUDE_CALL, VERSION, ABANDON, LATE, CAPTURE_START, CAPTURE_STOP = range(8, 15)

World = tuple[ReferenceGuest, Registry]


@pytest.fixture(
    params=[("6.0", "x64"), ("6.1", "x86"), ("6.3", "x64"), ("10.0.17763", "x86"), ("10.0.26100", "x64")],
    ids=lambda each: "-".join(each),
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    version, arch = request.param
    with running("features", version, arch) as both:
        yield both


def _run(world: World, feature: int) -> tuple[int, ...]:
    guest, registry = world
    answer = guest.ioctl(DEVICE, ioctl(feature), str(registry.test_root).encode("utf-16-le"), output=32)
    assert answer.status == 0
    return struct.unpack("<8I", answer.data)


def test_a_pre_callback_blocks(world: World) -> None:
    assert _run(world, BLOCK) == (0, DENIED, DENIED, 0, 0, PENDING, MISSING, MISSING)


def test_a_pre_callback_does_the_work_itself(world: World) -> None:
    assert _run(world, BYPASS) == (0, 0, 0, 0, 0, PENDING, 0, MISSING)


def test_a_post_callback_turns_success_into_failure(world: World) -> None:
    assert _run(world, FAIL) == (0, 0, DENIED, 0, 0, 0, MISSING, 0)


def test_a_post_callback_turns_failure_into_success(world: World) -> None:
    assert _run(world, RESCUE) == (0, 0, 0, MISSING, MISSING, 0, 0, 0)


def test_a_resource_manager_hears_the_outcome(world: World) -> None:
    assert _run(world, ENLIST) == (0, 0, 0, 0, MISSING, 0, 4, 0)


def test_an_abandoned_enlistment_ends_the_transaction(world: World) -> None:
    _, _, created, enlisted, _, committed, outcome, left = _run(world, ABANDON)
    assert (created, enlisted, committed) == (NOT_ACTIVE, 0, ALREADY_ABORTED)
    assert (outcome, left) == (0, MISSING)


def test_a_handle_of_a_callback_is_closed_by_a_system_thread(world: World) -> None:
    assert _run(world, LATE) == (0, 0, 0, 0, 0, 0, 4, 0)


def test_a_second_key_shares_the_fate_of_the_transaction(world: World) -> None:
    assert _run(world, REPLAY) == (0, 0, 0, 0, 0, 0, 0, MISSING)


def test_a_call_context_reaches_the_post_callback(world: World) -> None:
    assert _run(world, CALL_CONTEXT) == (0, 0, 0, 2, 0, 0, PENDING, 0)


def test_an_object_context_belongs_to_one_handle(world: World) -> None:
    assert _run(world, OBJECT_CONTEXT) == (0, 0, 0, 2, 2, 1, 0, 0)


def test_a_block_in_the_middle_is_not_seen_below(world: World) -> None:
    assert _run(world, ALTITUDE_BLOCK) == (DENIED, 1, 1, 1, 0, 0, 0, PENDING)


def test_calls_of_the_middle_are_seen_below_only(world: World) -> None:
    # The filter below sees the create and, before and after, an open by the one in the middle.
    assert _run(world, ALTITUDE_CALL) == (0, 1, 1, 1, 1, 3, 3, 0)


def test_the_version_is_told_twice(world: World) -> None:
    version = world[0].info.version
    major, minor, started, created, structure, remaining, _, _ = _run(world, VERSION)
    assert (major, minor) == version.callback_version
    assert (started, created) == (0, 0)
    if version.has_create_v1:
        assert (structure, remaining) == (1, len("version") * 2)
    else:
        assert structure == 0


def test_what_a_user_passes_is_captured_first(world: World) -> None:
    guest, registry = world
    assert guest.ioctl(DEVICE, ioctl(CAPTURE_START)).status == 0
    with registry.program() as p:
        key = p.create_key(p.test_root / "capture")
        p.set_value(key, "captured", "red", expect=0)
        read = p.query_value(key, "captured")
        p.set_value(key, "captured", None, data_size=0)
    assert read.value == "red"
    probed = guest.ioctl(DEVICE, ioctl(CAPTURE_STOP), output=4)
    captured = guest.info.version.number >= (6, 2)
    assert probed.status == 0
    assert probed.data == (NTSTATUS.ACCESS_VIOLATION if captured else 0).to_bytes(4, "little")
