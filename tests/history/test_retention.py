from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.history import EvidenceState, History, Pruned, Retention, open_history
from harness.history.evidence import EvidenceStore
from harness.results.outcome import Outcome
from tests.history.runs import append, run_folder, with_evidence

#: The runs are of January 2026.
NOW = datetime(2026, 2, 1, tzinfo=UTC)
KEPT, PRUNED = EvidenceState.KEPT, EvidenceState.PRUNED


def _run(results: Path, day: int, *, plan: str = "", size: int = 100, **contents: bytes) -> Path:
    """A run with a pass, a failure and a known issue, each with evidence of `size` bytes."""
    folder = run_folder(results, day=day, finished=False, plan=plan)
    outcomes = {"passed": Outcome.PASS, "failed": Outcome.FAIL, "known": Outcome.KNOWN}
    append(
        folder,
        *(
            with_evidence(
                folder, name, contents.get(name, f"{name} {day} ".encode().ljust(size, b".")), outcome=outcome
            )
            for name, outcome in outcomes.items()
        ),
    )
    return folder


def _states(history: History, run: Path) -> dict[str, EvidenceState]:
    for each in history.evidence(run.name):
        assert (each.path is not None and each.path.is_file()) == (each.state is KEPT)
    return {each.test.partition("::")[2]: each.state for each in history.evidence(run.name)}


def _stored(results: Path) -> int:
    return sum(1 for path in (results / "history.evidence").rglob("*") if path.is_file())


def test_passes_are_thinned_out_and_failures_stay(history: History, results: Path) -> None:
    old, new = _run(results, 1), _run(results, 20)
    history.ingest_all(results)
    rows = history.results(old.name)
    assert history.prune(Retention(passes_days=20), now=NOW) == Pruned(1, 0, 0, 100)
    assert _states(history, old) == {"passed": PRUNED, "failed": KEPT, "known": KEPT}
    assert _states(history, new) == {"passed": KEPT, "failed": KEPT, "known": KEPT}
    assert history.results(old.name) == rows
    assert _stored(results) == 5
    # A file with two names goes with the last one.
    assert sorted(path.name for path in (old / "evidence").iterdir()) == ["failed", "known"]
    assert history.prune(Retention(passes_days=20), now=NOW) == Pruned(0, 0, 0, 0)


def test_failures_can_have_an_end_too(history: History, results: Path) -> None:
    old, new = _run(results, 1), _run(results, 20)
    history.ingest_all(results)
    policy = Retention(passes_days=5, failures_days=20)
    assert history.prune(policy, now=NOW) == Pruned(2, 2, 0, 400)
    assert set(_states(history, old).values()) == {PRUNED}
    assert _states(history, new) == {"passed": PRUNED, "failed": KEPT, "known": KEPT}


def test_a_dry_run_says_the_same_and_removes_nothing(history: History, results: Path) -> None:
    old = _run(results, 1)
    history.ingest(old)
    would = history.prune(Retention(passes_days=1), now=NOW, dry_run=True)
    assert would == Pruned(1, 0, 0, 100)
    assert set(_states(history, old).values()) == {KEPT}
    assert history.prune(Retention(passes_days=1), now=NOW) == would


def test_over_its_size_passes_go_first_and_the_oldest_first(history: History, results: Path) -> None:
    runs = [_run(results, day) for day in (1, 2, 3)]
    history.ingest_all(results)
    for_ever = {"passes_days": 0.0, "failures_days": 0.0}
    assert history.prune(Retention(**for_ever, max_bytes=900), now=NOW) == Pruned(0, 0, 0, 0)
    history.prune(Retention(**for_ever, max_bytes=799), now=NOW)
    assert [_states(history, run)["passed"] for run in runs] == [PRUNED, PRUNED, KEPT]
    history.prune(Retention(**for_ever, max_bytes=500), now=NOW)
    assert [_states(history, run) for run in runs] == [
        {"passed": PRUNED, "failed": PRUNED, "known": KEPT},
        {"passed": PRUNED, "failed": KEPT, "known": KEPT},
        {"passed": PRUNED, "failed": KEPT, "known": KEPT},
    ]


def test_content_that_a_failure_still_needs_stays(history: History, results: Path) -> None:
    run = _run(results, 1, passed=b"shared", failed=b"shared")
    history.ingest(run)
    assert history.prune(Retention(passes_days=1), now=NOW) == Pruned(1, 0, 0, 0)
    assert _states(history, run)["failed"] is KEPT
    assert (run / "evidence" / "failed").read_bytes() == b"shared"


def test_runs_of_other_plans_are_left_alone(history: History, results: Path) -> None:
    mine, other = _run(results, 1, plan="mine"), _run(results, 2, plan="other")
    history.ingest_all(results)
    history.prune(Retention(passes_days=1), plan="mine", now=NOW)
    assert [_states(history, run)["passed"] for run in (mine, other)] == [PRUNED, KEPT]


def test_what_was_pruned_does_not_come_back_with_the_next_ingest(history: History, results: Path) -> None:
    run = _run(results, 1)
    history.ingest(run)
    history.prune(Retention(passes_days=1), now=NOW)
    history.ingest(run)
    assert _states(history, run)["passed"] is PRUNED


def test_what_somebody_put_in_place_of_the_evidence_is_not_removed(history: History, results: Path) -> None:
    run = _run(results, 1)
    history.ingest(run)
    (run / "evidence" / "passed").unlink()
    (run / "evidence" / "passed").write_text("notes")
    history.prune(Retention(passes_days=1), now=NOW)
    assert (run / "evidence" / "passed").read_text() == "notes"


def test_a_prune_waits_for_an_ingest_and_takes_nothing_from_it(
    place: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its files and its commit, no row that others see refers to an ingest's evidence."""
    run = _run(results, 1)
    placed, go_on, pruned = threading.Event(), threading.Event(), threading.Event()
    add = EvidenceStore.add

    def stopping(store: EvidenceStore, files: object) -> int:
        count = add(store, files)  # type: ignore[arg-type]
        placed.set()
        assert go_on.wait(300)
        return count

    monkeypatch.setattr(EvidenceStore, "add", stopping)

    def ingest() -> None:
        with open_history(place, results=results) as history:
            history.ingest(run)

    def prune() -> None:
        with open_history(place, results=results) as history:
            history.prune(Retention(passes_days=0), now=NOW)
        pruned.set()

    threads = [threading.Thread(target=ingest), threading.Thread(target=prune)]
    threads[0].start()
    assert placed.wait(300)
    assert _stored(results) == 3
    threads[1].start()
    # It can't be seen that somebody waits; that it isn't done can.
    assert not pruned.wait(0.3)
    go_on.set()
    for thread in threads:
        thread.join(300)
    with open_history(place, results=results) as history:
        assert set(_states(history, run).values()) == {KEPT}


_KILLED = """
import os, signal, sys
from pathlib import Path
from harness.history import Retention, evidence, open_history, retention

module, name = sys.argv[3].split(".")
owner = {"retention": retention, "store": evidence.EvidenceStore}[module]
setattr(owner, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
with open_history(sys.argv[1], results=Path(sys.argv[2])) as history:
    history.prune(Retention(passes_days=1))
"""


@pytest.mark.parametrize("at", ["retention.mark_pruned", "retention.remove_copies", "store.remove"])
def test_a_prune_that_is_killed_is_finished_by_the_next_one(place: str, results: Path, at: str) -> None:
    run = _run(results, 1)
    with open_history(place, results=results) as history:
        history.ingest(run)
    done = subprocess.run([sys.executable, "-c", _KILLED, place, str(results), at], capture_output=True)
    assert done.returncode == -9, done.stderr
    with open_history(place, results=results) as history:
        history.prune(Retention(passes_days=1))
        assert _states(history, run) == {"passed": PRUNED, "failed": KEPT, "known": KEPT}
    assert _stored(results) == 2
    assert sorted(path.name for path in (run / "evidence").iterdir()) == ["failed", "known"]


def test_what_a_killed_writer_had_not_finished_is_swept(history: History, results: Path) -> None:
    history.ingest(_run(results, 1))
    part = results / "history.evidence" / "ab" / "incoming-0123"
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"half")
    history.prune(Retention(passes_days=0))
    assert not part.exists()
    assert _stored(results) == 3


@pytest.mark.parametrize(
    "wrong", [{"passes_days": -1}, {"failures_days": float("nan")}, {"max_bytes": -5}], ids=str
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="retention"):
        Retention(**wrong)  # type: ignore[arg-type]


def test_a_policy_longer_than_time_itself_keeps_everything(history: History, results: Path) -> None:
    history.ingest(_run(results, 1))
    assert history.prune(Retention(passes_days=1e9), now=NOW) == Pruned(0, 0, 0, 0)
