"""Targets with axes: how they are named, and which of the project's machines can't have which."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.image.recipe import load_recipe
from harness.machine.describe.axes import Axis, refusal, split_axes
from harness.targets import known_targets, parse_target, resolve_targets
from tests.image.recipes import ADOPTED, write_recipe


def names(*given: str) -> list[str]:
    return [target.name for target in resolve_targets(given)]


def test_a_machine_with_axes_is_another_target_of_the_same_recipe() -> None:
    plain, verified = resolve_targets(["vm:win11-24h2", "vm:win11-24h2+verifier"])
    assert plain != verified
    assert plain.recipe == verified.recipe
    assert (plain.axes, verified.axes) == ((), (Axis.VERIFIER,))
    assert verified.version == plain.version


def test_however_they_are_written_they_are_one_target() -> None:
    assert names("vm:win11-24h2+lowres+verifier", "vm:win11-24h2+verifier+lowres") == [
        "vm:win11-24h2+verifier+lowres"
    ]
    assert split_axes("vm:x+hibernate+verifier") == ("vm:x", (Axis.VERIFIER, Axis.HIBERNATE))


def test_a_pattern_means_the_machines_that_can() -> None:
    assert names("vm:win11-2[45]*+verifier") == ["vm:win11-24h2+verifier", "vm:win11-25h2+verifier"]
    secure = names("vm:*+secureboot")
    assert "vm:win11-24h2+secureboot" in secure
    assert not [name for name in secure if name.startswith(("vm:win7", "vm:winxp", "vm:stand-in"))]
    assert all("+" not in target.name for target in known_targets())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "vm:win11-24h2+fast",
            "there is no axis 'fast'; there are verifier, lowres, hvci, secureboot, hibernate",
        ),
        ("vm:win11-24h2+", "there is no axis ''"),
        ("vm:win11-24h2+hvci+hvci", "names an axis twice"),
        ("vm:stand-in+verifier", "a stand-in .* has no Driver Verifier"),
        ("vm:stand-in+lowres+hibernate", "no Driver Verifier, which simulates low resources; a stand-in"),
        ("vm:win7-sp1+hvci", "needs 64-bit Windows 10 1607"),
        ("vm:win7-sp1+secureboot", "Secure Boot needs 64-bit Windows 8"),
        ("vm:win81+secureboot", "needs UEFI, and the recipe's firmware is a BIOS"),
        ("vm:winxp-sp3+hibernate", "can't be told before Windows Vista"),
        ("vm:stand-*+hvci", r"no machine matches 'vm:stand-\*\+hvci' \(stand-in: a stand-in"),
        ("reference:10.0.26100+verifier", "only machines have axes; the reference guest always checks"),
        ("reference:*+verifier", "only machines have axes"),
    ],
)
def test_what_can_not_be_is_refused_with_the_reason(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        resolve_targets([name])
    if "*" not in name:
        with pytest.raises(UsageError, match=says):
            parse_target(name)


def test_secure_boot_needs_a_machine_type_that_protects_its_variables(tmp_path: Path) -> None:
    text = ADOPTED.replace("5.2.3790", "10.0.26100").replace('"x86"', '"x64"')
    text = text.replace('machine = "pc"', 'machine = "pc"\nfirmware = "uefi"')
    recipe = load_recipe(write_recipe(tmp_path, text))
    assert refusal(Axis.SECUREBOOT, recipe) == "Secure Boot needs a q35 machine, and the recipe's is pc"
