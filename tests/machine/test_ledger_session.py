"""There is one session per process, and its folders go with it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.machine.keep.ledger import Entry, EntryKind
from harness.machine.keep.places import Places
from harness.machine.keep.processes import of_folders
from harness.machine.keep.session import Session


def test_a_second_opening_is_the_same_session(machine_session: Session, places: Places) -> None:
    with Session.open(places) as again:
        assert again is machine_session
    assert machine_session.folder.is_dir()


def test_another_cache_needs_another_process_while_machines_may_run(
    machine_session: Session, places: Places, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="need a process of their own"):
        Session.open(replace(places, cache=tmp_path))


def test_machines_have_names_and_folders_of_their_own(machine_session: Session) -> None:
    names = {machine_session.new_name("c") for _ in range(3)}
    assert len(names) == 3
    folders = [machine_session.machine_folder(name) for name in names]
    assert all(folder.is_dir() for folder in folders)
    for name in names:
        machine_session.machine_gone(name)
    assert not any(folder.exists() for folder in folders)


def test_a_machine_of_a_daemon_is_recorded_before_it_starts(
    machine_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process may be another user's: only libvirt can end it."""
    monkeypatch.setattr(machine_session, "uri", "qemu:///system")
    machine_session.expect_machine("c1")
    assert machine_session.ledger.entries() == (Entry(EntryKind.MACHINE, "c1", "qemu:///system"),)
    machine_session.machine_gone("c1")
    assert machine_session.ledger.entries() == ()


_PROGRAM = """
import subprocess, sys
from pathlib import Path
from harness.machine.keep.places import Places
from harness.machine.keep.session import Session
places = Places(*map(Path, sys.argv[1:4]))
with Session.open(places) as session:
    path = session.machine_folder("c1") / "channel.sock"
    command = ["qemu-fake", "-c", "import signal; signal.pause()", str(path)]
    subprocess.Popen(command, executable=sys.executable)
    session.disk_folder("c1").joinpath("disk0.qcow2").write_bytes(b"x")
    session.libvirt_root
print(session.folder, session.disk, sorted(path.name for path in (session.folder / "m").iterdir()))
"""


def test_the_end_of_the_process_is_the_end_of_its_folders(tmp_path: Path) -> None:
    """Also when a machine was forgotten."""
    for folder in ("run", "memory"):
        (tmp_path / folder).mkdir(mode=0o700)
    arguments = [str(tmp_path / name) for name in ("cache", "run", "memory")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", _PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path.cwd(),
        check=True,
    )
    folder, disk, left = done.stdout.split(maxsplit=2)
    assert left.strip() == "[]"
    assert "a machine was not closed" in done.stderr
    assert not Path(folder).exists()
    assert not Path(disk).exists()
    assert of_folders((tmp_path / "run",)) == ()
