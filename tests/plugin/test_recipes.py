"""Targets of recipes: found, listed and refused without a machine, and without what machines need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.guest.base import Arch, GuestKind
from harness.guests import Guests
from harness.registry.version import WS03
from harness.targets import known_targets, parse_target, resolve_targets

if TYPE_CHECKING:
    from harness.machine.drive import MachineSettings

Run = Callable[..., pytest.RunResult]
Rows = Callable[[], list[dict[str, Any]]]

RECIPE = """
name = "{name}"
title = "Somebody's own"
kind = "reactos"
version = "5.2"
arch = "x86"

[limits]
layering = "altitudes do not exist there"
callbacks = "it was built without them"

[adopt]
disk = "disk.raw"
format = "raw"
"""


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    for name in ("mine", "other"):
        (folder / name).mkdir(parents=True)
        (folder / name / "recipe.toml").write_text(RECIPE.format(name=name))
        (folder / name / "disk.raw").touch()
    return folder


def test_a_recipe_is_a_target(recipes: Path) -> None:
    target = parse_target("vm:mine", [recipes])
    assert (target.name, target.kind, target.version, target.arch) == (
        "vm:mine",
        GuestKind.REACTOS,
        WS03,
        Arch.X86,
    )
    assert target.recipe == recipes / "mine" / "recipe.toml"
    assert target.limits["layering"] == "altitudes do not exist there"
    assert target in known_targets([recipes])


def test_the_environment_names_recipes_too(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_RECIPES", str(recipes))
    assert parse_target("vm:other").recipe == recipes / "other" / "recipe.toml"


def test_patterns_match_machines(recipes: Path) -> None:
    names = [target.name for target in resolve_targets(["vm:*"], [recipes])]
    assert {"vm:mine", "vm:other"} <= set(names)
    assert all(name.startswith("vm:") for name in names)
    assert {"vm:mine", "reference:5.1"} <= {target.name for target in resolve_targets(["*"], [recipes])}


def test_a_pattern_of_the_reference_guest_reads_no_recipe(recipes: Path) -> None:
    (recipes / "mine" / "recipe.toml").write_text("nonsense =")
    assert resolve_targets(["reference:6.*"], [recipes])
    with pytest.raises(UsageError, match=r"recipe\.toml"):
        resolve_targets(["*"], [recipes])


def test_an_unknown_machine_names_those_there_are(recipes: Path) -> None:
    with pytest.raises(UsageError, match="no recipe 'mime'; did you mean mine"):
        parse_target("vm:mime", [recipes])


def test_listing_targets_needs_nothing_that_machines_need(recipes: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harness.targets import known_targets\n"
        f"assert any(target.name == 'vm:mine' for target in known_targets([Path({str(recipes)!r})]))\n"
        "print({'libvirt', 'paramiko', 'winrm', 'unicorn', 'numpy'} & set(sys.modules) or 'nothing')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "nothing"


def test_what_a_recipe_rules_out_is_skipped_with_its_reason(
    suite: pytest.Pytester, run: Run, rows: Rows, recipes: Path
) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.requires("layering")
        def test_altitudes(guest): raise AssertionError("never booted")
        def test_filters(probe): raise AssertionError("never booted")
        """
    )
    run(f"--recipes={recipes}", "--target", "vm:mine").assert_outcomes(skipped=2)
    assert [row["message"] for row in rows()] == [
        "vm:mine lacks layering: altitudes do not exist there",
        "vm:mine lacks callbacks: it was built without them",
    ]


def test_an_image_that_is_not_there_is_infra_and_says_how_to_make_it(
    suite: pytest.Pytester, run: Run, rows: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    suite.makepyfile("def test_it(guest): pass")
    assert run("--target", "vm:stand-in").ret == 3
    (row,) = rows()
    assert row["outcome"] == "INFRA"
    assert "run: harness image build stand-in" in row["message"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--recipes", "nowhere", "--target", "vm:*"), "--target: nowhere: no folder of recipes"),
        (("--clones", "0"), "--clones: 0 clones are none"),
        (("--memory-dump", "-1"), "--memory-dump: -1 MiB"),
    ],
)
def test_wrong_options_are_usage_errors(
    suite: pytest.Pytester, run: Run, options: tuple[str, ...], says: str
) -> None:
    suite.makepyfile("def test_it(guest): pass")
    result = run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{says}*"])


def test_another_libvirt_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    opened: list[str] = []

    def note(settings: MachineSettings) -> None:
        opened.append(settings.uri)
        raise InfrastructureError("enough")

    # By name: pytester's runs in this process bring modules and take them away again.
    monkeypatch.setattr(import_module("harness.machine.drive"), "Machines", note)
    for value in ("qemu:///system", ""):
        monkeypatch.setenv("HARNESS_LIBVIRT", value)
        with pytest.raises(InfrastructureError, match="enough"):
            _ = Guests().machines
    assert opened == ["qemu:///system", "qemu:///embed"]
