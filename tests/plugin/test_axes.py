"""Axes from a target's name down to the machine: what is asked for is what a template is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")

from harness.guest.base import Arch
from harness.guests import Guests, GuestSettings
from harness.machine.describe.axes import Axis
from harness.machine.describe.spec import SealedImage
from harness.machine.drive import Machines
from harness.machine.guest import Identity
from harness.targets import parse_target

Run = Callable[..., pytest.RunResult]

RECIPE = """
name = "win"
title = "Somebody's own"
kind = "windows"
version = "10.0.26100"
arch = "x64"

[hardware]
machine = "q35"
cpu = "Nehalem"

[adopt]
disk = "disk.raw"
format = "raw"
"""


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes" / "win"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "disk.raw").write_bytes(bytes(1 << 20))
    return folder.parent


class Taken(Exception):  # noqa: N818 - ends the test's way, and is no error
    """What a machine was asked for."""

    def __init__(self, image: SealedImage, identity: Identity) -> None:
        self.image, self.identity = image, identity


@pytest.fixture
def asked(
    recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[SealedImage, Identity]]:
    """What `Guests` asks of machines for a target of that name."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def guest(self: Machines, image: SealedImage, identity: Identity, ways: object) -> object:
        raise Taken(image, identity)

    monkeypatch.setattr(Machines, "guest", guest)

    def ask(name: str, *verified: str) -> tuple[SealedImage, Identity]:
        with Guests(GuestSettings(verified=verified)) as guests, pytest.raises(Taken) as taken:
            guests.boot(parse_target(name, [recipes]))
        return taken.value.image, taken.value.identity

    return ask


def test_a_plain_target_has_nothing_on(asked: Callable[..., tuple[SealedImage, Identity]]) -> None:
    image, identity = asked("vm:win", "mine.sys")
    assert image.name == "win"
    assert identity.on.axes == ()
    assert identity.drilled is False


def test_axes_reach_the_machine(asked: Callable[..., tuple[SealedImage, Identity]]) -> None:
    plain, _ = asked("vm:win")
    image, identity = asked("vm:win+verifier+hibernate", "mine.sys")
    assert identity.name == "vm:win+verifier+hibernate"
    assert identity.on.axes == (Axis.VERIFIER, Axis.HIBERNATE)
    assert identity.on.drivers == ("regprobe.sys", "mine.sys")
    assert image.name == "win+verifier+hibernate"
    assert image.digest != plain.digest
    assert image.hardware.hibernation
    assert not plain.hardware.hibernation
    assert identity.promise.arch is Arch.X64
    assert identity.promise.test_signing is True


def test_the_users_driver_is_the_one_to_verify(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile("def test_it(guest): pass")
    (suite.path / "Mine.sys").write_bytes(b"MZ")
    with (suite.path / "conftest.py").open("a") as conftest:
        conftest.write(
            "\nfrom harness.plugin.options import SETTINGS\n"
            "def pytest_collection_finish(session):\n"
            "    print('verified:', session.config.stash[SETTINGS].guests.verified)\n"
        )
    run("--driver", "Mine.sys", "-s").stdout.fnmatch_lines(["*verified: ('Mine.sys',)"])
    run("-s").stdout.fnmatch_lines(["*verified: ()"])


def test_an_axis_that_can_not_be_is_a_usage_error(suite: pytest.Pytester, run: Run, recipes: Path) -> None:
    suite.makepyfile("def test_it(guest): pass")
    result: Any = run("--recipes", str(recipes), "--target", "vm:win+secureboot")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*vm:win+secureboot: Secure Boot needs UEFI, and the recipe's firmware is a BIOS*"]
    )
