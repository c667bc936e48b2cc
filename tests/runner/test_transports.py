"""Ports, a patient stdin, and the service, under Wine: a COM port is a pseudo-terminal there."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import subprocess
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from harness.channel.frames import REPLY, RequestType
from tests.runner.winehost import PATIENCE, StandardRunner, Talk, Wine


@contextlib.contextmanager
def com_port(wine: Wine, name: str) -> Iterator[int]:
    """A COM port whose other end is the returned descriptor."""
    host, guest = pty.openpty()
    tty.setraw(guest)
    link = wine.prefix / "dosdevices" / name
    link.symlink_to(os.ttyname(guest))
    try:
        yield host
    finally:
        link.unlink()
        os.close(host)
        os.close(guest)


@contextlib.contextmanager
def started(wine: Wine, exe: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = wine.start([exe, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_requests_over_a_com_port(wine: Wine, runner_exe: Path) -> None:
    with com_port(wine, "com7") as line, started(wine, runner_exe, "--port", "COM7"):
        talk = Talk(line, line)
        assert talk.ask(RequestType.HELLO)["major"] == 1
        # Both directions at once, every byte value, more than any buffer on the way.
        payload = bytes(range(256)) * 400
        id = talk.send(RequestType.PING, payload)
        frame = talk.receive()
        assert (frame.id, frame.payload) == (id, payload)
        command = talk.send(
            RequestType.EXECUTE,
            cbor2.dumps({"command_line": "ping -n 3600 127.0.0.1", "timeout_ms": 600_000}),
        )
        talk.send(RequestType.PING, b"while it runs")
        assert talk.receive().payload == b"while it runs"
        talk.send(RequestType.CANCEL, cbor2.dumps({"id": command}))
        assert {talk.receive().type, talk.receive().type} == {
            RequestType.CANCEL | REPLY,
            RequestType.EXECUTE | REPLY,
        }


def test_a_half_frame_on_a_port_is_given_up(wine: Wine, runner_exe: Path) -> None:
    chance = random.Random(11)
    with com_port(wine, "com8") as line, started(wine, runner_exe, "--port", "COM8"):
        talk = Talk(line, line)
        talk.send_bytes(b"RGRN" + chance.randbytes(2000))
        assert talk.ask(RequestType.HELLO)["major"] == 1


def test_a_port_that_comes_late_is_waited_for(wine: Wine, runner_exe: Path) -> None:
    with started(wine, runner_exe, "--port", "COM9") as process:
        time.sleep(1)  # long enough that the first attempts have failed; nothing depends on it
        assert process.poll() is None
        with com_port(wine, "com9") as line:
            assert Talk(line, line).ask(RequestType.HELLO)["major"] == 1


def test_a_port_that_never_comes_is_an_error(wine: Wine, runner_exe: Path) -> None:
    with started(wine, runner_exe, "--port", "\\\\.\\Global\\no.such.port", "--wait", "1") as process:
        assert process.wait(PATIENCE) == 1


def test_a_patient_runner_outlives_its_hosts(wine: Wine, runner_exe: Path, tmp_path: Path) -> None:
    """A FIFO without a writer reads as empty, as a virtio-serial port without a host does."""
    to_runner, from_runner = tmp_path / "in", tmp_path / "out"
    os.mkfifo(to_runner)
    os.mkfifo(from_runner)
    answers = os.open(from_runner, os.O_RDWR)
    keep = os.open(to_runner, os.O_RDWR)  # so that opening it to read does not wait
    reading = os.open(to_runner, os.O_RDONLY)
    with os.fdopen(reading, "rb", buffering=0) as stdin, from_runner.open("r+b", buffering=0) as stdout:
        process = wine.start([runner_exe, "--patient"], stdin=stdin, stdout=stdout)
    os.close(keep)
    try:
        for _ in range(3):
            host = os.open(to_runner, os.O_WRONLY)
            assert Talk(host, answers).ask(RequestType.HELLO)["major"] == 1
            os.close(host)  # the host goes; nothing is left to read
        assert process.poll() is None

        # A command goes with the host that asked for it: the next host needn't wait for its time-out.
        host = os.open(to_runner, os.O_WRONLY)
        request = cbor2.dumps({"command_line": "ping -n 3600 127.0.0.1", "timeout_ms": 600_000})
        command = Talk(host, answers).send(RequestType.EXECUTE, request)
        os.close(host)
        ended = Talk(host, answers).receive()
        assert (ended.id, cbor2.loads(ended.payload)["cancelled"]) == (command, True)
    finally:
        process.kill()
        process.wait()
        os.close(answers)


def test_a_service_serves_its_port_and_is_removed(
    wine: Wine, runner_exe: Path, long_runner: StandardRunner
) -> None:
    # Wine shuts itself down when nothing but services runs in a prefix: `long_runner` keeps it up.
    assert long_runner.ask(RequestType.HELLO)["major"] == 1
    exe = wine.path("C:\\regrun.exe")
    exe.write_bytes(runner_exe.read_bytes())

    def call(*arguments: str) -> int:
        with started(wine, Path("C:\\regrun.exe"), *arguments) as process:
            return process.wait(PATIENCE)

    with com_port(wine, "com6") as line:
        assert call("--install", "--port", "COM6") == 0
        talk = Talk(line, line)
        answer = talk.ask(RequestType.HELLO)
        assert answer["major"] == 1
        query = talk.ask(RequestType.SERVICE_QUERY, name="regrun")
        assert query == {"exists": True, "state": 4}
        line_of = "reg query HKLM\\SYSTEM\\CurrentControlSet\\Services\\regrun /v ImagePath"
        shown = talk.ask(RequestType.EXECUTE, command_line=line_of, timeout_ms=60_000)["stdout"]
        assert isinstance(shown, bytes)
        assert b'"C:\\regrun.exe" --service --port "COM6"' in shown
        assert call("--remove") == 0
    assert call("--remove") == 1


@pytest.mark.parametrize("arguments", [("--service",), ("--install", "--port", 'a"b')])
def test_what_makes_no_service_is_refused(wine: Wine, runner_exe: Path, arguments: tuple[str, ...]) -> None:
    with started(wine, runner_exe, *arguments) as process:
        assert process.wait(PATIENCE) in (1, 2)
