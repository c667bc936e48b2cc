"""Files on a read-only disc that appears in the running guest, whatever its channel and without a network.

Content comes from the CD drive at the drive's pace; the channel only asks whether it is there. A file that is
too large for a slow channel goes the same way, and is copied inside the guest to where it belongs.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

from harness.channel.answers import FileDigest
from harness.channel.base import ChannelKind
from harness.channel.deadline import Deadline
from harness.channel.disc import MARKER, make_disc
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError, RunnerError
from harness.channel.runner import RunnerClient
from harness.channel.sources import size_of
from harness.errors import InfrastructureError, UsageError
from harness.machine.describe.spec import ChannelPort
from harness.machine.keep.places import require_space

if TYPE_CHECKING:
    from harness.machine.hypervisor.machine import Machine

__all__ = ["DiscDrive", "pays_by_disc"]

log = logging.getLogger(__name__)

_MIB: Final = 1 << 20
#: From this size on a file goes by disc, where the channel is slower than changing discs: a few seconds.
_BY_COM_PORT: Final = 1 * _MIB
_BY_VIRTIO_PORT: Final = 32 * _MIB
_BY_WINRM: Final = 4 * _MIB
_LABEL: Final = "HARNESS"
#: Drive letters that may be a CD drive; A and B are floppies.
_LETTERS: Final = ascii_uppercase[2:]
#: How long a guest may take to notice a disc: systems look every second or two.
_NOTICE_SECONDS: Final = 120.0
_LOOK_AGAIN: Final = 0.2
#: How often a new disc is read before its failure counts.
_TRIES: Final = 3
_ONE_FILE: Final = "file.bin"


def pays_by_disc(kind: ChannelKind, port: ChannelPort, size: int) -> bool:
    """Whether a file of `size` bytes is sooner in the guest by disc than over a channel of this kind."""
    if kind is ChannelKind.SERIAL:
        return size >= (_BY_VIRTIO_PORT if port is ChannelPort.VIRTIO else _BY_COM_PORT)
    return kind is ChannelKind.WINRM and size >= _BY_WINRM  # SFTP is as fast as the guest's disk


class DiscDrive:
    """The CD drive of a machine that its hardware keeps free for the harness.

    `pause` waits that many seconds, and raises what ends the waiting: a guest that died notices no disc.
    """

    def __init__(self, machine: Machine, runner: RunnerClient, pause: Callable[[float], None]) -> None:
        self._machine = machine
        self._runner = runner
        self._pause = pause
        discs = [removable.path for removable in machine.spec.removable if not removable.floppy]
        self._number = discs.index(None) if None in discs else None
        self._discs = itertools.count(1)
        self._image: Path | None = None
        self._wanted = FileDigest(0, b"")  # of the marker on the disc in the drive
        self._shown = ""  # the folder of the last disc that was seen
        self._ignored = False

    @property
    def usable(self) -> bool:
        """Whether there is a drive, and no disc was put into it in vain."""
        return self._number is not None and not self._ignored

    def insert(self, files: Mapping[str, bytes | Path], deadline: Deadline) -> str:
        """Put a disc with `files` into the drive, in place of the one before; returns its folder, ``D:\\``.

        Raises `UsageError` without a drive and for names that can't be on a disc, `ChannelError` when the
        guest does not show it, or something else than was written.
        """

        def check(folder: str) -> None:
            for name, content in files.items():
                self._runner.check(folder + name.replace("/", "\\"), content, timeout=deadline.left)

        self._change(files, deadline)
        return self._read(check, deadline)

    def put(self, path: str, source: bytes | Path, deadline: Deadline) -> None:
        """Store one file at `path`; missing folders are made, its digest is checked."""
        self._change({_ONE_FILE: source}, deadline)
        self._runner.put(path, b"", timeout=deadline.left)  # makes the folders, and cuts what was there

        def copy(folder: str) -> None:
            # What comes from a CD can't be written unless it is told otherwise.
            line = f'copy /b /y "{folder}{_ONE_FILE}" "{path}" && attrib -r "{path}"'
            done = self._runner.execute(f'cmd.exe /d /s /c "{line}"', timeout=deadline.left)
            if done.exit_code:
                said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[:400]
                raise ChannelError(f"{path} can't be copied from the disc in {folder}: {said}")
            self._runner.check(path, source, timeout=deadline.left)

        self._read(copy, deadline)

    def can_put(self, path: str) -> bool:
        """Whether `put` takes that path: cmd.exe would read a variable's name between two % signs."""
        return self.usable and not set(path) & set('%"')

    def _change(self, files: Mapping[str, bytes | Path], deadline: Deadline) -> None:
        """Put a disc with `files` into the drive, in place of the one before."""
        if self._number is None:
            raise UsageError(
                f"machine {self._machine.name} has no free CD drive for a disc; its recipe says "
                "disc_drive = false under [hardware]"
            )
        token = secrets.token_hex(16).encode()
        image = self._make(files, token)
        self._take_out(self._number, deadline)
        self._image = image
        self._machine.change_disc(image, drive=self._number)
        self._wanted = FileDigest(len(token), hashlib.sha256(token).digest())

    def _read(self, use: Callable[[str], None], deadline: Deadline) -> str:
        """Let `use` read in the disc's folder, which is returned; again when that fails.

        A system may look anew at a disc that it shows already. What reads there meanwhile fails, or ends too
        early without a word (CopyFile of Wine).
        """
        for tries_left in reversed(range(_TRIES)):
            folder = self._find(deadline)
            try:
                use(folder)
                break
            except (ChannelTimeoutError, ChannelClosedError):
                raise
            except ChannelError as error:
                if not tries_left:
                    raise
                log.info("%s: the disc is read again: %s", self._machine.name, error)
                self._pause(_LOOK_AGAIN)
        return folder

    def _find(self, deadline: Deadline) -> str:
        """The drive's folder in the guest, once the disc is seen there."""
        noticed = Deadline.after(deadline.at_most(_NOTICE_SECONDS))
        while True:
            for letter in _LETTERS:
                if self._marker(f"{letter}:\\", deadline) == self._wanted:
                    self._shown = f"{letter}:\\"
                    return self._shown
            if noticed.passed:
                self._ignored = True
                raise ChannelError(
                    f"the guest of {self._machine.name} does not show the disc put into its CD drive "
                    f"{noticed.seconds:g} s ago; it may have no driver for the drive, or give it no letter"
                )
            self._pause(_LOOK_AGAIN)

    def _take_out(self, number: int, deadline: Deadline) -> None:
        """Take out the disc before, and wait until the guest has seen that.

        A system that sees one disc in place of another may show the new one's files by what it knows of the
        old one, and then take them away once more to look anew.
        """
        before, self._image = self._image, None
        if before is None:
            return
        self._machine.change_disc(None, drive=number)
        before.unlink(missing_ok=True)
        noticed = Deadline.after(deadline.at_most(_NOTICE_SECONDS))
        while self._shown and self._marker(self._shown, deadline) is not None and not noticed.passed:
            self._pause(_LOOK_AGAIN)
        self._shown = ""

    def _make(self, files: Mapping[str, bytes | Path], token: bytes) -> Path:
        folder = self._machine.spec.disk_folder
        size = sum(size_of(content) for content in files.values())
        require_space(folder, size, f"a disc for {self._machine.name}")
        image = folder / f"disc{next(self._discs)}.iso"
        try:
            make_disc(files, _LABEL, image, marker=token)
        except OSError as error:
            raise InfrastructureError(f"can't write the disc {image}: {error.strerror}") from error
        return image

    def _marker(self, folder: str, deadline: Deadline) -> FileDigest | None:
        try:
            return self._runner.digest(folder + MARKER, timeout=deadline.left)
        except RunnerError:  # no such drive, no disc in it, not this disc
            return None
