"""The plans and known issues that the documentation shows are what it says they are."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from harness.driver import find_project_root
from harness.matrix.plan.machines import Machines
from harness.matrix.plan.planfile import PlanFile, read_plan
from harness.results.known import load_known
from harness.strict import load_toml, read_table

ROOT = find_project_root()
PAGE = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")


def test_the_example_runs_every_reference_version_and_the_stand_in() -> None:
    all_well = Machines(lambda recipe: "", lambda target: "")
    plan = read_plan(ROOT / "docs" / "examples" / "nightly.toml", machines=all_well)
    assert plan.root == ROOT
    assert plan.suites == (ROOT / "suites",)
    assert {"reference:5.1", "reference:10.0.26100", "reference:6.1-x86", "vm:stand-in"} <= set(plan.targets)
    assert plan.known_issues is not None


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_what_the_page_shows_can_be_read(block: str, tmp_path: Path) -> None:
    file = tmp_path / "shown.toml"
    file.write_text(block)
    if "[[issue]]" in block:
        assert len(load_known(file).issues) == 2
    else:
        assert read_table(PlanFile, load_toml(file), file).targets


def test_the_page_names_every_key_of_a_plan() -> None:
    rows = " ".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert {field.name for field in dataclasses.fields(PlanFile)} <= set(re.findall(r"`(\w+)`", rows))
