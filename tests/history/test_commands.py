from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.report import write_report
from harness.results.outcome import Outcome
from tests.history.runs import OLD, REFERENCE, append, row, run_folder, with_evidence


@pytest.fixture
def matrix(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], results: Path) -> Any:
    """Call `harness matrix ... --results`; gives (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", "matrix", *arguments, "--results", str(results)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        return int(exit.value.code or 0), out, err

    return call


@pytest.fixture
def runs(results: Path) -> tuple[Path, Path]:
    """Two nights; in the second one a test crashes and another is mended."""
    first = [row("t.py::a"), row("t.py::a", OLD), row("t.py::b", outcome=Outcome.FAIL), row("t.py::b", OLD)]
    crash = {"outcome": Outcome.CRASH, "message": "CRASH: 0x50"}
    second = [row("t.py::a", **crash), row("t.py::a", OLD, **crash), row("t.py::b"), row("t.py::b", OLD)]
    return run_folder(results, first, day=1, plan="nightly"), run_folder(
        results, second, day=2, plan="nightly"
    )


def test_show_prints_the_newest_run_and_what_changed(matrix: Any, runs: tuple[Path, Path]) -> None:
    code, out, _ = matrix("show")
    assert code == 0
    assert "not Windows" in " ".join(out.split())
    assert (
        f"{runs[1].name} against {runs[0].name}: 2 worse, 1 better, 0 otherwise different, 1 the same" in out
    )
    assert "PASS → CRASH t.py::a [reference:10.0.26100, reference:6.1] CRASH: 0x50" in out
    assert "FAIL → PASS t.py::b [reference:10.0.26100]" in out
    assert out.index("CRASH: 0x50") < out.index("FAIL → PASS")


def test_show_of_the_first_run_has_nothing_to_compare_with(matrix: Any, runs: tuple[Path, Path]) -> None:
    code, out, _ = matrix("show", runs[0].name)
    assert code == 0
    assert "against" not in out
    assert matrix("show", str(runs[0]))[1] == out


def test_show_as_json(matrix: Any, runs: tuple[Path, Path]) -> None:
    shown = json.loads(matrix("show", "--json")[1])
    assert shown["run"]["name"] == runs[1].name
    assert [result["outcome"] for result in shown["results"]] == ["CRASH", "CRASH", "PASS", "PASS"]
    changes = shown["difference"]["changes"]
    assert [(each["test"], each["before"], each["after"], each["worse"]) for each in changes] == [
        ("t.py::a", "PASS", "CRASH", True),
        ("t.py::a", "PASS", "CRASH", True),
        ("t.py::b", "FAIL", "PASS", False),
    ]


def test_a_long_list_of_changes_is_cut_and_says_so(matrix: Any, results: Path) -> None:
    run_folder(results, [row(f"t.py::{n}") for n in range(30)], day=1)
    run_folder(results, [row(f"t.py::{n}", outcome=Outcome.FAIL) for n in range(30)], day=2)
    assert "... and 10 more; --all lists them" in matrix("show")[1]
    assert "more; --all" not in matrix("show", "--all")[1]


def test_diff_of_runs_and_of_targets(matrix: Any, runs: tuple[Path, Path]) -> None:
    code, out, _ = matrix("diff", runs[0].name, runs[1].name)
    assert (code, "2 worse, 1 better" in out) == (0, True)
    assert matrix("diff", runs[0].name, runs[1].name, "--exit-code")[0] == 1
    assert matrix("diff", runs[1].name, runs[0].name, "--exit-code", "--json")[0] == 1  # t.py::b
    code, out, _ = matrix("diff", OLD, REFERENCE, "--run", runs[0].name)
    assert (code, "PASS → FAIL t.py::b" in out) == (0, True)
    assert "0 worse" in matrix("diff", OLD, REFERENCE)[1]
    code, _, err = matrix("diff", runs[0].name, "nonsense")
    assert (code, "no run 'nonsense'" in err) == (2, True)
    code, _, err = matrix("diff", "vm:none", "nonsense")
    assert (code, "'vm:none' is no run of the history, and no target of run" in err) == (2, True)


def test_a_mistyped_run_is_told_which_are_like_it(matrix: Any, runs: tuple[Path, Path]) -> None:
    first, second = (run.name for run in runs)
    wrong = [name.replace("020000", "02000") for name in (first, second)]
    code, _, err = matrix("diff", *wrong)
    assert (code, f"did you mean {first}" in err) == (2, True)
    code, _, err = matrix("diff", wrong[0], second)
    assert (code, f"no run {wrong[0]!r}; did you mean {first}" in err) == (2, True)
    code, _, err = matrix("show", "nonsense")
    assert (code, f"its runs are {second}, {first}" in err) == (2, True)
    code, _, err = matrix("diff", REFERENCE, REFERENCE.replace("26100", "2610"))
    assert (code, f"did you mean {REFERENCE}" in err) == (2, True)


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202egnp[red]x[/]\n::error::own " + "word " * 40 + "::error::own"


@pytest.mark.parametrize(
    "arguments",
    [
        ("show",),
        ("runs",),
        ("diff", "20260101-020000-000000-1", "20260102-020000-000000-1"),
        ("diff", "reference:6.2", "vm:other"),
        ("diff", f"no{HOSTILE}", "vm:other"),
        ("verify",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_text_of_a_guest_moves_the_cursor_or_begins_a_line(
    matrix: Any, results: Path, arguments: tuple[str, ...]
) -> None:
    for day, outcome in ((1, Outcome.PASS), (2, Outcome.FAIL)):
        more = {"outcome": outcome, "message": HOSTILE, "build": HOSTILE}
        named = [row(f"t.py::{HOSTILE}", target, **more) for target in (REFERENCE, f"vm:{HOSTILE}")]
        run_folder(results, named, day=day, plan=HOSTILE)
    code, out, err = matrix(*arguments)
    assert code in (0, 2)
    for line in (out + err).splitlines():
        assert line.isprintable(), line
        assert not line.strip().startswith("::"), line


def test_verify_tells_what_is_lost_and_what_is_damaged(matrix: Any, results: Path) -> None:
    run = results / "20260101-020000-000000-1"
    run_folder(results, [with_evidence(run, name, name.encode()) for name in ("good", "bad", "gone")])
    matrix("ingest")
    code, out, _ = matrix("verify")
    assert (code, "3 files" in out, "0 problems" in out) == (0, True, True)
    store = {path.read_bytes(): path for path in (results / "history.evidence").glob("??/*")}
    store[b"bad"].chmod(0o644)
    store[b"bad"].write_bytes(b"BAD")
    store[b"gone"].unlink()
    (results / "history.evidence" / "ab").mkdir(exist_ok=True)
    (results / "history.evidence" / "ab" / ("ab" * 32)).write_bytes(b"of no row")
    code, out, _ = matrix("verify")
    assert code == 1
    assert f"damaged: {store[b'bad']}\n  evidence/bad of {run.name}\n" in out
    assert f"lost: {store[b'gone']}\n  evidence/gone of {run.name}\n" in out
    assert "2 problems, 1 of no row" in out
    problems = json.loads(matrix("verify", "--json")[1])["problems"]
    assert {problem["wrong"] for problem in problems} == {"lost", "damaged"}


def test_a_report_says_what_was_thinned_out(matrix: Any, results: Path) -> None:
    run = run_folder(results)
    append(run, with_evidence(run, "trace.txt", b"what was seen"))
    page = write_report(run)
    assert 'href="evidence/trace.txt"' in page.read_text()
    matrix("prune", "--failures-days", "1")
    assert not (run / "evidence" / "trace.txt").exists()
    text = page.read_text()
    assert 'href="evidence/trace.txt"' not in text
    today = datetime.now(UTC).date().isoformat()
    assert f'<code>evidence/trace.txt</code> <span class="faint">(thinned out on {today})</span>' in text
    # Only once: a page that says it is left alone.
    page.write_text("mine")
    matrix("prune", "--failures-days", "1")
    assert page.read_text() == "mine"


def test_runs_are_listed(matrix: Any, runs: tuple[Path, Path], results: Path) -> None:
    run_folder(results, [], day=3, finished=False)
    code, out, _ = matrix("runs")
    assert code == 0
    lines = [line.split() for line in out.splitlines()[1:]]
    assert [line[0] for line in lines if line[0].startswith("2026")][1:] == [runs[1].name, runs[0].name]
    assert "2 CRASH" in out
    assert "no rows; not finished" in " ".join(out.split())
    listed = json.loads(matrix("runs", "--json", "--plan", "nightly", "-n", "1")[1])
    assert [(each["name"], each["counts"]) for each in listed] == [(runs[1].name, {"CRASH": 2, "PASS": 2})]


def test_a_run_elsewhere_is_taken_in(matrix: Any, tmp_path: Path) -> None:
    elsewhere = run_folder(tmp_path / "other", [row(evidence=("gone",))], name="from-ci")
    code, out, _ = matrix("ingest", str(elsewhere))
    assert (code, "from-ci: 1 new rows, 0 known" in out, "gone is named by a row and missing" in out) == (
        0,
        True,
        True,
    )
    assert matrix("show", "from-ci")[0] == 0


@pytest.mark.parametrize("command", ["show", "runs"])
def test_looking_into_a_folder_that_is_not_there_makes_none(matrix: Any, results: Path, command: str) -> None:
    if results.exists():
        results.rmdir()
    code, _, err = matrix(command)
    assert (code, f"there is no folder {results}" in err) == (2, True)
    assert not results.exists()


def test_prune_says_what_it_would_do_first(matrix: Any, results: Path) -> None:
    folder = run_folder(results, finished=False)
    append(folder, with_evidence(folder, "a", b"x" * 100, outcome=Outcome.PASS))
    assert "would remove evidence: 1 of passes" in matrix("prune", "--dry-run", "--passes-days", "1")[1]
    assert (folder / "evidence" / "a").exists()
    assert json.loads(matrix("prune", "--passes-days", "1", "--json")[1])["bytes"] == 100
    assert not (folder / "evidence" / "a").exists()


def test_the_environment_says_where_the_history_is(
    matrix: Any, runs: tuple[Path, Path], results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_HISTORY", str(tmp_path / "team.sqlite"))
    assert matrix("runs")[0] == 0
    assert (tmp_path / "team.sqlite").is_file()
    assert not (results / "history.sqlite").exists()


def test_without_its_packages_looking_back_says_what_to_install(
    matrix: Any, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    code, _, err = matrix("show")
    assert (code, "pip install 'regfilter-harness[history]'" in err) == (3, True)
