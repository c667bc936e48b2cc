from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.history import Change, History
from harness.results.matrix import NO_BEHAVIOUR
from harness.results.outcome import Outcome
from tests.history.runs import OLD, REFERENCE, row, run_folder

PASS, FAIL, CRASH, SKIP = Outcome.PASS, Outcome.FAIL, Outcome.CRASH, Outcome.SKIP


def test_runs_come_newest_first_whatever_order_they_came_in(history: History, results: Path) -> None:
    for day in (2, 3, 1):
        history.ingest(
            run_folder(results, [row(), row("t.py::b", OLD, FAIL)], day=day, plan="p" if day > 1 else "")
        )
    days = [summary.info.started[8:10] for summary in history.runs()]
    assert days == ["03", "02", "01"]
    assert [summary.info.started[8:10] for summary in history.runs(limit=1, plan="p")] == ["03"]
    newest = history.run()
    assert (newest.targets, newest.counts, newest.plan) == ((REFERENCE, OLD), {PASS: 1, FAIL: 1}, "p")


def test_a_run_is_compared_with_the_one_before_of_the_same_plan(history: History, results: Path) -> None:
    nightly = run_folder(results, [row()], day=1, plan="nightly")
    run_folder(results, [row()], day=2, plan="weekly")
    newest = run_folder(results, [row()], day=3, plan="nightly")
    history.ingest_all(results)
    before = history.previous(newest.name)
    assert before is not None
    assert before.name == nightly.name
    assert history.previous(nightly.name) is None


def test_without_a_plan_it_is_what_was_asked_for_that_counts(history: History, results: Path) -> None:
    asked = ("--target", REFERENCE, "suites/a")
    first = run_folder(results, [row()], day=1, arguments=("--run-folder", "results/1", *asked, "-n", "2"))
    run_folder(results, [row()], day=2, arguments=("--run-folder", "results/2", *asked, "-k", "one"))
    newest = run_folder(results, [row()], day=3, arguments=("--run-folder=results/3", *asked))
    history.ingest_all(results)
    before = history.previous(newest.name)
    assert before is not None
    assert before.name == first.name


def test_the_history_of_a_cell_has_a_place_for_every_run(history: History, results: Path) -> None:
    run_folder(results, [row(), row("t.py::b", REFERENCE, FAIL)], day=1)
    run_folder(results, [row(target=OLD)], day=2)
    run_folder(results, [row("t.py::c", behaviours=()), row(build="fixed")], day=3)
    history.ingest_all(results)
    cells = history.cell_history(runs=3)
    assert [info.started[8:10] for info in cells.runs] == ["01", "02", "03"]
    assert cells.cells == {
        ("B-LAY-01", REFERENCE): (FAIL, None, None),
        ("B-LAY-01", OLD): (None, PASS, None),
        ("B-LAY-01", f"{REFERENCE} + fixed"): (None, None, PASS),
        (NO_BEHAVIOUR, REFERENCE): (None, None, PASS),
    }
    assert cells.of("B-XXX-01", OLD) == (None, None, None)
    assert len(history.cell_history(runs=2).runs) == 2


def test_the_history_until_a_run_knows_nothing_of_later_ones(history: History, results: Path) -> None:
    run_folder(results, [row()], day=1, plan="p")
    run_folder(results, [row(outcome=SKIP)], day=2, plan="other")
    middle = run_folder(results, [row(outcome=FAIL)], day=3, plan="p")
    run_folder(results, [row(outcome=CRASH)], day=4, plan="p")
    history.ingest_all(results)
    cells = history.cell_history(runs=10, until=middle.name)
    assert cells.of("B-LAY-01", REFERENCE) == (PASS, FAIL)


def test_a_test_with_several_behaviours_is_in_all_their_cells(history: History, results: Path) -> None:
    history.ingest(run_folder(results, [row("t.py::a", REFERENCE, CRASH, "B-LAY-03", "B-CTX-01")]))
    cells = history.cell_history(runs=1)
    assert cells.of("B-LAY-03", REFERENCE) == cells.of("B-CTX-01", REFERENCE) == (CRASH,)


def test_durations_are_the_sum_of_each_tests_median(history: History, results: Path) -> None:
    for day, (one, two) in enumerate([(1.0, 4.0), (1.2, 4.2), (900.0, 4.4)], start=1):
        run_folder(
            results,
            [
                row("a/test_a.py::test_one", duration=one),
                row("a/test_a.py::test_two[x::y]", duration=two),
                row("a/test_a.py::test_one", OLD, duration=7.0, build="fixed"),
            ],
            day=day,
        )
    # A run of one test only takes nothing away.
    run_folder(results, [row("a/test_a.py::test_one", duration=1.2)], day=4)
    history.ingest_all(results)
    assert history.durations() == {
        ("a/test_a.py", REFERENCE, ""): pytest.approx(1.2 + 4.2),
        ("a/test_a.py", OLD, "fixed"): pytest.approx(7.0),
    }
    assert history.durations(runs=1) == {("a/test_a.py", REFERENCE, ""): pytest.approx(1.2)}


def test_the_difference_of_two_runs(history: History, results: Path) -> None:
    before = run_folder(
        results,
        [
            row("t.py::worse"),
            row("t.py::better", OLD, FAIL),
            row("t.py::same"),
            row("t.py::gone"),
            row("t.py::skip"),
        ],
        day=1,
    )
    after = run_folder(
        results,
        [
            row("t.py::same"),
            row("t.py::skip", outcome=SKIP),
            row("t.py::better", OLD),
            row("t.py::worse", outcome=CRASH, message="CRASH: 0x50"),
            row("t.py::new", outcome=FAIL, message="assert"),
        ],
        day=2,
    )
    history.ingest_all(results)
    found = history.difference(before.name, after.name)
    assert (found.before, found.after, found.same) == (before.name, after.name, 1)
    behaviours = ("B-LAY-01",)
    assert found.worse == (
        Change("t.py::new", REFERENCE, "", behaviours, None, FAIL, "assert"),
        Change("t.py::worse", REFERENCE, "", behaviours, PASS, CRASH, "CRASH: 0x50"),
    )
    assert found.better == (Change("t.py::better", OLD, "", behaviours, FAIL, PASS),)
    assert [(change.test, change.before, change.after) for change in found.changes[3:]] == [
        ("t.py::gone", PASS, None),
        ("t.py::skip", PASS, SKIP),
    ]


def test_the_difference_of_two_targets_of_a_run(history: History, results: Path) -> None:
    history.ingest(
        run_folder(
            results,
            [
                row("t.py::a"),
                row("t.py::a", OLD, FAIL, message="no"),
                row("t.py::b"),
                row("t.py::b", OLD),
                row("t.py::a", OLD, build="fixed"),
            ],
        )
    )
    found = history.difference_of_targets(None, REFERENCE, OLD)
    assert [(change.test, change.build, change.before, change.after) for change in found.changes] == [
        ("t.py::a", "", PASS, FAIL),
        ("t.py::a", "fixed", None, PASS),
    ]
    of_builds = history.difference_of_targets(None, f"{OLD} + fixed", REFERENCE)
    assert [(change.test, change.before, change.after) for change in of_builds.changes] == [
        ("t.py::b", None, PASS)
    ]
    said = f"'vm:none' is no run of the history, .* its targets are .*{REFERENCE}"
    with pytest.raises(UsageError, match=said):
        history.difference_of_targets(None, REFERENCE, "vm:none")


def test_what_is_not_there_is_said(history: History, results: Path) -> None:
    with pytest.raises(UsageError, match="the history has no run"):
        history.run()
    history.ingest(run_folder(results, [row()]))
    with pytest.raises(UsageError, match="no run 'nightly'"):
        history.results("nightly")
    assert history.durations(runs=0) == {}
