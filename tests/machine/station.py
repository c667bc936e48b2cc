"""A harness process to be killed, and what it leaves: for the tests of cleaning, and for soaks."""

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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import harness
from harness.machine.keep.clean import find_leftovers, remove
from harness.machine.keep.places import Places
from harness.machine.keep.processes import start_time
from harness.machine.keep.store import TemplateStore

__all__ = ["Station", "guard_of", "kill", "kill_at_random", "new_station", "read_until", "wait_until_gone"]

HOLDER = Path(__file__).parent / "holder.py"
ROOT = Path(harness.__file__).parent.parent
_SECONDS = 300.0
#: A holder has made its template and taken clones by then.
_LONGEST = 2.5


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


@contextmanager
def new_station(kernel: Path, disk: Path) -> Iterator[Station]:
    """Folders of its own for a kernel and a new disk; whatever is left in them goes at the end."""
    disk.write_bytes(bytes(1 << 20))
    short = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    memory = Path(tempfile.mkdtemp(prefix="rf-", dir="/dev/shm"))
    station = Station(Places(short / "cache", short / "run", memory), kernel, disk)
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


def kill_at_random(station: Station, count: int, seed: int) -> Iterator[int]:
    """Kill `count` holders whatever they are doing: starting, booting, freezing, cloning.

    Every second time the guard goes too. After each, what cleaning finds is removed, and nothing may be left;
    then yields how many things it found.
    """
    moments = random.Random(seed)
    for number in range(count):
        process = station.start()
        guard = guard_of(process)
        time.sleep(moments.uniform(0, _LONGEST))
        if number % 2:
            os.kill(guard, signal.SIGKILL)
        kill(process)
        wait_until_gone(guard)
        found = find_leftovers(station.places)
        remove(found)
        try:
            station.nothing_left()
        except AssertionError as error:
            error.add_note(f"kill number {number} of seed {seed}")
            raise
        yield len(found)
