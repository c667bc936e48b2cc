"""One pytest process: started in a session of its own, listened to, and ended for sure.

It is asked to end with SIGINT, on which pytest closes its machines; one that doesn't is killed, and guards
take care of what it had started.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from harness.matrix.run.guard import MARK, end_marked
from harness.plugin.journal import MAX_LINE, Entry

__all__ = ["JOURNAL_OPTION", "Ending", "Patience", "ProcessEnd", "run_process"]

#: What is appended to the command, with the number of a file descriptor.
JOURNAL_OPTION: Final = "--journal="

#: Output of one process that is kept: its beginning and its end, in bytes.
_HEAD: Final = 4 << 20
_TAIL: Final = 1 << 20
_BLOCK: Final = 64 << 10
#: Seconds that pytest has to close machines when it is asked to end.
_GRACE: Final = 30.0
#: Seconds that output may take to arrive after the process has ended.
_LAST_OUTPUT: Final = 5.0


class Ending(StrEnum):
    EXITED = "exited"  # by itself, or by a signal that is not ours
    SILENT = "silent"  # nothing was finished for too long
    LATE = "late"  # its time was over
    STOPPED = "stopped"  # whoever runs the plan wants to end


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """`exit_code` is negative for a signal."""

    ending: Ending
    exit_code: int


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: `silence` between two things that the journal tells, `whole` in all. 0: no limit."""

    silence: float = 0.0
    whole: float = 0.0


class _Output:
    """Copies what a process prints to a file: the beginning, and of a long text the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._room = _HEAD
        self._tail: collections.deque[bytes] = collections.deque()
        self._kept = self._dropped = 0

    def add(self, data: bytes) -> None:
        head, rest = data[: self._room], data[self._room :]
        self._room -= len(head)
        self._file.write(head)
        self._file.flush()
        if rest:
            self._tail.append(rest)
            self._kept += len(rest)
        while self._kept > _TAIL:
            gone = len(self._tail.popleft())
            self._kept -= gone
            self._dropped += gone

    def finish(self) -> None:
        if self._dropped:
            self._file.write(f"\n... {self._dropped} bytes left out ...\n".encode())
        for data in self._tail:
            self._file.write(data)
        self._file.flush()


async def run_process(
    command: Sequence[str],
    *,
    folder: Path,
    cwd: Path,
    environment: Mapping[str, str],
    output: Path,
    patience: Patience,
    stop: asyncio.Event,
    listen: Callable[[Entry], None],
) -> ProcessEnd:
    """Run `command` for the job in `folder` and return how it ended; then nothing of it runs any more.

    Its output is appended to `output`. `listen` gets every entry of its journal. It is ended when `patience`
    is over and when `stop` is set.
    """
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            f"{JOURNAL_OPTION}{writing}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env={**environment, MARK: str(folder)},
            pass_fds=(writing,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    watch = _Watch(patience)

    def heard(entry: Entry) -> None:
        watch.heard()
        listen(entry)

    assert process.stdout is not None
    with output.open("ab") as file:
        async with _background(_copy(process.stdout, _Output(file)), _read_journal(reading, heard)):
            try:
                ending = await watch.wait(process, stop)
                if ending is not Ending.EXITED:
                    await _ask_to_end(process)
            finally:
                # Whatever it started goes with it, and with that the last holders of its pipes.
                await asyncio.to_thread(end_marked, folder)
                exit_code = await process.wait()
    return ProcessEnd(ending, exit_code)


class _Watch:
    """Until when to wait for a process that tells now and then that it is getting on."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._began = self._last = self._loop.time()

    def heard(self) -> None:
        self._last = self._loop.time()

    def _left(self) -> tuple[float, Ending] | None:
        """Seconds until patience is over, and which; None with all the patience of the world."""
        limits = (
            (self._last + self._patience.silence, Ending.SILENT, self._patience.silence),
            (self._began + self._patience.whole, Ending.LATE, self._patience.whole),
        )
        set_ones = [(at - self._loop.time(), ending) for at, ending, limit in limits if limit]
        return min(set_ones, default=None)

    async def wait(self, process: asyncio.subprocess.Process, stop: asyncio.Event) -> Ending:
        exited = asyncio.ensure_future(process.wait())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while True:
                left = self._left()
                if left is not None and left[0] <= 0:
                    return left[1]
                await asyncio.wait(
                    {exited, stopped},
                    timeout=None if left is None else left[0],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if exited.done():
                    return Ending.EXITED
                if stopped.done():
                    return Ending.STOPPED
        finally:
            exited.cancel()
            stopped.cancel()


async def _ask_to_end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _GRACE)


@contextlib.asynccontextmanager
async def _background(*work: collections.abc.Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do `work` beside the block; after it, until it is done or the last output should have arrived."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        _, late = await asyncio.wait(tasks, timeout=_LAST_OUTPUT)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _copy(stream: asyncio.StreamReader, output: _Output) -> None:
    try:
        while data := await stream.read(_BLOCK):
            output.add(data)
    finally:
        output.finish()


async def _read_journal(descriptor: int, heard: Callable[[Entry], None]) -> None:
    """Every line that is one of a journal; tests may have written others into it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than any line of a journal
                continue
            if not line:
                return
            with contextlib.suppress(ValueError):
                heard(Entry.from_line(line))
    finally:
        transport.close()
