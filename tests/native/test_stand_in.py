"""Native suites on the stand-in: a real executable, real clones, and a machine that dies under a case.

One run, a process of its own, since libvirt's embedded driver belongs to one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stand_in import stand_in_image

ROOT = Path(__file__).resolve().parents[2]
#: Bounds a run that hangs; no test is about how long it takes.
PATIENCE = 900
TARGET = "vm:stand-in"

#: Root brings the machine down as soon as the case runs in it, which no program below Wine could. The
#: brackets keep the shell from finding itself.
_CONFTEST = """
import pytest
from harness.drill.root import connect_root

@pytest.fixture(autouse=True)
def the_machine_dies(request, guest, target):
    if request.node.path.name != "dying.native.toml" or "never_ends" not in request.node.name:
        yield
        return
    with connect_root(guest, target) as client:
        client.exec_command(
            "until grep -aqs 'never_[e]nds' /proc/[0-9]*/cmdline; do :; done; echo c > /proc/sysrq-trigger"
        )
        yield
"""
_DYING = f"""
[executable]
source = "{ROOT / "driver-src" / "native-example"}"

[list]
cases = ["a_value_is_read_back", "never_ends", "the_key_is_not_there"]

[run]
timeout = 300
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The rows of the example of docs/ and of a suite whose machine is brought down, by test."""
    stand_in_image()
    folder = tmp_path_factory.mktemp("native")
    (folder / "conftest.py").write_text(_CONFTEST)
    (folder / "dying.native.toml").write_text(_DYING)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "harness", "run", "docs/examples/example.native.toml"),
            *(str(folder), "--target", TARGET, "-p", "no:cacheprovider"),
            *("--memory-dump=0", f"--run-folder={folder / 'run'}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = (folder / "run" / "rows.jsonl").read_text().splitlines()
    return {row["test"].rpartition("/")[2]: row for row in map(json.loads, lines)}


def test_the_cases_of_the_example_end_as_their_names_say(rows: dict[str, dict[str, Any]]) -> None:
    prefix = "example.native.toml::case["
    found = {name.removeprefix(prefix)[:-1]: row for name, row in rows.items() if name.startswith(prefix)}
    assert {case: row["outcome"] for case, row in found.items()} == {
        "a_value_is_read_back": "PASS",
        "the_key_is_not_there": "PASS",  # a clone of its own: the case before left the key behind
        "fails_on_purpose": "FAIL",
        "is_skipped": "SKIP",
        "is_still_to_do": "KNOWN",
        "ends_by_an_exception": "FAIL",
        "never_ends": "HANG",
        "sees_its_environment": "PASS",
        'an "odd" name: 50% [a] & (b) | ^c': "PASS",
    }
    assert "STATUS_ACCESS_VIOLATION" in found["ends_by_an_exception"]["message"]
    assert "about to write to" in found["ends_by_an_exception"]["detail"]
    assert "nothing to do on this system" in found["is_skipped"]["message"]
    assert {row["attestation"]["kind"] for row in found.values()} == {"stand-in"}


def test_a_machine_that_dies_costs_one_case(rows: dict[str, dict[str, Any]]) -> None:
    cases = ("a_value_is_read_back", "never_ends", "the_key_is_not_there")
    before, died, after = (rows[f"dying.native.toml::case[{case}]"] for case in cases)
    assert (before["outcome"], died["outcome"], after["outcome"]) == ("PASS", "CRASH", "PASS")
    assert "Kernel panic - not syncing: sysrq triggered crash" in died["message"]
    assert any(name.endswith("screen.png") for name in died["evidence"])
