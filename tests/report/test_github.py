"""What GitHub Actions is told: commands of one line each, a summary without a guest's Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.report.failures import Failure, failures_of
from harness.report.github import annotate, announce, markdown, step_summary
from harness.results.folder import RunReader
from harness.results.known import Finding, KnownIssue, Standing
from harness.results.matrix import Matrix
from harness.results.model import RunInfo
from harness.results.notes import write_findings
from harness.results.outcome import Outcome
from tests.report.runs import HOSTILE, row, small_run, write_run

RUN = RunInfo(name="r", started="2025-01-01T00:00:00+00:00")
#: As the runner reads a command.
_COMMAND = re.compile(r"::(\w+) (.*?)::(.*)")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return small_run(tmp_path / "results" / "run")


def failures(*results: object) -> tuple[Failure, ...]:
    return failures_of(Matrix(results), Path("run"))  # type: ignore[arg-type]


def read(line: str) -> tuple[str, dict[str, str], str]:
    """A command as the runner understands it."""
    found = _COMMAND.fullmatch(line)
    assert found is not None, line

    def plain(text: str) -> str:
        for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            text = text.replace(code, character)
        return text

    properties = dict(part.split("=", 1) for part in found[2].split(","))
    return found[1], {name: plain(value) for name, value in properties.items()}, plain(found[3])


def test_a_failure_is_annotated_where_it_happened(tmp_path: Path) -> None:
    failed = row(
        "suites/t.py::test_x[a,b:c]", "reference:6.1", Outcome.FAIL, "B-LAY-03",
        message="100% wrong", detail="suites/t.py:41: AssertionError",
    )  # fmt: skip
    (line,) = annotate(failures(failed), root=tmp_path / "repo" / "sub", workspace=tmp_path / "repo")
    level, properties, message = read(line)
    assert level == "error"
    assert properties == {"file": "sub/suites/t.py", "line": "41", "title": "FAIL B-LAY-03 test_x[a,b:c]"}
    assert message == "100% wrong\nsuites/t.py::test_x[a,b:c]\non reference:6.1"


def test_a_test_outside_of_the_workspace_has_no_place(tmp_path: Path) -> None:
    failed = row("../t.py::a", "reference:6.1", Outcome.FAIL, detail="t.py:1: x")
    (line,) = annotate(failures(failed), root=tmp_path / "elsewhere", workspace=tmp_path / "repo")
    assert "file" not in read(line)[1]


def test_no_text_begins_a_command_of_its_own(tmp_path: Path) -> None:
    evil = "x\n::add-path::/evil\r\n::error file=a::b"
    failed = row(f"t.py::{evil}", f"reference:6.1{evil}", Outcome.CRASH, evil, message=evil)
    (line,) = annotate(failures(failed), root=tmp_path, workspace=tmp_path)
    assert len(line.splitlines()) == 1
    assert read(line)[0] == "error"


def test_infra_is_a_warning_and_no_more_is_sent_than_is_shown(tmp_path: Path) -> None:
    rows = [row(f"t.py::{n}", "reference:6.1", Outcome.FAIL) for n in range(30)]
    rows += [row(f"t.py::i{n}", "reference:6.1", Outcome.INFRA) for n in range(30)]
    levels = [read(line)[0] for line in annotate(failures(*rows), root=tmp_path, workspace=tmp_path)]
    assert levels == ["error"] * 10 + ["warning"] * 10


def test_known_issues_that_need_care_are_notices(run: Path, tmp_path: Path) -> None:
    issue = KnownIssue("https://example.com/8,x", behaviour="B-CTX-18", test="a" * 2000)
    write_findings(run, [Finding(issue, Standing.FIXED)] * 11)
    lines: list[str] = []
    summary = tmp_path / "summary.md"
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    announce(run, environment, lines.append, root=tmp_path)
    notices = [read(line) for line in lines if line.startswith("::notice")]
    assert len(notices) == 10
    level, properties, message = notices[0]
    assert (level, properties) == ("notice", {"title": "Known issue: fixed"})
    assert message.startswith("known issue B-CTX-18 and aaa")
    assert len(message) == 300
    assert "### Known issues that need care" in summary.read_text()


def test_what_a_guest_says_does_not_make_an_annotation_endless(tmp_path: Path) -> None:
    failed = row(f"t.py::{'x' * 5000}", "reference:6.1", Outcome.FAIL, message="y" * 50_000)
    (line,) = annotate(failures(failed), root=tmp_path, workspace=tmp_path)
    _, properties, message = read(line)
    assert len(properties["title"]) == 150
    assert len(message) < 3000


def test_the_summary_says_what_is_no_windows(run: Path) -> None:
    reader = RunReader(run)
    matrix = Matrix(reader)
    text = step_summary(matrix, reader.info, failures_of(matrix, run))
    assert text.startswith("## Registry filter run run: 4 failed\n")
    assert text.count("> **Not Windows.**") == 2
    (line,) = (each for each in text.splitlines() if each.startswith("| reference&#58;6&#46;1 |"))
    assert "❌ 0/1" in line
    assert "<img" not in text


def test_the_rows_of_its_table_are_whole_whatever_guests_say(run: Path) -> None:
    matrix = Matrix([row("t.py::a", f"reference:6.1|{HOSTILE}\n| x", Outcome.FAIL, "a|b", message=HOSTILE)])
    text = step_summary(matrix, RUN, failures_of(matrix, run))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert len({line.count("|") for line in table}) == 1
    assert markdown("*a* [b](c) `d` http://e ~~f~~ <g>\n# h").isascii()
    assert not set(markdown("*a* [b] `d` http://e ~~f~~ <g>\n# h")) & set("*[]`:~<>\n")


def test_a_summary_is_never_larger_than_is_taken() -> None:
    matrix = Matrix(row("t.py::a", f"{n}{'.' * 280}", Outcome.FAIL, "B-LAY-03") for n in range(1000))
    text = step_summary(matrix, RUN, ())
    assert len(text.encode()) <= 1024 * 1024
    assert "too large" in text


def test_only_on_github_and_only_for_whole_runs(run: Path, tmp_path: Path) -> None:
    summary, lines = tmp_path / "summary.md", []
    environment = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_WORKSPACE": str(tmp_path),
    }
    announce(run, {}, lines.append, root=tmp_path)
    assert lines == []
    announce(run, environment, lines.append, root=tmp_path)
    assert len(lines) == 3
    assert summary.read_text().startswith("## Registry filter run")

    matrix_run = tmp_path / "results" / "matrix"
    job = write_run(matrix_run / "jobs" / "one", RunReader(run))
    (matrix_run / "plan.json").write_text("{}")
    lines.clear()
    announce(job, environment, lines.append, root=tmp_path)
    assert lines == []


def test_pytest_tells_github(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    pytester.makepyfile(
        test_it="import pytest\n@pytest.mark.behaviour('B-REG-34')\ndef test_it():\n    assert 1 == 2\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(
        ["::error file=test_it.py,line=4,title=FAIL B-REG-34 test_it::*assert 1 == 2*"]
    )
    assert "1 failed" in summary.read_text()
