"""The examples for CI servers: valid, and of commands and files that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
WORKFLOW = EXAMPLES / "nightly.yml"
JENKINSFILE = EXAMPLES / "Jenkinsfile"


def test_the_workflow_is_one_by_githubs_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="needs the extra `dev`")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, str(WORKFLOW)], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", [WORKFLOW, JENKINSFILE], ids=lambda file: file.name)
def test_its_commands_and_their_options_exist(file: Path) -> None:
    lines = re.findall(r"\.venv/bin/harness ([^'\n)]*)", file.read_text(encoding="utf-8"))
    assert len(lines) >= 4
    for line in lines:
        words = re.sub(r'"[^"]*"?', "", line).split()  # what is quoted is a value
        names = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        shown = CliRunner().invoke(app, [*names, "--help"])
        assert shown.exit_code == 0, line
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"(^|[\s,]){re.escape(option)}\b", shown.output), f"{line}: no option {option}"


@pytest.mark.parametrize("file", [WORKFLOW, JENKINSFILE], ids=lambda file: file.name)
def test_the_plan_it_names_is_there(file: Path) -> None:
    plans = set(re.findall(r"docs/examples/[\w.-]+\.toml", file.read_text(encoding="utf-8")))
    assert plans
    for plan in plans:
        assert (EXAMPLES.parents[1] / plan).is_file()


def test_the_jenkinsfile_is_declarative_and_closed() -> None:
    """Sections and directives of the declarative syntax, each where it may be; brackets that match."""
    text = re.sub(r"//.*", "", JENKINSFILE.read_text(encoding="utf-8"))
    assert text.lstrip().startswith("pipeline {")
    depth, sections = 0, []
    for line in text.splitlines():
        found = re.match(r"\s*(\w+)\s*\{", line)
        if found and depth == 1:
            sections.append(found[1])
        depth += line.count("{") - line.count("}")
        assert depth >= 0
    assert depth == 0
    assert set(sections) <= {
        "agent",
        "options",
        "environment",
        "parameters",
        "triggers",
        "stages",
        "post",
        "tools",
    }
    assert {"agent", "stages"} <= set(sections)
