from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from harness.errors import UsageError
from harness.history import History, Ingested
from harness.results.folder import RunReader
from harness.results.model import MAX_MESSAGE, Attestation
from harness.results.outcome import Outcome
from tests.history.runs import OLD, append, row, run_folder, say
from tests.history.tables import contents

MACHINE = Attestation(
    "vm:win11-24h2",
    "windows",
    "10.0.26100",
    "x64",
    drivers={"mine": "cd" * 32},
    filters=("380010.7301#1", "380000"),
    ubr=2314,
    secure_boot=False,
    clock_skew=-0.25,
    verifier_flags=0x209BB,
)


def test_rows_come_back_as_they_were(history: History, results: Path) -> None:
    rows = (
        replace(
            row("t.py::a", "vm:win11-24h2", Outcome.FAIL, "B-LAY-03", "B-LAY-05"),
            attestation=MACHINE,
            duration=1.25,
            message="assert 1 == 2",
            detail="the whole\ntext",
            evidence=("evidence/gone",),
            recorded={"status": "0xc0000022"},
            started="2026-01-01T02:00:01.500+00:00",
            build="fixed",
            known="https://example.org/1",
            bundle="bundles/a.zip",
            comparison="evidence/a.json",
            callbacks=(1, 15),
        ),
        row("t.py::b", "", Outcome.PASS, attestation=None, behaviours=()),
        row("t.py::c", OLD, Outcome.SKIP, message="needs Windows 10"),
    )
    folder = run_folder(results, rows)
    assert history.ingest(folder).added == 3
    assert history.results(folder.name) == rows == tuple(RunReader(folder))
    assert history.run().info == RunReader(folder).info


def test_the_same_folder_again_changes_nothing(history: History, place: str, results: Path) -> None:
    folder = run_folder(results, [row("t.py::a"), row("t.py::b", OLD)], finished=False)
    history.ingest(folder)
    before = contents(place)
    again = history.ingest(folder)
    assert again == Ingested(folder.name, unchanged=2)
    assert contents(place) == before


def test_a_run_that_ended_is_known_at_a_glance(
    history: History, place: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(results, [row("t.py::a"), row("t.py::b")])
    history.ingest(folder)
    monkeypatch.setattr("harness.history.history.read_folder", None)
    assert history.ingest(folder) == Ingested(folder.name, unchanged=2)


def test_a_run_that_grew_adds_what_is_new(history: History, results: Path) -> None:
    folder = run_folder(results, [row("t.py::a")], finished=False)
    history.ingest(folder)
    append(folder, row("t.py::b"))
    assert history.ingest(folder) == Ingested(folder.name, added=1, unchanged=1)
    say(folder, finished="2026-01-01T03:00:00+00:00", exit_code=1)
    history.ingest(folder)
    summary = history.run(folder.name)
    assert (summary.info.finished, summary.info.exit_code) == ("2026-01-01T03:00:00+00:00", 1)
    assert [result.test for result in history.results()] == ["t.py::a", "t.py::b"]


def test_a_row_that_was_half_written_comes_with_the_next_time(history: History, results: Path) -> None:
    folder = run_folder(results, [row("t.py::a")], finished=False)
    line = json.dumps(row("t.py::b").to_json()) + "\n"
    with (folder / "rows.jsonl").open("a") as file:
        file.write(line[:100])
    assert history.ingest(folder).added == 1
    with (folder / "rows.jsonl").open("a") as file:
        file.write(line[100:])
    assert history.ingest(folder).added == 1


def test_of_a_test_that_was_repeated_the_later_row_counts(history: History, results: Path) -> None:
    folder = run_folder(results, [row(outcome=Outcome.FAIL)], finished=False)
    history.ingest(folder)
    append(folder, row(outcome=Outcome.PASS))
    assert history.ingest(folder) == Ingested(folder.name, changed=1)
    assert [result.outcome for result in history.results()] == [Outcome.PASS]


def test_the_last_attempt_counts_and_all_are_kept(history: History, results: Path) -> None:
    folder = run_folder(results, [row(outcome=Outcome.INFRA)], finished=False)
    history.ingest(folder)
    append(folder, row(outcome=Outcome.INFRA, attempt=2), row(outcome=Outcome.PASS, attempt=3))
    history.ingest(folder)
    assert history.run().counts == {Outcome.PASS: 1}
    assert [result.attempt for result in history.results()] == [1, 2, 3]
    cells = history.cell_history(runs=1)
    assert cells.of("B-LAY-01", "reference:10.0.26100") == (Outcome.PASS,)


def test_jobs_of_a_run_that_goes_on_are_part_of_it(history: History, results: Path) -> None:
    run = run_folder(results, finished=False, plan="nightly")
    job = run_folder(run / "jobs", [], name="0001-reference", finished=False)
    (job / "evidence").mkdir()
    (job / "evidence" / "trace.txt").write_text("seen")
    append(job, row("t.py::a", outcome=Outcome.FAIL, evidence=("evidence/trace.txt",)))
    assert history.ingest(run).added == 1
    (kept,) = history.evidence()
    assert (kept.name, kept.path and kept.path.read_text()) == (
        "jobs/0001-reference/evidence/trace.txt",
        "seen",
    )
    # What the conductor writes at the end: the same rows, named from the run's folder.
    append(run, *history.results())
    say(run, finished="2026-01-01T04:00:00+00:00", exit_code=1)
    assert history.ingest(run) == Ingested(run.name, unchanged=1)


def test_another_run_of_the_same_name_is_refused(history: History, results: Path, tmp_path: Path) -> None:
    history.ingest(run_folder(results, [row(duration=1.0)], name="nightly"))
    other = run_folder(tmp_path / "elsewhere", [row(duration=2.0)], name="nightly", day=2)
    with pytest.raises(UsageError, match="another run named 'nightly'"):
        history.ingest(other)
    assert [result.duration for result in history.results("nightly")] == [1.0]


def test_a_run_that_was_resumed_is_the_same_run(history: History, results: Path) -> None:
    folder = run_folder(results, [row("t.py::a")], finished=False)
    history.ingest(folder)
    append(folder, row("t.py::b"))
    say(folder, started="2026-01-02T02:00:00+00:00")
    assert history.ingest(folder).added == 1


HOSTILE = "nul\x00 lone\ud800 quote'\" %s :name ☃"


def test_what_a_guest_says_is_stored_whatever_it_is(history: History, results: Path) -> None:
    long_name = f"t.py::{'x' * 200_000}"
    folder = run_folder(
        results,
        [
            row(f"t.py::{HOSTILE}", f"vm:{HOSTILE}", Outcome.FAIL, HOSTILE, message=HOSTILE, detail=HOSTILE),
            row(long_name, recorded={HOSTILE: HOSTILE}, message="x" * (MAX_MESSAGE + 1)),
            row(f"{long_name}y", evidence=(HOSTILE,), build=HOSTILE, known=HOSTILE),
        ],
    )
    assert history.ingest(folder).added == 3
    first, second, third = history.results()
    assert first.target == f"vm:{first.message}"
    assert first.message.startswith(r"nul\x00 lone\ud800 quote'")
    assert (second.test, third.test) == (long_name, f"{long_name}y")
    assert len(second.message) == MAX_MESSAGE
    assert history.ingest(folder) == Ingested(folder.name, unchanged=3)
    assert history.difference_of_targets(None, first.target, "reference:10.0.26100").changes


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": float("nan")},
        {"duration": 1e999},
        {"duration": -1},
        {"attempt": 2**70},
        {"attempt": 0},
        {"outcome": "GOOD"},
        {"attestation": []},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_is_told_and_nothing_is_stored(
    history: History, place: str, results: Path, wrong: dict[str, Any]
) -> None:
    folder = run_folder(results, [row("t.py::a")])
    append(folder, {**row("t.py::b").to_json(), **wrong})
    with pytest.raises(UsageError, match="not a result row"):
        history.ingest(folder)
    assert not any(contents(place).values())


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("rows.jsonl", "[" * 100_000 + "\n"),
        ("rows.jsonl", "{}\n"),
        ("run.json", "[" * 100_000),
        ("run.json", '{"name": 1}'),
        ("plan.json", '{"plan": []}'),
        ("plan.json", "[" * 100_000),
    ],
)
def test_a_damaged_folder_is_a_clear_error(history: History, results: Path, file: str, text: str) -> None:
    folder = run_folder(results, [row()])
    (folder / file).write_text(text)
    with pytest.raises(UsageError):
        history.ingest(folder)


@pytest.mark.parametrize("started", ["yesterday", "", "0001-01-01T00:00:00+14:00"])
def test_a_run_without_a_time_is_refused(history: History, results: Path, started: str) -> None:
    folder = run_folder(results, [row()])
    say(folder, started=started)
    with pytest.raises(UsageError, match=r"run\.json: started: .* is no time"):
        history.ingest(folder)


def test_one_damaged_folder_keeps_no_other_one_out(history: History, results: Path) -> None:
    damaged, good = run_folder(results, [row()], day=1), run_folder(results, [row()], day=2)
    (damaged / "run.json").write_text("{}")
    told = history.ingest_all(results)
    assert [bool(each.trouble) for each in told] == [True, False]
    assert [summary.name for summary in history.runs()] == [good.name]


def test_statements_do_not_grow_with_rows(history: History, results: Path) -> None:
    """Rows go in by the thousands. The unit that counts is a round trip."""
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(history._database.engine, "before_cursor_execute", count)
    history.ingest(run_folder(results, (row(f"t.py::{n}") for n in range(4_000)), day=1))
    assert statements < 60
    statements = 0
    history.ingest(run_folder(results, (row(f"t.py::{n}", duration=n) for n in range(4_000)), day=2))
    assert statements < 60
