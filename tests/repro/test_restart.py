"""The machine of a bundle, started again: what it wrote is there, and no bundle is believed what it says."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InfrastructureError
from harness.machine.desk import RemoteDesk, attach
from harness.machine.keep.places import Places
from tests.machine.station import wait_until_gone
from tests.repro.commands import ROOT, bundle_of
from tests.repro.gdb import ask_gdb
from tests.repro.tiny_bundles import IMAGE_SAYS, TinyBundles, altered, tiny_bundles
from tests.stand_in import stand_in_image

_ANSWERS = "its runner answers"
#: More than any answer takes, on a host that has other things to do.
_SECONDS = 120.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyBundles]:
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    with tiny_bundles(tmp_path_factory.mktemp("tiny")) as bundles:
        yield bundles


class Held:
    """A command that holds a machine, as far as it got."""

    def __init__(self, process: subprocess.Popen[str], places: Places, target: str = "vm:tiny") -> None:
        self.process = process
        self.said = ""
        self._places = places
        self._target = target

    def until(self, text: str) -> str:
        """Read what it prints up to `text`; all that it said."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if text in line:
                return self.said
        assert self.process.stderr is not None
        raise AssertionError(f"no {text!r}:\n{self.said}{self.process.stderr.read()}")

    @property
    def gdb(self) -> Path:
        found = re.search(r"target remote (\S+)'", self.said)
        assert found is not None
        return Path(found[1])

    @property
    def desk(self) -> RemoteDesk:
        desk = attach(self._target, places=self._places)
        assert desk is not None
        return desk

    def ask(self, *words: str) -> str:
        return self.desk.execute(list(words), _SECONDS).stdout.decode()


@contextmanager
def held(made: TinyBundles, bundle: Path, *options: str) -> Iterator[Held]:
    """A machine of `bundle`, ended as `harness guest stop` does; then nothing of it is left."""
    with made.start("repro", bundle, "--machine", "--recipes", "recipes", *options) as process:
        try:
            found = Held(process, made.places)
            yield found
            found.desk.stop()
            _, err = process.communicate(timeout=_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert list(made.places.sessions.iterdir()) == []


def _digests(*paths: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_what_was_written_before_the_panic_is_there(made: TinyBundles) -> None:
    before = _digests(made.panicked, made.disk)
    with held(made, made.panicked) as machine:
        said = machine.until(_ANSWERS)
        assert "It was switched off and on" in said
        assert machine.ask("read", "3") == "read written before"
        assert machine.ask("read", "4") == f"read {IMAGE_SAYS}"
        assert machine.ask("ping") == "pong 0", "memory that was on is off"
        assert machine.desk.screenshot().startswith(b"\x89PNG")
        assert ask_gdb(machine.gdb, "?")[0].startswith("$T")
    assert _digests(made.panicked, made.disk) == before, "bundle and image stay as they are"


def test_it_stands_where_it_failed(made: TinyBundles) -> None:
    with held(made, made.failed, "--resume", "--trust") as machine:
        assert "stands, with its memory" in machine.until("It is paused")
        ask_gdb(machine.gdb, "?", "c")
        machine.until(_ANSWERS)
        assert machine.ask("ping") == "pong 7"
        assert machine.ask("read", "3") == "read written before"


def test_a_system_that_starts_again_is_reached_again(made: TinyBundles) -> None:
    with held(made, made.failed) as machine:
        machine.until(_ANSWERS)
        assert machine.ask("add", "5") == "sum 5"
        with pytest.raises(InfrastructureError):
            machine.ask("reset")
        machine.until("the machine: reset")
        machine.until(_ANSWERS)
        assert machine.ask("ping") == "pong 0"


@pytest.mark.parametrize("options", [("--paused",), ("--resume", "--trust")])
def test_it_waits_for_debuggers(made: TinyBundles, options: tuple[str, ...]) -> None:
    """Before its first instruction, and where it panicked: no runner answers, the rest works."""
    with held(made, made.panicked, *options) as machine:
        machine.until("It is paused")
        assert ask_gdb(machine.gdb, "?")[0].startswith("$T05")
        assert machine.desk.screenshot().startswith(b"\x89PNG")
        with pytest.raises(InfrastructureError, match="doesn't answer yet"):
            machine.ask("ping")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_however_it_ends_it_leaves_nothing(made: TinyBundles, end: signal.Signals) -> None:
    with made.start("repro", made.panicked, "--machine", "--recipes", "recipes") as process:
        Held(process, made.places).until(_ANSWERS)
        (session,) = made.places.sessions.iterdir()
        others = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
        mine = [pid for pid in others if session.name in _command(pid)]
        assert len(mine) >= 2, "QEMU and the guard"
        process.send_signal(end)
        process.communicate()
        for pid in mine:
            wait_until_gone(pid)
    assert list(made.places.sessions.iterdir()) == []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


# -- what is not there ---------------------------------------------------------------------------------------


def test_a_state_is_loaded_only_on_trust(made: TinyBundles) -> None:
    said = made.refused("repro", made.failed, "--machine", "--resume", "--recipes", "recipes")
    assert "say --trust" in said


def test_another_image_is_told(made: TinyBundles) -> None:
    said = made.refused("repro", made.failed, "--machine", "--recipes", "recipes", TINY_DIGEST="ab" * 16)
    assert "is another one, abababababab here" in said
    assert "take it from the host where the test failed" in said


def test_a_file_that_is_not_what_it_was_leaves_nothing(made: TinyBundles, tmp_path: Path) -> None:
    def change(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        members["machine/disk0.0.qcow2"] = members["machine/disk0.0.qcow2"][:-1] + b"x"

    bundle = altered(made.failed, tmp_path / "other.zip", change)
    assert "its digest differs" in made.refused("repro", bundle, "--machine", "--recipes", "recipes")
    assert list(made.places.sessions.iterdir()) == []


def test_a_host_without_the_programs_is_told_all(made: TinyBundles, tmp_path: Path) -> None:
    said = made.refused("repro", made.failed, "--machine", "--recipes", "recipes", PATH=str(tmp_path))
    for word in ("QEMU for x86_64 is missing", "qemu-img is missing"):
        assert word in said


# -- overlays from elsewhere ---------------------------------------------------------------------------------


def test_a_disk_that_an_overlay_names_is_never_read(made: TinyBundles, tmp_path: Path) -> None:
    """Each overlay names what its maker would like to read: a secret, and a pipe that hangs its reader."""
    secret, pipe = tmp_path / "secret", tmp_path / "pipe"
    secret.write_bytes(b"nobody else's".ljust(1 << 20, b"\0"))
    os.mkfifo(pipe)

    def change(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        for file, below in zip(manifest["machine"][:2], (pipe, secret), strict=True):
            overlay = tmp_path / "overlay.qcow2"
            overlay.write_bytes(members[file["member"]])
            command = ["qemu-img", "rebase", "-u", "-F", "raw", "-b", str(below), str(overlay)]
            subprocess.run(command, check=True)
            members[file["member"]] = overlay.read_bytes()
            file["sha256"] = hashlib.sha256(overlay.read_bytes()).hexdigest()
            file["size"] = overlay.stat().st_size

    with held(made, altered(made.failed, tmp_path / "evil.zip", change)) as machine:
        machine.until(_ANSWERS)
        assert machine.ask("read", "3") == "read written before"
        assert machine.ask("read", "4") == f"read {IMAGE_SAYS}"


# -- the stand-in --------------------------------------------------------------------------------------------

_PANICS = r"""
from harness.drill.root import connect_root

def test_panics(guest, target):
    guest.put(r"C:\kept.txt", b"written before the panic")
    with connect_root(guest, target) as client:
        assert client.exec_command("sync")[1].channel.recv_exit_status() == 0
        client.exec_command("echo c > /proc/sysrq-trigger")
        guest.watch.latch.wait(120)
    guest.execute(["cmd.exe", "/c", "ver"])
"""


def test_a_stand_in_that_panicked_is_started_with_its_file(tmp_path: Path) -> None:
    stand_in_image()
    (tmp_path / "test_it.py").write_text(_PANICS)
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as runtime:  # held there, whoever else holds one
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment |= {"PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": runtime}
        options = ("-q", "-p", "no:cacheprovider", "--evidence", "never", "--bundle-machine")
        run = (sys.executable, "-m", "pytest", "--target", "vm:stand-in", *options)
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert "1 CRASH" in done.stdout, done.stdout + done.stderr
        bundle = bundle_of(tmp_path / "results", "test_panics")
        command = (sys.executable, "-m", "harness", "repro", bundle, "--machine")
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                places = replace(Places.standard(), runtime=Path(runtime) / "regfilter-harness")
                machine = Held(process, places, "vm:stand-in")
                assert "failed: " in machine.until(_ANSWERS)
                assert machine.desk.get(r"C:\kept.txt") == b"written before the panic"
                machine.desk.stop()
                _, err = process.communicate(timeout=_SECONDS)
            finally:
                process.kill()
        assert process.returncode == 0, err
