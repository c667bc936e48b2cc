"""Drivers as strangers write them: self-protection, a hider, a logger, transactions, one in C++."""

from __future__ import annotations

import struct

import pytest

from harness import reference
from harness.registry.status import NTSTATUS
from harness.workload.registry import Registry
from tests.field.clang import clang_image
from tests.field.world import ioctl, running

SYSTEMS = [("6.1", "x64"), ("10.0.19045", "x86"), ("10.0.26100", "x64")]


@pytest.mark.parametrize(("version", "arch"), [("6.0", "x64"), *SYSTEMS])
def test_a_product_guards_its_own_keys_and_keeps_a_table_of_processes(version: str, arch: str) -> None:
    device = r"\\.\FieldSentinel"
    with running("sentinel", version, arch) as (guest, registry):
        with registry.program() as p:
            free = p.create_key(p.test_root / "free")
            p.create_key(p.test_root / "Sentinel7")
            guarded = p.create_key(p.test_root / "Sentinel7" / "keys")
            p.set_value(free, "a", 1, expect=0)
            blocked = [p.set_value(guarded, "a", 1), p.delete_key(guarded)]
        assert [step.status for step in blocked] == [NTSTATUS.ACCESS_DENIED] * 2
        assert guest.ioctl(device, ioctl(2), struct.pack("<I", 1)).status == 0
        with registry.program() as p:
            guarded = p.open_key(p.test_root / "Sentinel7" / "keys")
            p.set_value(guarded, "a", 1, expect=0)
        line = guest.ioctl(device, ioctl(1), output=4 * 4 + 192).data
        stats = struct.unpack("<8I", guest.ioctl(device, ioctl(0), output=32).data)
    events, refused, trusted, has_sid = struct.unpack_from("<4I", line)
    assert (refused, trusted, has_sid) == (2, 1, 1)
    assert line[16:].decode("utf-16-le").rstrip("\0").startswith("\\Device\\")
    processes, seen, stopped, _images, with_sid, hashes, first, last = stats
    assert (processes, stopped) == (with_sid, 2)
    assert seen >= events > 4
    assert hashes == 4
    assert (first, last) == (1, processes)  # in the order of insertion


@pytest.mark.parametrize(("version", "arch"), [("6.0", "x64"), *SYSTEMS])
def test_a_hider_enumerates_again_and_answers_itself(version: str, arch: str) -> None:
    with running("veil", version, arch) as (guest, registry):
        with registry.program() as p:
            key = p.create_key(p.test_root / "veil")
            for name in ("a", "veiled one", "b", "Veiled two", "z"):
                p.create_key(key / name)
                p.set_value(key, name, name)
            forward = [p.enumerate_key(key, index) for index in range(4)]
            backward = [p.enumerate_key(key, index) for index in (2, 1, 0)]
            hidden = p.query_value(key, "veiled one")
            seen = p.query_value(key, "b", expect=0)
        counted = struct.unpack("<2I", guest.ioctl(r"\\.\FieldVeil", ioctl(0), output=8).data)
        debug = guest.debug_output()
    assert [step.status for step in forward] == [0, 0, 0, NTSTATUS.NO_MORE_ENTRIES]
    assert [step.name for step in forward[:3]] == ["a", "b", "z"]
    assert [step.name for step in backward] == ["z", "b", "a"]
    assert hidden.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert seen.value == "b"
    assert counted[0] == 0  # every context went with its key
    assert counted[1] > 7
    assert debug == []


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_a_logger_with_a_ring_of_pages_a_timer_and_a_thread(version: str, arch: str) -> None:
    with running("scribe", version, arch) as (guest, registry):
        with registry.program() as p:
            key = p.create_key(p.test_root / "scribe")
            for index in range(60):
                p.set_value(key, f"value {index % 7}", index, expect=0)
        data = guest.ioctl(r"\\.\FieldScribe", ioctl(0), output=28).data
        old = guest.get(r"C:\scribe.old")
    records, written, renamed, dropped, names, ticks, tree = struct.unpack("<7I", data)
    assert records == written > 60
    assert (dropped, names) == (0, tree)
    assert names >= 7
    assert renamed >= 1
    assert ticks >= 1
    lines = old.decode().split("\r\n")
    assert len(old) > 1024
    assert any(line.endswith(" set value 3") for line in lines)


@pytest.mark.parametrize(("version", "arch"), [("6.0", "x64"), *SYSTEMS])
def test_a_filter_takes_part_in_transactions(version: str, arch: str) -> None:
    with running("ledger", version, arch) as (guest, registry):
        with registry.program() as p:
            for end in (p.commit, p.rollback):
                transaction = p.create_transaction()
                key = p.create_key(p.test_root / "ledger", transaction=transaction)
                p.set_value(key, "a", 1, expect=0)
                p.set_value(key, "b", 2, expect=0)
                p.close(key)
                end(transaction, expect=0)
                p.close(transaction)
        data = guest.ioctl(r"\\.\FieldLedger", ioctl(0), output=64).data
        assert guest.stop_driver("ledger") == 0
        debug = guest.debug_output()
        assert guest.start_driver("ledger") == 0
    enlisted, changes, prepared, committed, rolled_back, told, same_id, states = struct.unpack_from(
        "<8I", data
    )
    twice, superior, reopened, basic, outcome, active, keys, _timeouts = struct.unpack_from("<8I", data, 32)
    assert (enlisted, changes, prepared, committed, rolled_back, told) == (2, 2, 1, 1, 1, 2)
    assert (same_id, states, outcome, active) == (2, 2, 1, 2)
    assert (twice, superior) == (NTSTATUS.TRANSACTION_NOT_REQUESTED, NTSTATUS.ENLISTMENT_NOT_SUPERIOR)
    assert (reopened, basic) == (0, 0)
    assert keys == 2
    assert debug == ["ledger: 0 open"]


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_a_driver_in_cpp_makes_and_ends_its_own_globals(version: str, arch: str) -> None:
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver("fortress", clang_image("fortress", arch))
        assert guest.start_driver("fortress") == 0
        with Registry(guest) as registry, registry.program() as p:
            key = p.create_key(p.test_root / "fortress")
            named = p.set_value(key, "Forbidden", 1)
            marked = p.set_value(key, "a", b"\1\xee\xee\2")
            free = [p.set_value(key, "a", b"\1\xee\2\xee"), p.set_value(key, "empty", b"")]
            p.query_value(key, "a", expect=0)
        assert guest.stop_driver("fortress") == 0
        debug = guest.debug_output()
    assert [named.status, marked.status] == [NTSTATUS.ACCESS_DENIED] * 2
    assert [step.status for step in free] == [0, 0]
    assert debug == ["fortress: constructed 1, 2", "fortress: marker", "fortress: 0 living"]


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_what_larger_drivers_lean_on(version: str, arch: str) -> None:
    with running("toolbox", version, arch) as (guest, _registry):
        failed = guest.ioctl(r"\\.\FieldToolbox", ioctl(0), output=4).data
        assert guest.debug_output() == []
    assert failed == bytes(4)
