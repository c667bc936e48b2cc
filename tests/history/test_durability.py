"""Processes that are killed, and several at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.history import open_history
from harness.results.outcome import Outcome
from tests.history.runs import row, run_folder, with_evidence
from tests.history.tables import contents

#: Ingests one folder, and kills itself at the statement (or the commit) of that number.
_KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from harness.history import open_history

place, folder, at = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
done = 0
def count(*_):
    global done
    done += 1
    if str(done) == at:
        os.kill(os.getpid(), signal.SIGKILL)

with open_history(place, results=folder.parent) as history:
    event.listen(history._database.engine, "before_cursor_execute", count)
    if at == "commit":
        kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        writing = history._database.writing
        def armed():
            event.listen(history._database.engine, "commit", kill)
            return writing()
        history._database.writing = armed
    history.ingest(folder)
print(done)
"""
#: Opens the history when told to, and ingests.
_AT_ONCE = """
import sys
from pathlib import Path
from harness.history import open_history

print("ready", flush=True)
sys.stdin.readline()
with open_history(sys.argv[1], results=Path(sys.argv[2]).parent) as history:
    for folder in sys.argv[2:]:
        history.ingest(Path(folder))
"""


def _ingest(place: str, folder: Path, at: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _KILLED, place, str(folder), at]
    return subprocess.run(command, capture_output=True, text=True)


def _run(results: Path, day: int = 1) -> Path:
    folder = run_folder(results, day=day, finished=False)
    rows = [with_evidence(folder, f"test_{n}", f"trace {n} of day {day}".encode()) for n in range(5)]
    rows += [row(f"t.py::{n}", duration=float(day)) for n in range(100)]
    folder.joinpath("rows.jsonl").unlink()
    return run_folder(results, rows, day=day)


def test_an_ingest_killed_at_any_point_leaves_all_or_nothing(place: str, results: Path) -> None:
    folder = _run(results)
    open_history(place, results=results).close()
    empty = contents(place)
    # An ingest of this size has some thirty statements.
    for at in ("2", "10", "18", "26", "commit"):
        done = _ingest(place, folder, at)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert contents(place) == empty
    with open_history(place, results=results) as history:
        history.ingest(folder)
        assert len(history.results()) == 105
        assert {each.path and each.path.read_bytes() for each in history.evidence()} == {
            f"trace {n} of day 1".encode() for n in range(5)
        }
        assert history.prune().unreferenced == 0


def test_evidence_of_a_killed_ingest_is_collected(place: str, results: Path) -> None:
    folder = _run(results)
    assert _ingest(place, folder, "commit").returncode == -signal.SIGKILL
    with open_history(place, results=results) as history:
        assert history.runs() == ()
        assert history.prune(dry_run=True).unreferenced == 5
        assert history.prune().unreferenced == 5
        assert history.prune().unreferenced == 0
    assert len(list((folder / "evidence").iterdir())) == 5, "the run's own files are untouched"


@pytest.mark.parametrize("same", [True, False], ids=["the same run", "different runs"])
def test_processes_at_once_make_the_tables_and_lose_nothing(place: str, results: Path, same: bool) -> None:
    folders = [_run(results, day) for day in (1, 2)]
    orders = [folders, folders[::-1]] if same else [folders[:1], folders[1:]]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _AT_ONCE, place, *map(str, order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for order in orders
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    said = [process.communicate(b"go\n")[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    with open_history(place, results=results) as history:
        assert [(each.name, dict(each.counts)) for each in history.runs()] == [
            (folder.name, {Outcome.PASS: 100, Outcome.FAIL: 5}) for folder in folders[::-1]
        ]


def test_commits_are_on_the_disk_and_readers_see_one_state(tmp_path: Path) -> None:
    with open_history(tmp_path / "history.sqlite") as history, history._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_reader_is_not_held_up_by_a_writer_and_does_not_see_its_half(place: str, results: Path) -> None:
    folder = _run(results)
    with open_history(place, results=results) as history, open_history(place, results=results) as other:
        history.ingest(folder)
        with history._database.writing() as connection:
            connection.exec_driver_sql("UPDATE results SET outcome = 'CRASH'")
            assert dict(other.run().counts) == {Outcome.PASS: 100, Outcome.FAIL: 5}
        assert dict(other.run().counts) == {Outcome.CRASH: 105}
