"""What a dead process left is found and removed; what belongs to the living is not touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import InfrastructureError
from harness.image.store import ImageStore
from harness.machine.keep import clean
from harness.machine.keep.clean import Leftover, LeftoverKind, find_leftovers, remove
from harness.machine.keep.guard import Guard
from harness.machine.keep.ledger import Entry, EntryKind, Ledger, Owner, SessionId
from harness.machine.keep.places import Places, private_folder
from harness.machine.keep.processes import Process, end, of_folders, start_time

Starter = Callable[[str, Path], subprocess.Popen[bytes]]

#: Says that it runs, then does until it is ended.
_RUN = "import sys, signal; sys.stdout.write('x'); sys.stdout.flush(); signal.pause()"


@pytest.fixture
def where(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "run", private_folder(tmp_path / "memory"))


@pytest.fixture
def start() -> Iterator[Starter]:
    """``start("qemu-system-x86_64", path)``: a process with that name and a path in its command line."""
    started: list[subprocess.Popen[bytes]] = []

    def make(name: str, path: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [name, "-c", _RUN, f"path={path}"], executable=sys.executable, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        return process

    yield make
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def dead_session() -> SessionId:
    """The id of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = start_time(process.pid)
    assert start is not None
    process.communicate(b"\n")
    return SessionId(process.pid, start, "dead")


def leave_behind(places: Places, session: SessionId) -> tuple[Path, Path]:
    """The folders of `session` as a killed process leaves them."""
    folders = (places.sessions / str(session), places.runtime / str(session))
    owner = Owner.this_process(folders)
    for folder in folders:
        private_folder(folder)
        (folder / "m/c1").mkdir(parents=True)
        (folder / "m/c1/disk0.qcow2").write_bytes(b"x" * 5000)
        owner.write(folder)
    return folders


def test_an_empty_host_has_no_leftovers(where: Places) -> None:
    assert find_leftovers(where) == ()
    remove(())


def test_a_dead_session_goes_with_its_folders_and_machines(where: Places, start: Starter) -> None:
    folders = leave_behind(where, dead_session())
    machine = start("qemu-system-x86_64", folders[1] / "m/c1/channel.sock")
    tpm = start("swtpm", folders[1] / "m/c1/tpm.sock")
    outside = where.memory / "half.ram" if where.memory else where.cache
    outside.write_bytes(b"x")
    Ledger(folders[1]).add(Entry(EntryKind.PATH, str(outside)))

    found = find_leftovers(where)
    assert [leftover.kind for leftover in found] == [LeftoverKind.SESSION]
    assert set(found[0].paths) == set(folders)
    assert found[0].size >= 10_000
    assert "2 of its processes still run" in found[0].reason

    remove(found)
    assert machine.wait(120) == tpm.wait(120) == -signal.SIGKILL
    assert [path for path in (*folders, outside) if path.exists()] == []
    assert find_leftovers(where) == ()


@pytest.mark.parametrize("lost", ["owner", "runtime", "disk", "all"])
def test_half_of_a_dead_session_is_found_too(where: Places, start: Starter, lost: str) -> None:
    """Whoever removed it may have been killed as well."""
    folders = leave_behind(where, dead_session())
    machine = start("qemu-system-x86_64", folders[1] / "m/c1/channel.sock")
    gone = {"owner": [], "runtime": [folders[1]], "disk": [folders[0]], "all": list(folders)}[lost]
    for folder in gone:
        clean.remove_path(folder)
    if lost == "owner":
        for folder in folders:
            (folder / "owner.json").unlink()

    remove(find_leftovers(where))
    assert machine.wait(120) == -signal.SIGKILL
    assert not any(folder.exists() for folder in folders)


def test_a_living_session_is_left_alone(where: Places, start: Starter) -> None:
    folders = leave_behind(where, SessionId.new())
    machine = start("qemu-system-x86_64", folders[1] / "m/c1/channel.sock")
    assert find_leftovers(where, everything=True) == ()
    assert machine.poll() is None


def test_another_containers_session_needs_to_be_asked_for(where: Places) -> None:
    folders = leave_behind(where, dead_session())
    owner = replace(Owner.this_process(folders), namespace="pid:[1]")
    for folder in folders:
        owner.write(folder)
    assert find_leftovers(where) == ()
    assert [found.kind for found in find_leftovers(where, everything=True)] == [LeftoverKind.SESSION]


def test_only_machines_of_that_folder_are_ended(where: Places, start: Starter) -> None:
    folders = leave_behind(where, dead_session())
    editor = start("vi", folders[1] / "m/c1/debug.log")
    other = start("qemu-system-x86_64", where.runtime / "somewhere/else")
    remove(find_leftovers(where))
    assert editor.poll() is None
    assert other.poll() is None


def test_a_process_id_used_again_is_not_ended(where: Places, start: Starter) -> None:
    machine = start("qemu-system-x86_64", where.runtime / "m")
    (found,) = of_folders((where.runtime,))
    assert end([replace(found, start=found.start - 1)]) == ()
    assert machine.poll() is None
    assert end([found]) == ()
    assert machine.wait(120) == -signal.SIGKILL


def test_what_cannot_be_ended_is_named_and_keeps_its_ledger(
    where: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = leave_behind(where, dead_session())
    stubborn = Process(4711, 1, "qemu-system-x86_64 -name guest")
    monkeypatch.setattr("harness.machine.keep.sweep.end", lambda processes: (stubborn,))
    with pytest.raises(InfrastructureError, match=r"process 4711 can't be ended: qemu.*\n.*as the user who"):
        remove(find_leftovers(where))
    assert all(folder.exists() for folder in folders)


def test_an_unfinished_template_of_a_dead_process_goes(where: Places) -> None:
    making = where.templates / f".making-{dead_session()}.t1"
    mine = where.templates / f".making-{SessionId.new()}.t1"
    for folder in (making, mine):
        folder.mkdir(parents=True)
        (folder / "state").write_bytes(b"x")
    found = find_leftovers(where)
    assert [(leftover.kind, leftover.paths) for leftover in found] == [(LeftoverKind.UNFINISHED, (making,))]
    remove(found)
    assert not making.exists()
    assert mine.exists()


def test_a_ram_file_of_no_template_goes_when_its_maker_is_dead(where: Places) -> None:
    assert where.memory is not None
    lost = where.memory / f"{dead_session()}.{'0' * 32}.ram"
    mine = where.memory / f"{SessionId.new()}.{'0' * 32}.ram"
    strange = where.memory / "somebody's notes"
    for path in (lost, mine, strange):
        path.write_bytes(b"x")
    found = find_leftovers(where)
    assert [(leftover.kind, leftover.paths) for leftover in found] == [(LeftoverKind.RAM, (lost,))]
    remove(found)
    assert [path.exists() for path in (lost, mine, strange)] == [False, True, True]


def test_removing_twice_is_no_error(where: Places) -> None:
    folders = leave_behind(where, dead_session())
    found = find_leftovers(where)
    remove(found)
    remove(found)
    assert not any(folder.exists() for folder in folders)


def test_images_go_when_they_are_asked_for_and_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    store = ImageStore()

    def make(into: Path) -> dict[str, object]:
        (into / "disk").write_bytes(b"x" * 5000)
        return {}

    old, new = (store.ensure(name, key, make) for name, key in (("old", "a" * 64), ("new", "b" * 64)))
    long_ago = time.time() - 3 * 86400
    os.utime(old.folder.with_name(f"{old.folder.name}.lock"), (long_ago, long_ago))

    def clean(*options: str) -> list[dict[str, object]]:
        done = CliRunner().invoke(app, ["clean", "--json", *options])
        assert done.exit_code == 0, done.output
        return [each for each in json.loads(done.output) if each["kind"] == "image"]

    assert clean("--all") == clean("--images", "4") == []
    assert [each["paths"] for each in clean("--images", "2", "--dry-run")] == [[str(old.folder)]]
    assert old.folder.exists()
    clean("--images", "2")
    assert [folder.exists() for folder in (old.folder, new.folder)] == [False, True]


def test_a_leftover_says_what_and_why() -> None:
    leftover = Leftover(LeftoverKind.RAM, (Path("/dev/shm/x.ram"),), "process 7 is gone", 5 << 20)
    assert str(leftover) == "RAM file of no template /dev/shm/x.ram, 5 MiB: process 7 is gone"


_OWNER = """
import sys, signal
from pathlib import Path
from harness.machine.keep.ledger import Owner, SessionId
from harness.machine.keep.guard import Guard
base = Path(sys.argv[1])
folder = base / str(SessionId.new())
folder.mkdir()
Owner.this_process((folder,)).write(folder)
guard = Guard(folder)
print(folder, guard.pid, flush=True)
signal.pause()
"""


def test_the_guard_cleans_up_after_a_kill(tmp_path: Path, start: Starter) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert owner.stdout is not None
    with owner.stdout:
        name, guard = owner.stdout.readline().split()
    folder = Path(name)
    machine = start("qemu-system-x86_64", folder / "channel.sock")
    assert machine.poll() is None
    owner.kill()
    owner.wait()
    assert machine.wait(120) == -signal.SIGKILL
    wait_until_gone(int(guard))
    assert not folder.exists()


def wait_until_gone(pid: int) -> None:
    """Until process `pid`, not ours to wait for, has ended."""
    deadline = time.monotonic() + 120
    while start_time(pid) is not None:
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.01)


def test_a_released_guard_ends_and_removes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / str(SessionId.new())
    folder.mkdir()
    Owner.this_process((folder,)).write(folder)
    guard = Guard(folder)
    assert start_time(guard.pid) is not None
    guard.release()
    assert start_time(guard.pid) is None
    assert not folder.exists()


def test_a_guard_outlives_signals_from_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / str(SessionId.new())
    folder.mkdir()
    Owner.this_process((folder,)).write(folder)
    guard = Guard(folder)
    assert os.getsid(guard.pid) != os.getsid(0)
    guard.release()
