from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from harness import cli
from harness.cli.output import print_table
from harness.driver import find_project_root
from harness.errors import GuestCrashed, InfrastructureError, UsageError
from harness.guest.bugcheck import Bugcheck
from harness.registry.version import MODELLED
from harness.results.folder import RunWriter, new_run_folder
from harness.results.model import RunResult
from harness.results.outcome import Outcome
from tests.cli.lines import mistake

HEAVY = {
    "_pytest",
    "alembic",
    "asyncio",
    "cryptography",
    "harness.drill.run",
    "harness.image",
    "jinja2",
    "junitparser",
    "numpy",
    "pefile",
    "pytest",
    "ray",
    "rich",
    "sqlalchemy",
    "unicorn",
}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Call the command as the entry point does; gives (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        return int(exit.value.code or 0), out, err

    return call


def commands(app: typer.Typer = cli.app, prefix: str = "") -> dict[str, str]:
    """Name and help of every command."""
    found: dict[str, str] = {}
    for command in app.registered_commands:
        assert command.name is not None
        assert command.callback is not None
        found[f"{prefix}{command.name}"] = inspect.getdoc(command.callback) or ""
    for group in app.registered_groups:
        assert group.typer_instance is not None
        found |= commands(group.typer_instance, f"{prefix}{group.name} ")
    return found


@pytest.mark.parametrize(("name", "text"), sorted(commands().items()))
def test_every_command_has_help_with_an_example_of_itself(name: str, text: str) -> None:
    assert f"Example: harness {name}" in text


@pytest.mark.parametrize(("name", "text"), sorted(commands().items()))
def test_every_example_is_what_the_command_takes(name: str, text: str) -> None:
    examples = [" ".join(line.split()) for line in re.findall(r"Example: ((?:.+\n?)+)", text)]
    root = typer.main.get_command(cli.app)
    assert {line: found for line in examples if (found := mistake(root, shlex.split(line)[1:]))} == {}
    ours = re.findall(r"\b(?:suites|docs|driver-src|tests)/[\w./-]+", " ".join(examples))
    there = {path for path in ours if (find_project_root() / path).exists()}
    assert set(ours) - there <= {"tests/test_regression.py"}, "only what the command writes may be missing"


def test_every_command_is_told_in_one_line(harness: Any) -> None:
    for group in ("", "driver", "image", "target", "guest", "results"):
        listed = harness(*group.split(), "--help")[1].partition("Commands:")[2]
        cut = [line for line in listed.splitlines() if line.endswith("...")]
        assert cut == []


def test_a_table_that_a_program_reads_has_a_line_for_each_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(
        ("name", "title"), [{"name": "a-machine", "title": "word " * 50}, {"name": "b", "title": "x"}]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "a-machine", "b"]


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['harness', '--help']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        f"finally: sys.stderr.write(' '.join(sorted({HEAVY!r} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such thing"), 2),
        (InfrastructureError("the disk is full"), 3),
        (GuestCrashed(Bugcheck(0x50, (1, 2, 3, 4))), 1),
    ],
)
def test_an_error_of_the_harness_is_one_message(
    harness: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(recipes: object) -> None:
        raise error

    monkeypatch.setattr("harness.targets.known_targets", fail)
    exit_code, out, err = harness("target", "list")
    assert (exit_code, out, err) == (code, "", f"harness: {error}\n")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(recipes: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.targets.known_targets", fail)
    monkeypatch.setattr(sys, "argv", ["harness", "target", "list"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_what_the_terminal_has_no_letter_for_is_no_error() -> None:
    script = "from harness import cli; cli.app = lambda: print('\u2713 PASS 300'); cli.main()"
    environment = {**os.environ, "PYTHONIOENCODING": "iso-8859-1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"? PASS 300\n"), done.stderr


def test_target_list_names_every_modelled_version_and_every_recipe(harness: Any) -> None:
    code, out, _ = harness("target", "list", "--json")
    rows = json.loads(out)
    assert code == 0
    modelled = [row for row in rows if row["target"].startswith("reference:")]
    assert {row["version"] for row in modelled} == {version.triple for version in MODELLED}
    assert {row["kind"] for row in modelled} == {"reference"}
    assert next(row for row in modelled if row["version"].startswith("5.1"))["arch"] == "x86"
    assert {row["kind"] for row in rows if row["target"] == "vm:stand-in"} == {"stand-in"}


def test_the_table_says_that_the_model_is_no_windows(harness: Any) -> None:
    assert "not Windows" in harness("target", "list")[1]


def test_run_is_pytest_with_the_options_passed_on(
    harness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[list[str]] = []

    def replace(path: str, command: list[str]) -> None:
        seen.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", replace)
    driver = tmp_path / "my.sys"
    driver.touch()
    harness(
        "run",
        "suites/layering",
        "-t",
        "reference:6.1",
        "-t",
        "reference:5.1",
        "--driver",
        str(driver),
        "-j",
        "2",
        "-k",
        "a",
    )
    (command,) = seen
    assert command[:3] == [sys.executable, "-m", "pytest"]
    assert "suites/layering" in command
    assert f"--driver={driver}" in command
    for option, value in (
        ("--target", "reference:6.1"),
        ("--target", "reference:5.1"),
        ("-n", "2"),
        ("-k", "a"),
    ):
        assert (option, value) in pairwise(command)


def test_run_takes_all_suites_when_no_path_is_given(harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def replace(path: str, command: list[str]) -> None:
        seen.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", replace)
    harness("run", "-k", "block")
    assert seen[0][-3:] == ["suites", "-k", "block"]
    # A folder that an option names is no path of tests.
    harness("run", "-t", "reference:6.1", "--recipes", "vm-images", "--known", "docs", "--results", "docs")
    assert seen[1][-4:] == ["--recipes=vm-images", "--known=docs", "--results=docs", "suites"]


def test_run_refuses_a_driver_that_is_not_there(harness: Any) -> None:
    code, _, err = harness("run", "--driver", "nowhere.sys")
    assert (code, err) == (2, "harness: --driver: there is no file nowhere.sys\n")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    with RunWriter(new_run_folder(tmp_path)) as writer:
        writer.add(RunResult("t.py::a", "reference:6.1", Outcome.FAIL, ("B-LAY-03",), message="<b>"))
        writer.finish(1)
    return tmp_path


def test_reports_are_written_beside_the_newest_run(harness: Any, results: Path) -> None:
    for report, start in (("html", "<!doctype html>"), ("junit", "<testsuites")):
        code, out, _ = harness("results", report, "--results", str(results))
        assert code == 0
        assert start in Path(out.strip()).read_text()
    code, out, _ = harness("results", "show", "--json", "--results", str(results))
    assert [row["outcome"] for row in json.loads(out)["results"]] == ["FAIL"]


def test_reports_of_no_run_are_a_clear_error(harness: Any, tmp_path: Path) -> None:
    code, _, err = harness("results", "html", "--results", str(tmp_path))
    assert code == 2
    assert "there is no run" in err


def test_doctor_names_the_command_that_mends() -> None:
    # A process of its own: which compilers there are is asked once per process. Without the wheel's compiler.
    program = "import sys; sys.modules['ziglang'] = None; from harness import cli; cli.main()"
    command = [sys.executable, "-c", program, "doctor", "--quick", "--json"]
    done = subprocess.run(command, env={"PATH": "/nowhere"}, cwd=Path.cwd(), capture_output=True, check=False)
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings["compiler, x64"]["state"] == "missing"
    assert findings["compiler, x64"]["mend"] == "apt-get install gcc-mingw-w64-x86-64-win32"
    assert findings["signing"]["state"] == "ok"
    assert findings["Python"]["state"] == "ok"


def test_verify_judges_files_that_are_no_drivers(harness: Any, tmp_path: Path) -> None:
    file = tmp_path / "not.sys"
    file.write_bytes(b"MZ" + bytes(100))
    code, out, _ = harness("driver", "verify", str(file), "--json")
    (report,) = json.loads(out)
    assert (code, report["ok"], report["arch"]) == (1, False, "")


def test_building_twice_builds_once(harness: Any) -> None:
    arguments = ("driver", "build", "driver-src/samples/traits_methods.c", "--arch", "x64", "--json")
    harness(*arguments)
    code, out, _ = harness(*arguments)
    (row,) = json.loads(out)
    assert (code, row["driver"], row["state"]) == (0, "traits_methods", "up to date")
