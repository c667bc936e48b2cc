"""Files by disc, in a guest that looks anew at a disc after it has shown it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.channel.answers import FileDigest
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelClosedError, ChannelError, RunnerError
from harness.channel.runner import RunnerClient
from harness.guest.base import ExecResult
from harness.machine.inside.delivery import DiscDrive

PATH = r"C:\harness\large.bin"
CONTENT = b"content" * 1000


class Drive:
    """A machine's drive, and its guest's view of it. `failures` end the first readings of the disc."""

    def __init__(self, folder: Path, failures: list[ChannelError | None]) -> None:
        self.name = "m"
        self.spec: Any = SimpleNamespace(
            removable=[SimpleNamespace(path=None, floppy=False)], disk_folder=folder
        )
        self.failures = failures
        self.copies = 0
        self.marker: FileDigest | None = None
        self.stored = b""

    # -- the machine ---------------------------------------------------------------------------------------

    def change_disc(self, image: Path | None, *, drive: int) -> None:
        assert drive == 0
        content = b"" if image is None else image.read_bytes()
        # The marker is the one thing of 32 hexadecimal digits on it.
        at = next((at for at in range(0, len(content), 2048) if _is_marker(content[at : at + 33])), None)
        if at is not None:
            self.marker = FileDigest(32, hashlib.sha256(content[at : at + 32]).digest())

    # -- the runner ----------------------------------------------------------------------------------------

    def digest(self, path: str, *, timeout: float) -> FileDigest:
        if path == "D:\\harness.id" and self.marker is not None:
            return self.marker
        raise RunnerError("no such file", code=0)

    def put(self, path: str, source: bytes, *, timeout: float) -> None:
        self.stored = source

    def execute(self, line: str, *, timeout: float) -> ExecResult:
        self.copies += 1
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.stored = CONTENT
        return ExecResult(0, b"", b"")

    def check(self, path: str, source: bytes, *, timeout: float) -> None:
        if self.stored != source:
            raise ChannelError(f"{path} in the guest is not what was sent")


def _is_marker(piece: bytes) -> bool:
    return len(piece) == 33 and piece[32] == 0 and all(byte in b"0123456789abcdef" for byte in piece[:32])


def put(drive: Drive) -> None:
    machine: Any = drive
    runner: RunnerClient = machine
    DiscDrive(machine, runner, lambda seconds: None).put(PATH, CONTENT, Deadline.after(60))


def test_what_fails_while_the_disc_settles_is_tried_again(tmp_path: Path) -> None:
    drive = Drive(tmp_path, [ChannelError("0 bytes were copied"), RunnerError("no disc", code=0)])
    put(drive)
    assert (drive.stored, drive.copies) == (CONTENT, 3)


def test_what_fails_every_time_is_said(tmp_path: Path) -> None:
    drive = Drive(tmp_path, [ChannelError(f"reading failed {number}") for number in range(9)])
    with pytest.raises(ChannelError, match="reading failed 2"):
        put(drive)


def test_a_channel_that_is_gone_is_asked_no_more(tmp_path: Path) -> None:
    drive = Drive(tmp_path, [ChannelClosedError("the machine is gone")])
    with pytest.raises(ChannelClosedError):
        put(drive)
    assert drive.copies == 1
