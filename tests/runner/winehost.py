"""Wine for tests: a prefix of their own, programs in it, and nothing left when it is closed.

Where Wine has its 32-bit half (Debian: wine32:i386), the x86 runner runs too; elsewhere it is checked as a
file (test_image.py).
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import cbor2

from harness.channel.frames import FAILED, REPLY, Frame, FrameDecoder, encode_frame

#: Bounds every wait for something that must happen; no test is about how long it takes.
PATIENCE = 300.0
#: How long Wine stays up without a program; also after tests that were killed.
_IDLE_SECONDS = 120


def wine_is_missing() -> str:
    """Why Wine can't run x64 programs here; empty when it can."""
    missing = [name for name in ("wine", "wineserver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not installed (apt-get install wine64 wine)" if missing else ""


def wine_architectures() -> tuple[str, ...]:
    """Of which architectures Wine runs programs here; its files say so before there is a prefix."""
    library = Path("/usr/lib")
    halves = (*library.glob("wine/i386-windows/ntdll.dll"), *library.glob("*/wine/i386-windows/ntdll.dll"))
    return ("x64", "x86") if halves else ("x64",)


class Wine:
    """A prefix and the processes in it."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "prefix"
        self.log = folder / "wine.log"
        self.environment = {
            **os.environ,
            "WINEPREFIX": str(self.prefix),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            # No menu entries in the home folder, no offers to download anything. Wine's debugger would end a
            # process that an exception ends, at times before that does, with exit code 0.
            "WINEDLLOVERRIDES": "winedbg.exe=d;winemenubuilder.exe=d;mscoree=;mshtml=",
        }
        self.environment.pop("DISPLAY", None)
        self.environment.pop("TMPDIR", None)  # Debian's Wine 10 frees what it did not allocate, and aborts
        self._run(["wineboot", "-i"])
        # Services, and the process that hosts drivers, would have ten seconds to start, however busy the host
        # is. Wine reads a text there (programs/services/services.c), Windows a number.
        control = r"HKLM\System\CurrentControlSet\Control"
        milliseconds = str(int(PATIENCE * 1000))
        self._run(["wine", "reg", "add", control, "/v", "ServicesPipeTimeout", "/d", milliseconds, "/f"])
        # The first program after it would start a second service control manager beside the one that made the
        # prefix, and requests would go to either.
        self._run(["wineserver", "-w"])
        # By itself the server goes with the last program. The next one gives it five seconds to be gone, and
        # fails when a busy host takes longer.
        self._run(["wineserver", f"-p{_IDLE_SECONDS}"])

    def _run(self, command: Sequence[str]) -> None:
        # A pipe would be held open by Wine's background processes.
        with self.log.open("ab") as log:
            subprocess.run(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=300,
                check=True,
            )

    def path(self, dos: str) -> Path:
        """Where a file of drive C: lies."""
        assert dos.startswith("C:\\"), dos
        return self.prefix / "drive_c" / Path(*dos[3:].split("\\"))

    def dos(self, path: Path) -> str:
        """The DOS path of a file of the host."""
        return "Z:" + str(path.resolve()).replace("/", "\\")

    def start(
        self, command: Sequence[str | Path], *, stdin: int | IO[bytes], stdout: int | IO[bytes]
    ) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["wine", *map(str, command)], env=self.environment, stdin=stdin, stdout=stdout, stderr=log
            )

    def processes(self) -> list[int]:
        """Every process whose environment names this prefix, the server among them."""
        found = []
        mark = f"WINEPREFIX={self.prefix}\0".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if mark in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue  # ended, or somebody else's
        return found

    def still_running(self, pids: Iterable[int], name: bytes, patience: float = PATIENCE) -> list[int]:
        """Those of `pids` with `name` in their command line that don't end: Wine's view is a little ahead."""
        left = []
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                named = name in Path(f"/proc/{pid}/cmdline").read_bytes()
                if named and not select.select([descriptor], [], [], patience)[0]:
                    left.append(pid)
            except FileNotFoundError:
                continue
            finally:
                os.close(descriptor)
        return left

    def close(self) -> None:
        """End everything in the prefix; `wineserver -k` alone may leave driver hosts behind."""
        for option in ("-k", "-w"):
            try:
                subprocess.run(["wineserver", option], env=self.environment, timeout=20, check=False)
            except subprocess.TimeoutExpired:
                continue
        deadline = time.monotonic() + PATIENCE
        while left := self.processes():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            assert time.monotonic() < deadline, f"processes that don't end: {left}"
            time.sleep(0.05)
        # Debian's Wine keeps the server's folder beside others of /tmp and notes its name in the prefix.
        note = self.prefix / "wineserver"
        if note.is_file() and (name := re.fullmatch(r"wine-\w{6}", note.read_text().strip())):
            shutil.rmtree(Path("/tmp") / name[0], ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class RefusedError(Exception):
    """A REGRUN_FAILED reply."""

    def __init__(self, answer: Mapping[str, object]) -> None:
        super().__init__(answer["message"])
        self.error = answer["error"]
        self.status = answer["status"]
        self.win32 = answer["win32"]


class Talk:
    """The host's end of a runner: two file descriptors, frames over them."""

    def __init__(self, to_runner: int, from_runner: int) -> None:
        self._to = to_runner
        self._from = from_runner
        self._decoder = FrameDecoder()
        self._frames: deque[Frame] = deque()
        self._id = 0

    @property
    def discarded(self) -> int:
        """Bytes the runner sent that belonged to no frame."""
        return self._decoder.discarded

    def send_bytes(self, data: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        view = memoryview(data)
        while view:
            # Taking what comes keeps the runner from waiting for us while we wait for it.
            readable, writable, _ = select.select([self._from], [self._to], [], deadline - time.monotonic())
            if readable:
                self._take()
            if writable:
                view = view[os.write(self._to, view[:4096]) :]

    def send(self, type: int, payload: bytes = b"", *, major: int = 1) -> int:
        """Send one frame; its id."""
        self._id += 1
        self.send_bytes(encode_frame(type, self._id, payload, major=major))
        return self._id

    def receive(self, patience: float = PATIENCE) -> Frame:
        """The next frame; fails when the runner has ended or none comes."""
        deadline = time.monotonic() + patience
        while not self._frames:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise AssertionError(f"the runner sent no frame within {patience:g} s")
            self._take()
        return self._frames.popleft()

    def _take(self) -> None:
        data = os.read(self._from, 1 << 16)
        if not data:
            raise AssertionError("the runner has ended")
        self._frames.extend(self._decoder.feed(data))

    def ask(self, type: int, **values: object) -> dict[str, object]:
        """One request and its reply; raises `RefusedError` for a failure."""
        id = self.send(type, cbor2.dumps(values))
        return read_answer(type, id, self.receive())


def read_answer(type: int, id: int, frame: Frame) -> dict[str, object]:
    """The map of the reply to request `id` of `type`; raises `RefusedError` for a failure."""
    assert frame.id == id
    answer = cbor2.loads(frame.payload)
    assert isinstance(answer, dict)
    if frame.type == FAILED:
        raise RefusedError(answer)
    assert frame.type == type | REPLY
    return answer


class StandardRunner(Talk):
    """A runner on stdin and stdout."""

    def __init__(self, wine: Wine, exe: Path, *arguments: str) -> None:
        self.process = wine.start([exe, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input: IO[bytes] = self.process.stdin
        self._output: IO[bytes] = self.process.stdout
        super().__init__(self._input.fileno(), self._output.fileno())

    def end_input(self) -> None:
        self._input.close()

    def close(self) -> int:
        """End its input, and wait for its end; the exit code."""
        self._input.close()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind is not None:
            self.process.kill()
        self.close()
