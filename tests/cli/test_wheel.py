"""The package as pip installs it, away from any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.driver import find_project_root

wheels = pytest.importorskip("hatchling.builders.wheel", reason="building the wheel needs hatchling")

_FILTERING = """
from harness import reference
from harness.probe import Probe
from harness.workload import Registry

with reference.boot("10.0.26100") as guest, Probe.install(guest) as probe, Registry(guest) as registry:
    probe.add("380010")
    with registry.program() as p:
        made = p.create_key(p.test_root / "app")
    print(len(probe.trace.of(made)))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    place = tmp_path_factory.mktemp("wheel")
    (wheel,) = wheels.WheelBuilder(str(find_project_root())).build(
        directory=str(place), versions=["standard"]
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


@pytest.fixture
def python(installed: Path, tmp_path: Path) -> list[str]:
    """Starts Python with the package of the wheel and nothing of the checkout."""
    start = f"import os, sys; os.chdir({str(tmp_path)!r}); sys.path.insert(0, {str(installed)!r}); "
    return [sys.executable, "-P", "-c", start]


def call(python: list[str], program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*python[:-1], f"{python[-1]}\n{program}", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, check=False)


def harness(python: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return call(python, "from harness.cli import main; main()", *arguments)


def test_the_wheel_carries_what_the_probe_is_built_from(python: list[str], tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    done = call(python, _FILTERING)
    assert done.stderr == ""
    assert int(done.stdout) >= 2
    assert (tmp_path / "build" / "x64" / "regprobe.sys").is_file()


def test_the_wheel_carries_the_recipes_and_the_runner(python: list[str]) -> None:
    rows = json.loads(harness(python, "target", "list", "--json").stdout)
    assert "vm:stand-in" in {row["target"] for row in rows}
    done = call(python, "from harness.driver.program import runner_image; print(runner_image('x64')[:2])")
    assert done.stdout == "b'MZ'\n", done.stderr


@pytest.mark.parametrize("command", [("demo",), ("driver", "build")])
def test_what_needs_a_checkout_says_so(python: list[str], command: tuple[str, ...]) -> None:
    done = harness(python, *command)
    assert done.returncode == 2
    assert "no checkout of regfilter-harness" in done.stderr


def test_run_without_suites_says_what_to_name(python: list[str]) -> None:
    done = harness(python, "run")
    assert done.returncode == 2
    assert "there is no folder suites/ here: name test files or folders" in done.stderr


def test_doctor_leaves_nothing(python: list[str], tmp_path: Path) -> None:
    harness(python, "doctor", "--quick", "--json")
    assert list(tmp_path.iterdir()) == []
