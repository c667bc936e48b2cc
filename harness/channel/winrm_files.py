"""Files over WinRM: several shells side by side, since one moves no more than a message per round trip.

`regrun.exe --write` and `--read` do the work in the guest. The runner itself comes in as text that certutil
decodes, when there is none yet.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.channel.access import RemoteShell
from harness.channel.base import Progress
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelError
from harness.channel.quoting import shell_line
from harness.channel.runner import MAX_OUTPUT
from harness.channel.sources import open_source
from harness.channel.winrm_commands import run_line
from harness.channel.winrm_shell import SEND_SIZE, WinRmSession
from harness.errors import HarnessError, UsageError
from harness.guest.base import ExecResult

__all__ = ["SMALL", "WinRmFiles"]

#: Files up to this go through the runner's own requests: starting shells would take longer.
SMALL: Final = 1 << 20
#: Shells side by side. WinRM 2.0 allows five of a user at once, and the channel has two open already.
_SHELLS: Final = 3
#: Bytes of one command: a part that one shell writes or reads at a time.
_PART: Final = 4 << 20
_LINE: Final = 76
_GOODBYE: Final = 20.0


@dataclass(frozen=True, slots=True)
class _Part:
    offset: int
    size: int


class WinRmFiles:
    """Moves the content of files that the runner made or measured. `runner` is its path in the guest."""

    def __init__(self, new_session: Callable[[], WinRmSession], runner: str) -> None:
        self._new_session = new_session
        self._runner = runner

    def write(self, path: str, source: bytes | Path, deadline: Deadline, progress: Progress | None) -> None:
        """Fill an empty file."""

        def one(session: WinRmSession, shell: str, part: _Part) -> int:
            result = self._run(
                session, shell, ["--write", path, str(part.offset)], deadline, _pieces(source, part)
            )
            _check(result, f"writing {path}")
            return part.size

        with open_source(source) as (_, size):
            self._side_by_side(size, one, deadline, progress)

    def read(self, path: str, size: int, deadline: Deadline, progress: Progress | None) -> bytes:
        """The first `size` bytes of a file."""
        content = bytearray(size)

        def one(session: WinRmSession, shell: str, part: _Part) -> int:
            arguments = ["--read", path, str(part.offset), str(part.size)]
            result = self._run(session, shell, arguments, deadline)
            _check(result, f"reading {path}")
            if len(result.stdout) != part.size:
                raise ChannelError(
                    f"{path} in the guest gave {len(result.stdout)} of the {part.size} bytes from "
                    f"{part.offset} on; is something writing it?"
                )
            content[part.offset : part.offset + part.size] = result.stdout
            return part.size

        self._side_by_side(size, one, deadline, progress)
        return bytes(content)

    def bring_in(self, path: str, content: bytes, deadline: Deadline) -> None:
        """Store a file with nothing but what Windows has: base64 through findstr, decoded by certutil."""
        if not re.fullmatch(r'[A-Za-z]:\\[^"%^&<>|!\r\n*?/]+', path):
            raise UsageError(
                f"{path!r} can't be stored without the runner: its name has a meaning for cmd.exe"
            )
        folder = path.rpartition("\\")[0]
        text = base64.b64encode(content)
        lines = b"".join(text[at : at + _LINE] + b"\r\n" for at in range(0, len(text), _LINE))
        pieces = [lines[at : at + SEND_SIZE] for at in range(0, len(lines), SEND_SIZE)]
        steps: list[tuple[str, list[bytes]]] = [
            (f'if not exist "{folder}\\" mkdir "{folder}"', []),
            (f'findstr "^" > "{path}.b64"', pieces),
            (f'certutil -f -decode "{path}.b64" "{path}"', []),
            (f'del "{path}.b64"', []),
        ]
        with self._shell(deadline) as (session, shell):
            for line, input in steps:
                result = run_line(session, shell, line, deadline, input=input, limit=MAX_OUTPUT)
                _check(result, f"storing {path} by {line.split()[0]}")

    def _run(
        self,
        session: WinRmSession,
        shell: str,
        arguments: list[str],
        deadline: Deadline,
        input: Iterator[bytes] | tuple[()] = (),
    ) -> ExecResult:
        line = shell_line(RemoteShell.CMD, [self._runner, *arguments])
        return run_line(session, shell, line, deadline, input=input, limit=MAX_OUTPUT)

    def _side_by_side(
        self,
        size: int,
        one: Callable[[WinRmSession, str, _Part], int],
        deadline: Deadline,
        progress: Progress | None,
    ) -> None:
        """Do every part of `size` bytes, in as many shells as pays."""
        parts = iter([_Part(at, min(_PART, size - at)) for at in range(0, size, _PART)])
        lock = threading.Lock()
        stopped = threading.Event()
        done = 0

        def work() -> None:
            nonlocal done
            try:
                with self._shell(deadline) as (session, shell):
                    while not stopped.is_set():
                        with lock:
                            part = next(parts, None)
                        if part is None:
                            return
                        moved = one(session, shell, part)
                        with lock:
                            done += moved
                            if progress is not None:
                                progress(done, size)
            except BaseException:
                stopped.set()
                raise

        with ThreadPoolExecutor(_SHELLS) as pool:
            workers = [pool.submit(work) for _ in range(min(_SHELLS, -(-size // _PART)))]
        for worker in workers:
            worker.result()

    def _shell(self, deadline: Deadline) -> _Shell:
        return _Shell(self._new_session(), deadline)


class _Shell:
    """A session with a shell of its own; a context manager."""

    def __init__(self, session: WinRmSession, deadline: Deadline) -> None:
        self._session = session
        self._deadline = deadline
        self._shell: str | None = None

    def __enter__(self) -> tuple[WinRmSession, str]:
        try:
            self._shell = self._session.create_shell(self._deadline)
        except BaseException:
            self._session.close()
            raise
        return self._session, self._shell

    def __exit__(self, *_: object) -> None:
        with suppress(HarnessError):  # what was done in it is done; its idle time-out ends it otherwise
            assert self._shell is not None
            self._session.delete_shell(self._shell, Deadline.after(_GOODBYE))
        self._session.close()


def _pieces(source: bytes | Path, part: _Part) -> Iterator[bytes]:
    with open_source(source) as (stream, _):
        stream.seek(part.offset)
        left = part.size
        while left:
            piece = stream.read(min(SEND_SIZE, left))
            if not piece:
                raise UsageError(f"{source!r:.200} became shorter while it was sent")
            left -= len(piece)
            yield piece


def _check(result: ExecResult, what: str) -> None:
    if result.exit_code:
        said = (result.stderr or result.stdout).decode("utf-8", "replace")[:400]
        shown = "".join(letter if letter.isprintable() else " " for letter in said).strip()
        raise ChannelError(f"{what} in the guest failed with exit code {result.exit_code}: {shown}")
