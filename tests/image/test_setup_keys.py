"""Setup's key by the image of the medium: Microsoft's for volume editions, the user's before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.image.finding import find_recipe
from harness.image.install.dryrun import dry_run
from harness.image.install.ingredients import InstallRequest
from harness.image.installspec import Install
from harness.image.setupkeys import setup_key
from harness.image.wim import WimImage
from tests.image.discs import disc, edition, wim


def image(edition: str, build: int, name: str = "") -> WimImage:
    return WimImage(1, name, name, edition, "Client", "x64", build, 1, 0, "en-US")


@pytest.mark.parametrize(
    ("edition", "build", "begins"),
    [
        ("Professional", 19041, "W269N-"),
        ("Enterprise", 26200, "NPPR9-"),
        ("Enterprise", 9600, "MHF9N-"),
        ("EnterpriseS", 10240, "WNMTR-"),
        ("EnterpriseS", 14393, "DCPHK-"),
        ("EnterpriseS", 26100, "M7XTQ-"),
        ("ServerStandard", 14393, "WC2BQ-"),
        ("ServerStandard", 26100, "TVRH6-"),
        ("ServerDatacenter", 20348, "WX4NM-"),
    ],
)
def test_each_edition_has_the_key_of_its_build(edition: str, build: int, begins: str) -> None:
    assert setup_key(image(edition, build)).startswith(begins)


@pytest.mark.parametrize(
    ("edition", "build"),
    [("EnterpriseEval", 26100), ("ServerStandardEval", 20348), ("Enterprise", 7601), ("Core", 22621)],
)
def test_what_needs_none_or_has_none_published_gets_none(edition: str, build: int) -> None:
    assert setup_key(image(edition, build)) == ""
    assert setup_key(image("Enterprise", 26100, "Windows 11 Enterprise Evaluation")) == ""
    assert setup_key(None) == ""


def answer(tmp_path: Path, edition_id: str, request: InstallRequest | None = None) -> tuple[str, str]:
    """The answer file of Windows 11 from a medium with that edition; what the dry run says of the key."""
    recipe = find_recipe("win11-24h2")
    assert isinstance(recipe.source, Install)
    catalogue = wim(edition("Windows 11", 26100, edition_id=edition_id))
    medium = disc(tmp_path / "w.iso", {"sources/install.wim": catalogue, "efi/boot/bootx64.efi": b"MZ"})
    result = dry_run(recipe, recipe.source, tmp_path / "out", medium=medium, request=request)
    assert result.ok, [check for check in result.checks if not check.ok]
    said = " ".join(line for line in result.assumed if "product key" in line)
    return (tmp_path / "out" / "autounattend.xml").read_text(), said


def test_setup_is_given_the_published_key_and_people_are_told(tmp_path: Path) -> None:
    text, said = answer(tmp_path, "Professional")
    assert "<Key>W269N-WFGWX-YVC9B-4J6C9-T83GX</Key>" in text
    assert "installs and does not activate" in said


def test_a_key_of_ones_own_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text("aaaaa-bbbbb-ccccc-ddddd-eeeee\n")
    text, said = answer(tmp_path, "Professional", InstallRequest(product_key_file=file))
    assert "<Key>AAAAA-BBBBB-CCCCC-DDDDD-EEEEE</Key>" in text
    assert ("W269N" in text, said) == (False, "")


def test_an_evaluation_is_given_none(tmp_path: Path) -> None:
    text, said = answer(tmp_path, "EnterpriseEval")
    assert text.count("<Key>") == 1  # /IMAGE/INDEX
    assert said == ""
