"""What travels between a conductor and hosts: whole, in order, and nothing but a job's own files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.matrix.cluster import parcel, remote
from harness.matrix.cluster.parcel import (
    Began,
    Ended,
    FilePiece,
    JobParcel,
    Receiver,
    Row,
    Told,
    all_files,
    entry_of,
    pieces,
)
from harness.matrix.run.folder import JobFolder
from harness.plugin.journal import Kind
from harness.results.folder import RunWriter, write_evidence
from harness.results.model import RunResult
from harness.results.outcome import Outcome
from tests.matrix.world import NEW, World, with_driver


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "root")
    world.suite("test_a.py", "def test_a(target): pass\ndef test_b(target): assert 0\n")
    return world


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    found = JobFolder(tmp_path / "run" / "jobs" / "0001")
    found.path.mkdir(parents=True)
    return found


def digests(world: World) -> dict[str, str]:
    return {"test_a.py": hashlib.sha256((world.root / "test_a.py").read_bytes()).hexdigest()}


def test_files_arrive_as_they_were(
    folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "_PIECE", 1000)
    there = tmp_path / "there"
    contents = {"empty": b"", "small": b"x" * 999, "whole": b"y" * 3000, "large": bytes(range(256)) * 40}
    for name, data in contents.items():
        write_evidence(there, name, data)
    (there / "output.log").write_bytes(b"said")
    sent: set[str] = set()
    receiver = Receiver(folder)
    found = list(pieces(there, all_files(there), sent))
    assert max(len(piece.data) for piece in found) == 1000
    for piece in found:
        receiver.take(piece)
    assert {file.name: file.read_bytes() for file in (folder.path / "evidence").iterdir()} == contents
    assert folder.output.read_bytes() == b"said"
    assert list(pieces(there, all_files(there), sent)) == []  # nothing is sent twice


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "/etc/passwd",
        "../rows.jsonl",
        "evidence/../../x",
        "rows.jsonl",
        "done.json",
        "evidence",
        "evidence/a\0b",
        "evidence/" + "a" * 2000,
    ],
)
def test_a_host_writes_nowhere_but_into_the_jobs_own_places(folder: JobFolder, name: str) -> None:
    with pytest.raises(InfrastructureError, match="which is none of a job's"):
        Receiver(folder).take(FilePiece(name, 0, b"x"))
    assert [file for file in folder.path.parent.rglob("*") if file.is_file()] == []


def test_a_host_sends_no_more_than_there_may_be(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel, "_MAX_ALL", 100)
    receiver = Receiver(folder)
    receiver.take(FilePiece("evidence/a", 0, bytes(60)))
    with pytest.raises(InfrastructureError, match="more than a job may leave"):
        receiver.take(FilePiece("evidence/b", 0, bytes(60)))


def test_pieces_out_of_order_are_refused(folder: JobFolder) -> None:
    receiver = Receiver(folder)
    receiver.take(FilePiece("evidence/a", 0, bytes(10)))
    with pytest.raises(InfrastructureError, match="wrong order"):
        receiver.take(FilePiece("evidence/a", 20, bytes(10)))


@pytest.mark.parametrize("line", ["", "[]", "{", json.dumps({"test": "a"})])
def test_what_is_no_row_is_refused(folder: JobFolder, line: str) -> None:
    with pytest.raises(Exception, match="row") as caught:
        Receiver(folder).take(Row(line))
    assert type(caught.value).__name__ in {"InfrastructureError", "UsageError"}
    assert folder.rows == ()


def test_what_is_no_entry_is_refused() -> None:
    with pytest.raises(InfrastructureError, match="no entry of a journal"):
        entry_of(Told(b"[]"))


def test_a_job_runs_from_its_parcel_and_tells_all(
    world: World, folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host, without Ray: another root, another cache, a driver that came along."""
    driver = world.root / "my.sys"
    driver.write_bytes(b"MZ")
    plan = world.plan()
    job = with_driver(world.jobs(plan)[0], driver, "7")
    packed = JobParcel.pack(plan, job, folder, digests(world))
    driver.unlink()
    elsewhere = tmp_path / "elsewhere"
    world.root.rename(elsewhere)
    monkeypatch.setenv(remote.ROOT_VARIABLE, str(elsewhere))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    receiver = Receiver(folder)
    messages = list(remote.run_parcel(packed))
    for message in messages:
        if isinstance(message, FilePiece | Row):
            receiver.take(message)
    assert isinstance(messages[0], Began)
    assert isinstance(messages[-1], Ended)
    assert messages[-1].processes == 1
    assert [(row.test, row.outcome, row.build) for row in folder.rows] == [
        ("test_a.py::test_a", Outcome.PASS, "7"),
        ("test_a.py::test_b", Outcome.FAIL, "7"),
    ]
    told = [entry_of(message).kind for message in messages if isinstance(message, Told)]
    assert told == [Kind.PLANNED] * 2 + [Kind.READY] + [Kind.BEGUN, Kind.OVER] * 2
    assert b"test_b" in folder.output.read_bytes()
    assert list((tmp_path / "cache" / "sessions").iterdir()) == []


def test_what_is_there_is_not_run_again_and_keeps_its_name(
    world: World, folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = world.plan()
    (job,) = world.jobs(plan)
    name = write_evidence(folder.path, "trace.txt", b"of the first host")
    with RunWriter(folder.path) as writer:
        writer.add(RunResult("test_a.py::test_a", NEW, Outcome.PASS, evidence=(name,)))
    packed = JobParcel.pack(plan, job, folder, digests(world))
    assert packed.there == (name,)
    packed.lay_out(tmp_path / "laid-out")
    assert write_evidence(tmp_path / "laid-out", "trace.txt", b"of the second") == "evidence/2-trace.txt"
    monkeypatch.setenv(remote.ROOT_VARIABLE, str(world.root))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    messages = list(remote.run_parcel(packed))
    assert [json.loads(message.line)["test"] for message in messages if isinstance(message, Row)] == [
        "test_a.py::test_b"
    ]
    assert [message.name for message in messages if isinstance(message, FilePiece)][-1] == "output.log"
    assert name not in {message.name for message in messages if isinstance(message, FilePiece)}


def test_a_host_with_other_tests_refuses(
    world: World, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = world.plan()
    (job,) = world.jobs(plan)
    packed = JobParcel.pack(plan, job, folder, digests(world))
    (world.root / "test_a.py").write_text("# another commit\n")
    monkeypatch.setenv(remote.ROOT_VARIABLE, str(world.root))
    with pytest.raises(InfrastructureError, match=r"has other tests below .*: test_a\.py"):
        list(remote.run_parcel(packed))


def test_files_below_the_root_are_looked_for_below_the_hosts_root(
    world: World, folder: JobFolder, tmp_path: Path
) -> None:
    known = world.root / "known.toml"
    known.write_text("# none\n")
    plan = replace(world.plan(), known_issues=known, recipes=(world.root / "machines", Path("/srv/recipes")))
    packed = JobParcel.pack(plan, world.jobs(plan)[0], folder, {})
    place = tmp_path / "place"
    place.mkdir()
    there, _ = packed.unpack(place, Path("/checkout"))
    assert there.root == Path("/checkout")
    assert there.recipes == (Path("/checkout/machines"), Path("/srv/recipes"))
    assert there.known_issues is not None
    assert there.known_issues.read_text() == "# none\n"
    assert there.known_issues.is_relative_to(place)
