from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.history import EvidenceState, History, open_history
from harness.results.outcome import Outcome
from tests.history.runs import append, row, run_folder, with_evidence


def _with_files(results: Path, *contents: bytes, day: int = 1) -> Path:
    folder = run_folder(results, day=day, finished=False)
    append(folder, *(with_evidence(folder, f"test_{n}", content) for n, content in enumerate(contents)))
    return folder


def _stored(results: Path) -> list[Path]:
    return sorted(path for path in (results / "history.evidence").rglob("*") if path.is_file())


def test_evidence_is_kept_once_by_its_content_and_read_only(history: History, results: Path) -> None:
    folder = _with_files(results, b"the same", b"the same", b"another")
    assert history.ingest(folder).evidence == 2
    digest = hashlib.sha256(b"the same").hexdigest()
    place = results / "history.evidence" / digest[:2] / digest
    assert place in _stored(results)
    assert len(_stored(results)) == 2
    assert place.stat().st_mode & 0o222 == 0
    kept = history.evidence()
    assert [(each.test, each.state, each.digest == digest) for each in kept] == [
        ("suites/a/test_a.py::test_0", EvidenceState.KEPT, True),
        ("suites/a/test_a.py::test_1", EvidenceState.KEPT, True),
        ("suites/a/test_a.py::test_2", EvidenceState.KEPT, False),
    ]
    assert [each.path and each.path.read_bytes() for each in kept] == [b"the same", b"the same", b"another"]


def test_the_folder_of_the_run_stays_as_it_is_and_takes_no_more_room(history: History, results: Path) -> None:
    folder = _with_files(results, b"trace")
    history.ingest(folder)
    (own,) = (folder / "evidence").iterdir()
    (stored,) = _stored(results)
    assert own.read_bytes() == b"trace"
    assert own.samefile(stored)


def test_bundle_and_comparison_belong_to_a_row_too(history: History, results: Path) -> None:
    folder = _with_files(results)
    (folder / "bundles").mkdir()
    (folder / "bundles" / "a.zip").write_bytes(b"zip")
    (folder / "evidence").mkdir()
    (folder / "evidence" / "a.json").write_bytes(b"{}")
    append(folder, row(bundle="bundles/a.zip", comparison="evidence/a.json"))
    assert history.ingest(folder).evidence == 2
    assert [each.name for each in history.evidence()] == ["bundles/a.zip", "evidence/a.json"]


def test_what_is_missing_is_told_and_costs_nothing_else(history: History, results: Path) -> None:
    folder = _with_files(results, b"there")
    append(folder, row("t.py::b", evidence=("evidence/gone",)))
    done = history.ingest(folder)
    assert (done.added, done.evidence, done.missing) == (2, 1, ("evidence/gone",))
    assert [(each.name, each.state, each.path) for each in history.evidence()][1:] == [
        ("evidence/gone", EvidenceState.MISSING, None)
    ]


def test_names_that_lead_out_of_the_folder_are_missing(
    history: History, results: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    folder = _with_files(results, b"there")
    place = folder / "evidence"
    (place / "link").symlink_to(secret)
    (place / "folder").symlink_to(tmp_path)
    os.mkfifo(place / "pipe")
    names = (
        str(secret),
        "../../secret",
        "evidence/link",
        "evidence/folder/secret",
        "evidence/pipe",
        "evidence",
        "evidence/a\x00b",
        "evidence/" + "x" * 5000,
        ".",
    )
    append(folder, row("t.py::b", evidence=names))
    assert history.ingest(folder).missing == names
    assert [path.read_bytes() for path in _stored(results)] == [b"there"]


@pytest.mark.parametrize("trouble", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_a_file_that_cannot_have_two_names_is_copied(
    history: History, results: Path, monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(trouble, os.strerror(trouble))

    monkeypatch.setattr(os, "link", refuse)
    folder = _with_files(results, b"trace")
    history.ingest(folder)
    (stored,) = _stored(results)
    assert stored.read_bytes() == b"trace"
    assert not stored.samefile(next((folder / "evidence").iterdir()))


def test_a_full_disk_stores_nothing_and_the_next_time_all(
    history: History, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = _with_files(results, b"one", b"two")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(InfrastructureError, match="No space left"):
            history.ingest(folder)
    assert history.runs() == ()
    assert _stored(results) == []
    assert history.ingest(folder).evidence == 2


def test_a_file_that_changes_while_it_is_stored_is_not_passed_off(
    history: History, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _with_files(results, b"before")
    (own,) = (folder / "evidence").iterdir()
    link = os.link

    def change(*arguments: object, **more: object) -> None:
        own.write_bytes(b"after, and longer")
        link(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", change)
    with pytest.raises(InfrastructureError, match="changed while it was stored"):
        history.ingest(folder)
    assert _stored(results) == []


def test_content_that_was_cut_off_is_brought_again(history: History, results: Path) -> None:
    history.ingest(_with_files(results, b"trace"))
    (stored,) = _stored(results)
    stored.unlink()
    stored.write_bytes(b"tr")
    history.ingest(_with_files(results, b"trace", day=2))
    assert stored.read_bytes() == b"trace"


def test_a_row_that_changed_has_its_new_evidence(history: History, results: Path) -> None:
    folder = _with_files(results, b"old")
    history.ingest(folder)
    append(folder, with_evidence(folder, "test_0", b"new", outcome=Outcome.PASS))
    history.ingest(folder)
    assert [each.path and each.path.read_bytes() for each in history.evidence()] == [b"new"]


def test_two_databases_in_a_folder_keep_out_of_each_others_evidence(results: Path) -> None:
    folder = _with_files(results, b"trace")
    with open_history(results / "one.sqlite") as one, open_history(results / "two.sqlite") as two:
        one.ingest(folder)
        assert two.prune().unreferenced == 0
        assert one.evidence()[0].path == results / "one.evidence" / one.evidence()[0].digest[:2] / (
            one.evidence()[0].digest
        )
        assert one.evidence()[0].path.is_file()
