"""The own-driver suite says what a driver did: nothing, blocks, or a bugcheck."""

from __future__ import annotations

from pathlib import Path

from harness.driver import build_signed, project_drivers
from suites.workloads import WORKLOADS
from tests.suites.inner import ROOT, Outcomes, run_suites


def run_with(driver: str, results: Path) -> Outcomes:
    image = build_signed(project_drivers(ROOT)[driver], "x64").image
    return run_suites(("own-driver",), results, f"--driver={image}")


def test_a_transparent_driver_changes_nothing(tmp_path: Path) -> None:
    """The sample guard, without a key to guard."""
    outcomes = run_with("regguard", tmp_path)

    assert dict(outcomes.failed) == {}, "\n".join(outcomes.messages)
    for workload in WORKLOADS:
        assert outcomes.passed[f"own-driver/test_own_driver.py::test_operation[{workload}]"] == 1
    told = {name: outcomes.recorded[str(name)] for name in map(str, WORKLOADS)}
    assert set(told.values()) == {"unchanged"}, told


def test_what_a_driver_blocks_is_told(tmp_path: Path) -> None:
    """It refuses to delete values, which is its business and no failure; nothing else is touched."""
    outcomes = run_with("blocks_silently", tmp_path)

    assert dict(outcomes.failed) == {}, "\n".join(outcomes.messages)
    assert outcomes.recorded["changed: delete-value"].startswith("blocked: PreDeleteValueKey")
    assert outcomes.recorded["delete-value: caller's status"] == "STATUS_ACCESS_DENIED"
    assert outcomes.recorded["set-value"] == "unchanged"


def test_a_driver_that_crashes_fails_with_the_bugcheck(tmp_path: Path) -> None:
    outcomes = run_with("user_pointer", tmp_path)

    assert "own-driver/test_own_driver.py::test_operation[query-value]" in outcomes.failed
    assert any("bugcheck" in message and "user_pointer" in message for message in outcomes.messages)
