"""UEFI firmware found by descriptors, as QEMU's docs/interop/firmware.json defines them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InfrastructureError, ToolMissingError
from harness.machine.describe.firmware import find_firmware
from harness.machine.describe.spec import Firmware, Hardware

SECURE = ("acpi-s3", "enrolled-keys", "requires-smm", "secure-boot")
PLAIN = Hardware(firmware=Firmware.UEFI)
SECURED = Hardware(firmware=Firmware.UEFI_SECURE)


def describe(
    folder: Path,
    name: str,
    *,
    features: Sequence[str] = (),
    machines: Sequence[str] = ("pc-q35-*",),
    **mapping: object,
) -> Path:
    """A descriptor, and the files it names; returns its code."""
    folder.mkdir(exist_ok=True)
    code, variables = folder / f"{name}.code", folder / f"{name}.vars"
    code.touch()
    variables.touch()
    content = {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(code), "format": "raw"},
            "nvram-template": {"filename": str(variables), "format": "raw"},
            **mapping,
        },
        "targets": [{"architecture": "x86_64", "machines": list(machines)}],
        "features": list(features),
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    return code


def test_a_bios_needs_none(tmp_path: Path) -> None:
    assert find_firmware(Hardware(), [tmp_path]) is None


def test_secure_boot_needs_enrolled_keys_and_plain_uefi_gets_neither(tmp_path: Path) -> None:
    describe(tmp_path, "10-keyless", features=("requires-smm", "secure-boot"))
    enrolled = describe(tmp_path, "20-enrolled", features=SECURE)
    plain = describe(tmp_path, "30-plain", features=("acpi-s3",), machines=("pc-i440fx-*", "pc-q35-*"))
    secured, unsecured = find_firmware(SECURED, [tmp_path]), find_firmware(PLAIN, [tmp_path])
    assert secured is not None
    assert unsecured is not None
    assert (secured.code, secured.secure, secured.smm) == (enrolled, True, True)
    assert (unsecured.code, unsecured.secure, unsecured.smm) == (plain, False, False)


def test_machines_match_by_short_and_versioned_names(tmp_path: Path) -> None:
    describe(tmp_path, "10", machines=("pc-q35-*",))
    for machine in ("q35", "pc-q35-7.2"):
        assert find_firmware(replace(PLAIN, machine=machine), [tmp_path])
    with pytest.raises(ToolMissingError, match="apt-get install ovmf"):
        find_firmware(replace(PLAIN, machine="pc"), [tmp_path])


def test_secure_boot_on_an_old_machine_is_told_what_it_needs(tmp_path: Path) -> None:
    describe(tmp_path, "10", features=SECURE)
    with pytest.raises(ToolMissingError, match="needs a q35 machine"):
        find_firmware(replace(SECURED, machine="pc"), [tmp_path])


def test_the_administrators_descriptor_overrides_the_packages(tmp_path: Path) -> None:
    own, packages = tmp_path / "etc", tmp_path / "usr"
    describe(packages, "10")
    wanted = describe(packages, "20")
    own.mkdir()
    (own / "10.json").write_bytes(b"")  # an empty one hides its namesake
    found = find_firmware(PLAIN, [own, packages])
    assert found is not None
    assert found.code == wanted


def test_firmware_whose_files_are_gone_or_not_for_a_pc_is_passed_over(tmp_path: Path) -> None:
    describe(tmp_path, "10").unlink()
    describe(tmp_path, "20", executable={"filename": "/x", "format": "qcow2"})
    describe(tmp_path, "30", device="memory")
    wanted = describe(tmp_path, "40")
    found = find_firmware(PLAIN, [tmp_path])
    assert found is not None
    assert found.code == wanted


def test_a_damaged_descriptor_is_named(tmp_path: Path) -> None:
    for content in (b"{", b"[]"):
        (tmp_path / "10.json").write_bytes(content)
        with pytest.raises(InfrastructureError, match=r"10\.json"):
            find_firmware(PLAIN, [tmp_path])
