"""Projects that have nothing to do with the harness, in an environment where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]
Rows = Callable[[], list[dict[str, Any]]]

#: What the door may import; every other module of the package waits until it is asked for.
_DOOR = {
    "harness",
    "harness.plugin",
    "harness.plugin.agreed",
    "harness.plugin.commandline",
    "harness.plugin.fixtures",
}
#: Tells at the end which modules a run has imported.
_TELLING = """
import sys
def pytest_unconfigure(config):
    print("imported:", *sorted(name for name in sys.modules if name.split(".")[0] in ("harness", "numpy")))
"""
_ORDINARY = """
import unittest
import pytest

@pytest.mark.behaviour("keeps its promises", strict=True)
@pytest.mark.requires("docker")
@pytest.mark.versions("3.11")
@pytest.mark.parametrize("number", [1, 2])
def test_plain(number): pass

class Test(unittest.TestCase):
    def test_unit(self): pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with markers of its own that are called like ours."""
    pytester.makeini("[pytest]\nmarkers =\n behaviour: ours\n requires: ours\n versions: ours\n")
    pytester.makeconftest(_TELLING)
    pytester.makepyfile(test_ordinary=_ORDINARY)
    return pytester


def _plugin() -> tuple[str, ...]:
    installed = any(point.value == "harness.plugin" for point in entry_points(group="pytest11"))
    return () if installed else ("-p", "harness.plugin")


@pytest.mark.parametrize("more", [(), ("-n", "1"), ("--import-mode=importlib",), ("-p", "no:cacheprovider")])
def test_they_pay_nothing_and_get_nothing(project: pytest.Pytester, more: tuple[str, ...]) -> None:
    done = project.runpytest_subprocess(*_plugin(), *more)
    done.assert_outcomes(passed=3)
    (line,) = [line for line in done.outlines if line.startswith("imported:")]
    allowed = _DOOR
    if more[:1] == ("-n",):  # the workers are told a folder, whether anything will go there or not
        allowed = _DOOR | {name for name in line.split() if name.startswith("harness.")}
        assert "numpy" not in line
    assert set(line.split()[1:]) <= allowed
    assert not (project.path / "results").exists()
    assert "harness" not in [line.strip("= ") for line in done.outlines]


def test_a_worker_of_theirs_that_dies_is_pytests_business(project: pytest.Pytester) -> None:
    project.makepyfile("import os\ndef test_it(): os._exit(9)")
    done = project.runpytest_subprocess(
        *_plugin(), "-n", "1", "test_a_worker_of_theirs_that_dies_is_pytests_business.py"
    )
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert not (project.path / "results").exists()


def test_their_failures_look_like_pytests(project: pytest.Pytester) -> None:
    project.makepyfile(test_fails="def test_it(): assert {'a': 1} == {'a': 2}")

    def shown(*options: str) -> str:
        text = project.runpytest_subprocess("-p", "no:randomly", *options, "test_fails.py").stdout.str()
        return text[text.index("= FAILURES") : text.index("1 failed")]

    assert shown(*_plugin()) == shown("-p", "no:harness")


def test_beside_a_test_with_a_guest_they_stay_what_they_are(
    suite: pytest.Pytester, run: Run, rows: Rows
) -> None:
    suite.makeini("[pytest]\nmarkers =\n behaviour: ours\n requires: ours\n versions: ours\n")
    suite.makepyfile(test_ordinary=_ORDINARY + "\ndef test_guest(guest): pass\ndef test_last(): assert not 1")
    run().assert_outcomes(passed=4, failed=1)
    assert [row["test"].rpartition("::")[2] for row in rows()] == ["test_guest"]


@pytest.mark.parametrize("more", [(), ("-n", "1")])
def test_a_statement_without_a_guest_makes_a_row(
    suite: pytest.Pytester, run: Run, rows: Rows, more: tuple[str, ...]
) -> None:
    suite.makepyfile("import pytest\n@pytest.mark.behaviour('B-LAY-03')\ndef test_it(): pass")
    run(*more).assert_outcomes(passed=1)
    assert [(row["target"], row["behaviours"]) for row in rows()] == [("", ["B-LAY-03"])]


def test_the_door_is_all_that_is_imported_by_itself(pytester: pytest.Pytester) -> None:
    program = "import sys, harness.plugin; print(*sorted(n for n in sys.modules if n.startswith('harness')))"
    assert set(pytester.run(sys.executable, "-c", program).outlines[0].split()) == _DOOR
