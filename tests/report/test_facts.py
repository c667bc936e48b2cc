"""What a report rests on: callbacks of rows, kept comparisons, earlier runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.history import history_at
from harness.history.model import Change
from harness.probe.comparison import Comparison, Verdict
from harness.registry.notify import NotifyClass, Operation, Post, Pre, delivered_by
from harness.registry.version import WindowsVersion
from harness.report import render_report
from harness.report.coverage import CallbackCoverage, ClassSeen, callback_coverage
from harness.report.marks import Marks
from harness.report.past import Past
from harness.results.folder import RunReader
from harness.results.matrix import Matrix
from harness.results.outcome import Outcome
from tests.report.runs import row, write_run

WIN11 = "reference:10.0.26100"


def cells(coverage: CallbackCoverage, operation: Operation | str) -> list[tuple[ClassSeen, ...]]:
    name = operation.value if isinstance(operation, Operation) else operation
    return [cell for each in coverage.rows if each.operation == name for cell in each.cells]


# -- callback coverage ---------------------------------------------------------------------------------------


def test_seen_and_missing_classes_are_told_apart_by_version() -> None:
    told = (int(Pre.SetValueKey), int(Post.SetValueKey), int(Pre.DeleteKey))
    coverage = callback_coverage(
        Matrix(
            [
                row("t.py::a", WIN11, Outcome.PASS, callbacks=told),
                row("t.py::a", "reference:5.1", Outcome.PASS, callbacks=told),
            ]
        )
    )
    assert [column.target.name for column in coverage.columns] == ["reference:5.1", WIN11]
    old, new = cells(coverage, Operation.SET_VALUE_KEY)
    assert new == (ClassSeen.SEEN, ClassSeen.SEEN)
    assert old == (ClassSeen.SEEN, ClassSeen.BEYOND), "XP has no post notification of it"
    assert cells(coverage, Operation.DELETE_KEY)[1] == (ClassSeen.SEEN, ClassSeen.MISSING)
    assert cells(coverage, Operation.CREATE_KEY) == [(ClassSeen.MISSING,) * 2, (ClassSeen.ABSENT,) * 2]
    assert coverage.columns[1].seen == 3
    assert coverage.columns[1].documented == len(delivered_by(WindowsVersion.parse("10.0.26100")))


def test_only_tests_that_passed_prove_something() -> None:
    coverage = callback_coverage(
        Matrix([row("t.py::a", WIN11, Outcome.FAIL, callbacks=(int(Pre.SetValueKey),))])
    )
    assert not coverage.recorded


def test_a_class_nobody_knows_is_told() -> None:
    coverage = callback_coverage(Matrix([row("t.py::a", WIN11, Outcome.PASS, callbacks=(99,))]))
    assert cells(coverage, "class 99") == [(ClassSeen.BEYOND,)]


def test_a_guest_without_callbacks_has_no_column() -> None:
    coverage = callback_coverage(Matrix([row("t.py::a", "vm:stand-in", Outcome.PASS)]))
    assert coverage.columns == ()


# -- what a run leaves ---------------------------------------------------------------------------------------

SUITE = """
import pytest
from harness.registry.notify import Post, Pre

def write_behind(probe, registry):
    watcher = probe.add("380010")
    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")
    return probe.trace.of(write).seen_by(watcher)

def test_right(probe, registry):
    assert write_behind(probe, registry) == [Pre.SetValueKey, Post.SetValueKey]

def test_wrong(probe, registry):
    assert write_behind(probe, registry) == [Pre.SetValueKey, Post.DeleteKey]

def test_wrong_elsewhere(probe, registry):
    seen = write_behind(probe, registry)
    with pytest.raises(AssertionError):
        assert seen == [Pre.SetValueKey]
    assert seen[0].name == "w"

def test_without_a_filter(guest):
    assert guest.info.name
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Rows of `SUITE` on the reference guest by name, and the run's folder."""
    pytest.importorskip("unicorn", reason="needs the extra `reference`")
    import subprocess

    from harness.pytest_command import pytest_command

    place = tmp_path_factory.mktemp("suite")
    (place / "test_suite.py").write_text(SUITE)
    (place / "pytest.ini").write_text("[pytest]\n")
    command = [
        *pytest_command(),
        "-p",
        "no:cacheprovider",
        "--target",
        WIN11,
        "--run-folder",
        str(place / "run"),
    ]
    subprocess.run([*command, "test_suite.py"], cwd=place, check=False, capture_output=True, timeout=900)
    found = {result.test.partition("::")[2]: result for result in RunReader(place / "run")}
    return {**found, "folder": place / "run"}


def test_a_row_knows_what_filters_were_told(rows: dict[str, Any]) -> None:
    told = {NotifyClass(number) for number in rows["test_right"].callbacks}
    assert {Pre.SetValueKey, Post.SetValueKey, Pre.CreateKeyEx, Post.CreateKeyEx} <= told
    assert Pre.DeleteValueKey not in told
    assert rows["test_without_a_filter"].callbacks == (), "nothing of the test before"


def test_a_failed_comparison_of_events_is_kept(rows: dict[str, Any]) -> None:
    kept = rows["folder"] / rows["test_wrong"].comparison
    comparison = Comparison.from_text(kept.read_text())
    assert [(line.verdict, line.expected, line.seen) for line in comparison.lines] == [
        (Verdict.SAME, "PreSetValueKey", "PreSetValueKey"),
        (Verdict.MISSING, "PostDeleteKey", ""),
        (Verdict.EXTRA, "", "PostSetValueKey"),
    ]
    assert "380010" in comparison.lines[2].event
    assert rows["test_right"].comparison == ""


def test_a_comparison_that_failed_nobody_is_not_kept(rows: dict[str, Any]) -> None:
    assert rows["test_wrong_elsewhere"].outcome is Outcome.FAIL
    assert rows["test_wrong_elsewhere"].comparison == ""


# -- runs before ---------------------------------------------------------------------------------------------


def test_earlier_runs_show_as_bars_and_changes(tmp_path: Path) -> None:
    history = pytest.importorskip("harness.history", reason="needs the extra `history`")
    results = tmp_path / "results"
    outcomes = [(Outcome.PASS, Outcome.FAIL), (Outcome.FAIL, Outcome.FAIL), (Outcome.FAIL, Outcome.PASS)]
    runs = [
        write_run(
            results / f"2025010{day}-000000-000000-1",
            [
                row("t.py::one", WIN11, one, "B-LAY-03", message="one"),
                row("t.py::other", WIN11, other, "B-LAY-05", message="other"),
            ],
            started=f"2025-01-0{day}T00:00:00+00:00",
        )
        for day, (one, other) in enumerate(outcomes, 1)
    ]
    with history.open_history(results / "history.sqlite") as opened:
        for run in runs:
            opened.ingest(run)
    with history_at(None, results, make=False) as found:
        last = render_report(runs[2], history=found)
        middle = render_report(runs[1], history=found)
    courses = json.loads(last.split('id="data">')[1].split("</script>")[0])["courses"]
    assert set(courses) == {"PFF", "FFP"}
    assert f"Since run {runs[1].name}" in last
    assert "No longer failing (1)" in last
    assert "Failing now" not in last
    assert "Failing now (1)" in middle, "a run's page doesn't depend on the runs after it"
    assert f"Since run {runs[0].name}" in middle
    courses = json.loads(middle.split('id="data">')[1].split("</script>")[0])["courses"]
    assert set(courses) == {"PF", "FF"}


def test_a_cell_is_mended_when_nothing_in_it_fails() -> None:
    one = Change("t.py::one", WIN11, "", ("B-LAY-03",), Outcome.FAIL, Outcome.PASS)
    rows = [
        row("t.py::one", WIN11, Outcome.PASS, "B-LAY-03"),
        row("t.py::two", WIN11, Outcome.PASS, "B-LAY-03"),
    ]
    place = ("B-LAY-03", WIN11)
    assert Past(changes=(one,)).changed_cells(Matrix(rows)) == {place: False}
    still = [*rows, row("t.py::three", WIN11, Outcome.FAIL, "B-LAY-03")]
    assert Past(changes=(one,)).changed_cells(Matrix(still)) == {}
    new = replace(one, before=Outcome.PASS, after=Outcome.FAIL)
    assert Past(changes=(one, new)).changed_cells(Matrix(still)) == {place: True}


def test_without_a_history_there_is_a_page_all_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [row("t.py::one", WIN11, Outcome.PASS, "B-LAY-03")])
    with history_at(None, tmp_path, make=False) as found:
        assert found is None
        assert "Since run" not in render_report(run, history=found)
    assert not (tmp_path / "history.sqlite").exists()


def test_a_course_is_one_class_however_often_it_occurs() -> None:
    marks = Marks()
    first = marks.name([Outcome.PASS, Outcome.FAIL])
    assert marks.name([None, Outcome.PASS, Outcome.FAIL]) == first
    assert marks.name([Outcome.FAIL, Outcome.PASS]) != first
    assert marks.name([Outcome.PASS]) == "", "this run alone is no course"
    assert marks.courses == ["PF", "FP"]
    assert marks.styles.count("{") == 2
    assert len(marks.name([Outcome.PASS] * 50)) > 0
    assert marks.courses[-1] == "P" * 10
