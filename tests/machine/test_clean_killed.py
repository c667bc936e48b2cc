"""Killed at whatever moment, with or without its guard, a harness leaves nothing for good."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import harness
from harness.machine.clean import find_leftovers, remove
from harness.machine.places import Places
from harness.machine.processes import start_time
from harness.machine.store import TemplateStore

HOLDER = Path(__file__).parent / "holder.py"
ROOT = Path(harness.__file__).parent.parent
_SECONDS = 60.0


def listen_to_interrupts() -> None:
    """A shell's background jobs ignore SIGINT, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Station:
    """Folders, kernel and disk for processes that are going to be killed."""

    places: Places
    kernel: Path
    disk: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A holder that stays at a moment of `words` ("booted", "template", "answer"); "tpm": with one."""
        where = self.places
        assert where.memory is not None
        arguments = [where.cache, where.runtime, where.memory, self.kernel, self.disk]
        return subprocess.Popen(
            [sys.executable, str(HOLDER), *map(str, arguments), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            preexec_fn=listen_to_interrupts,
        )

    def processes(self) -> list[str]:
        """Every process of this host that names one of the folders, whoever it is."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.places.runtime) in command or str(self.places.cache) in command:
                    found.append(f"{entry.name}: {command[:200]}")
        return found

    def files(self) -> list[str]:
        """Every file and folder that is there and not part of a complete template."""
        where = self.places
        assert where.memory is not None
        store = TemplateStore(where)
        whole = [found.folder for found in store.stored() if found.unusable() is None]
        kept = {path for folder in whole for path in store.ram_files(folder)}
        found = [*where.runtime.iterdir()] if where.runtime.is_dir() else []
        found += [*where.sessions.iterdir()] if where.sessions.is_dir() else []
        found += [path for path in where.memory.glob("*.ram") if path not in kept]
        if where.templates.is_dir():
            found += [path for path in where.templates.iterdir() if path not in whole]
        return [str(path) for path in found if path.suffix != ".lock"]

    def nothing_left(self) -> None:
        assert self.processes() == []
        assert self.files() == []


@pytest.fixture
def station(tiny_kernel: Path, tmp_path: Path) -> Iterator[Station]:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    short = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    memory = Path(tempfile.mkdtemp(prefix="rf-", dir="/dev/shm"))
    station = Station(Places(short / "cache", short / "run", memory), tiny_kernel, disk)
    try:
        yield station
    finally:
        remove(find_leftovers(station.places))
        shutil.rmtree(short)
        shutil.rmtree(memory)


def guard_of(process: subprocess.Popen[str]) -> int:
    """The guard's process, as soon as there is one."""
    assert process.stdout is not None
    word, pid = process.stdout.readline().split()
    assert word == "session"
    return int(pid)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert process.stdout is not None
    process.stdout.close()


def wait_until_gone(pid: int) -> None:
    """Until process `pid`, not ours to wait for, has ended."""
    deadline = time.monotonic() + _SECONDS
    while start_time(pid) is not None:
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.01)


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return
    raise AssertionError(f"the holder ended before it said {word!r}")


@pytest.mark.parametrize("moment", ["booted", "template", "answer"])
def test_the_guard_leaves_nothing(station: Station, moment: str) -> None:
    tpm = ("tpm",) if shutil.which("swtpm") else ()
    process = station.start(moment, *tpm)
    guard = guard_of(process)
    read_until(process, moment)
    assert station.processes() != []
    kill(process)
    wait_until_gone(guard)
    remove(found := find_leftovers(station.places))
    assert found == ()  # the guard was enough
    station.nothing_left()


@pytest.mark.parametrize("moment", ["booted", "answer"])
def test_without_its_guard_cleaning_finds_all(station: Station, moment: str) -> None:
    tpm = ("tpm",) if shutil.which("swtpm") else ()
    process = station.start(moment, *tpm)
    guard = guard_of(process)
    read_until(process, moment)
    os.kill(guard, signal.SIGKILL)
    kill(process)
    assert find_leftovers(station.places) != ()
    assert station.processes() != []  # its machines run on
    remove(find_leftovers(station.places))
    station.nothing_left()


def test_killed_at_random_moments(station: Station) -> None:
    """Whatever it was doing: starting, booting, freezing, cloning. Every second time its guard goes too."""
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for number in range(6):
        process = station.start()
        guard = guard_of(process)
        time.sleep(moments.uniform(0, 2.5))
        if number % 2:
            os.kill(guard, signal.SIGKILL)
        kill(process)
        wait_until_gone(guard)
        remove(find_leftovers(station.places))
        try:
            station.nothing_left()
        except AssertionError as error:
            error.add_note(f"kill number {number} of seed {seed}")
            raise


def test_the_next_start_removes_what_is_left_and_works(station: Station) -> None:
    process = station.start("answer")
    guard = guard_of(process)
    read_until(process, "answer")
    os.kill(guard, signal.SIGKILL)
    kill(process)
    left = station.processes()
    assert left != []

    following = station.start()
    guard = guard_of(following)
    read_until(following, "answer")
    assert set(left).isdisjoint(station.processes())
    kill(following)
    wait_until_gone(guard)
    station.nothing_left()


def test_a_polite_end_leaves_nothing(station: Station) -> None:
    process = station.start()
    guard = guard_of(process)
    read_until(process, "answer")
    process.send_signal(signal.SIGINT)
    process.wait(_SECONDS)
    assert process.stdout is not None
    process.stdout.close()
    assert start_time(guard) is None
    station.nothing_left()
