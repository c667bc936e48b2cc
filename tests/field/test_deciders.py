"""Drivers that decide: they protect, hide, redirect; and one as it was written for Windows XP."""

from __future__ import annotations

import struct

import pytest

from harness import reference
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.workload.registry import Registry
from tests.field.world import image, ioctl, running

SERVICES = r"\REGISTRY\MACHINE\SYSTEM\CurrentControlSet\Services"
MODERN = [("6.0", "x86"), ("6.1", "x64"), ("10.0.14393", "x86"), ("10.0.26100", "x64")]


@pytest.mark.parametrize(("version", "arch"), MODERN)
@pytest.mark.parametrize("allowed", ["", "regrun.exe", "other.exe"])
def test_a_protector_denies_changes_below_the_keys_of_its_list(version: str, arch: str, allowed: str) -> None:
    with reference.boot(version, arch=arch) as guest, Registry(guest) as registry:
        guest.install_driver("protector", image("protector", arch), parameters={"Allowed": allowed})
        protected = registry.test_root / "protected"
        listed = f"{protected}\0{registry.test_root}\\also\0\0".encode("utf-16-le")
        with registry.program() as p:
            parameters = p.create_key(rf"{SERVICES}\protector\Parameters")
            p.set_value(parameters, "Protected", listed, type=ValueType.MULTI_SZ, expect=0)
            p.create_key(protected, expect=0)
            key = p.create_key(protected / "inner", expect=0)
            p.set_value(key, "old", "1", expect=0)
        assert guest.start_driver("protector") == 0
        with registry.program() as p:
            key = p.open_key(protected / "inner", expect=0)
            steps = [
                p.set_value(key, "new", "2"),
                p.delete_value(key, "old"),
                p.rename_key(key, "renamed"),
                p.delete_key(key),
            ]
            sibling = p.create_key(registry.test_root / "protected2", expect=0)
            p.set_value(sibling, "free", 1, expect=0)
            p.set_value(
                p.create_key(registry.test_root / "also"),
                "x",
                1,
                expect=NTSTATUS.ACCESS_DENIED if allowed != "regrun.exe" else 0,
            )
        if allowed == "regrun.exe":
            assert [step.status for step in steps] == [0, 0, 0, 0]
        else:
            assert [step.status for step in steps] == [NTSTATUS.ACCESS_DENIED] * 4
        assert guest.stop_driver("protector") == 0
        assert any(line.endswith(" denied") for line in guest.debug_output())


def test_a_protector_without_a_list_does_not_start() -> None:
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("protector", image("protector", "x64"), parameters={"Allowed": "x"})
        assert guest.start_driver("protector") == NTSTATUS.NOT_FOUND
        assert guest.debug_output()


@pytest.mark.parametrize(("version", "arch"), MODERN)
def test_a_hider_leaves_no_gap(version: str, arch: str) -> None:
    with running("hider", version, arch) as (_guest, registry), registry.program() as p:
        key = p.create_key(p.test_root / "hiding")
        for name in ("alpha", "hidden1", "beta", "HiddenTwo", "gamma"):
            p.create_key(key / name)
            p.set_value(key, name, name)
        keys = [p.enumerate_key(key, index) for index in range(4)]
        values = [p.enumerate_value(key, index) for index in range(4)]
        short = p.enumerate_key(key, 1, length=18)
        p.open_key(key / "hidden1", expect=0)
    assert [step.status for step in keys] == [0, 0, 0, NTSTATUS.NO_MORE_ENTRIES]
    assert [step.key_information.name for step in keys[:3]] == ["alpha", "beta", "gamma"]
    assert [step.status for step in values] == [0, 0, 0, NTSTATUS.NO_MORE_ENTRIES]
    assert [step.value_information.name for step in values[:3]] == ["alpha", "beta", "gamma"]
    assert short.status == NTSTATUS.BUFFER_OVERFLOW


@pytest.mark.parametrize(("version", "arch"), MODERN)
def test_a_sandbox_takes_keys_elsewhere(version: str, arch: str) -> None:
    device = r"\\.\FieldRedirector"
    with running("redirector", version, arch) as (guest, registry):
        real, sandbox = registry.test_root / "real", registry.test_root / "sandbox"
        with registry.program() as p:
            p.create_key(real)
            p.create_key(sandbox)
        assert guest.ioctl(device, ioctl(0), b"\0\0").status == NTSTATUS.INVALID_PARAMETER
        pair = f"{real}\0{sandbox}\0".encode("utf-16-le")
        assert guest.ioctl(device, ioctl(0), pair).status == 0
        with registry.program() as p:
            made = p.create_key(real / "app", expect=0)
            p.set_value(made, "colour", "red", expect=0)
            again = p.create_key(real / "app", expect=0)
            relative = p.open_key(p.open_key(real) / "app", expect=0)
            read = p.query_value(relative, "colour")
            name = p.query_object_name(made)
            p.open_key(real / "missing", expect=NTSTATUS.OBJECT_NAME_NOT_FOUND)
            p.open_key(sandbox / "app", expect=0)
        assert (made.disposition, again.disposition) == (1, 2)
        assert read.value == "red"
        assert name.name.lower() == str(sandbox / "app").lower()
        assert guest.ioctl(device, ioctl(1), output=4).data == struct.pack("<I", 3)
        assert guest.ioctl(device, ioctl(0), "x\0y\0".encode("utf-16-le")).status == 0
        with registry.program() as p:
            p.open_key(real / "app", expect=NTSTATUS.OBJECT_NAME_NOT_FOUND)
            p.delete_key(p.open_key(sandbox / "app", expect=0), expect=0)


@pytest.mark.parametrize("version", ["5.1", "5.2", "6.1", "10.0.19045"])
def test_a_filter_of_xp_days_counts_and_denies(version: str) -> None:
    entry = struct.Struct("<IIIII16s")
    with running("legacy", version, "x86") as (guest, registry):
        with registry.program() as p:
            key = p.create_key(p.test_root / "old")
            p.set_value(key, "free", 1, expect=0)
            p.set_value(key, "Locked", 1, expect=NTSTATUS.ACCESS_DENIED)
            p.delete_value(key, "locked", expect=NTSTATUS.ACCESS_DENIED)
            with p.on(process="second"):
                other = p.create_key(p.test_root / "other")
        table = guest.ioctl(r"\\.\FieldLegacy", ioctl(0), output=4096)
        rows = {row[0]: row for row in entry.iter_unpack(table.data)}
    mine = rows[key.process_id]
    assert mine[3:5] == (2, 2)
    # Later systems send the Ex classes for creates and opens, which this filter does not know.
    assert (mine[1] > 0) == (version == "5.1")
    assert rows[other.process_id][3:5] == (0, 0)


@pytest.mark.parametrize(("version", "arch"), MODERN)
def test_a_protector_finds_paths_in_a_prefix_table(version: str, arch: str) -> None:
    with reference.boot(version, arch=arch) as guest, Registry(guest) as registry:
        guest.install_driver("prefixes", image("prefixes", arch))
        assert guest.start_driver("prefixes") == 0
        with registry.program() as p:
            delete = p.delete_key(p.create_key(p.test_root / "inner"))
        data = guest.ioctl(r"\\.\FieldPrefixes", ioctl(0), output=96).data
        assert guest.stop_driver("prefixes") == 0
    assert delete.status == NTSTATUS.ACCESS_DENIED
    results = struct.unpack(f"<{len(data) // 4}I", data)
    none, einval, erange, truncated = 3, 22, 34, 80
    assert results[:8] == (2, 1, 1, none, none, 0, 3, 1)  # the table
    assert results[8:10] == (1, 0)  # the lock: converted, and free at last
    assert results[10] == 8_07_08_16  # REGISTRY, MACHINE, SOFTWARE, RegFilterHarness
    assert results[11:16] == (truncated, 7, erange, 0, len("no. 123"))
    assert results[16:19] == (1, 6, 1)  # pieces of ";one;;two", and no third
    assert results[19:] == (0, 1, einval, erange)
