"""Guests for the channels: regrun.exe under Wine, behind a socket, an SSH server and a WinRM service."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.channel.access import RUNNER_PATH, RemoteShell, SshAccess, WinRmAccess
from harness.channel.base import Channel
from harness.channel.frames import RequestType
from harness.channel.opening import open_channel
from harness.channel.serial import SerialChannel
from harness.driver import find_toolchain, runner_image
from harness.errors import ToolMissingError
from tests.channel.sshd import Sshd, sshd_is_missing
from tests.channel.winrm_endpoint import Command, WinRmEndpoint, pass_on
from tests.runner.winehost import StandardRunner, Wine, wine_is_missing

KINDS = ("serial", "ssh", "winrm", "winrm-https")
PROGRAM = r"C:\harness\guestprog.exe"
_MINGW = "x86_64-w64-mingw32-gcc"


@dataclass(frozen=True, slots=True)
class WineGuest:
    """A Wine prefix that stands for a guest, with the runner and the tests' program in C:\\harness."""

    wine: Wine
    folder: Path

    @contextmanager
    def open(self, kind: str) -> Iterator[Channel]:
        """A fresh channel of a kind; what serves it ends with it."""
        with ExitStack() as stack:
            yield stack.enter_context(
                {"serial": self._serial, "ssh": self._ssh}.get(kind, self._winrm)(kind, stack)
            )

    def _serial(self, kind: str, stack: ExitStack) -> Channel:
        ours, theirs = socket.socketpair()
        with theirs:
            process = self.wine.start([RUNNER_PATH], stdin=theirs.fileno(), stdout=theirs.fileno())
        stack.callback(process.wait, 240)
        stack.callback(ours.close)
        return SerialChannel.over(ours, "Wine's runner")

    def _ssh(self, kind: str, stack: ExitStack) -> Channel:
        if reason := sshd_is_missing():
            pytest.skip(reason)
        folder = self.folder / f"sshd-{threading.get_ident()}-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        server = stack.enter_context(Sshd(folder))
        names = ("WINEPREFIX", "WINEDEBUG", "WINEARCH", "WINEDLLOVERRIDES")
        settings = ["LC_ALL=C.UTF-8", *(f"{name}={self.wine.environment[name]}" for name in names)]
        return open_channel(
            SshAccess(
                "127.0.0.1",
                getpass.getuser(),
                server.host_key,
                port=server.port,
                key_file=server.user_key,
                shell=RemoteShell.POSIX,
                files=str(self.wine.prefix / "dosdevices"),
                launcher=("env", *settings, "wine"),
            )
        )

    def _winrm(self, kind: str, stack: ExitStack) -> Channel:
        lines = 0
        counting = threading.Lock()

        def argv(command: Command) -> list[str]:
            """Windows reads one command line; Wine is given a file with it, since it would quote an argv."""
            nonlocal lines
            with counting:
                lines += 1
                file = self.folder / f"line-{lines}"
            assert not command.skip_cmd_shell
            file.write_text(f'C:\\windows\\system32\\cmd.exe /c "{command.line}"', encoding="utf-8")
            return ["wine", PROGRAM, "line", self.wine.dos(file)]

        password = self.folder / "password"
        password.touch(0o600)
        password.write_text("correct horse\n")
        run = pass_on(argv, env=self.wine.environment)
        endpoint = stack.enter_context(
            WinRmEndpoint(run, "tester", "correct horse", https=kind == "winrm-https")
        )
        return open_channel(
            WinRmAccess(
                "127.0.0.1",
                "tester",
                password,
                port=endpoint.port,
                certificate=endpoint.certificate_sha256,
            )
        )


@pytest.fixture(scope="session")
def wine_guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WineGuest]:
    """Wine for the session; its processes are gone afterwards."""
    if reason := wine_is_missing():
        pytest.skip(reason)
    if shutil.which(_MINGW) is None:
        pytest.skip(f"{_MINGW} not installed (apt-get install gcc-mingw-w64-x86-64)")
    try:
        find_toolchain("x64")
    except ToolMissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("guest")
    source = Path(__file__).parent / "guestprog.c"
    with Wine(tmp_path_factory.mktemp("wine")) as wine:
        home = wine.path(RUNNER_PATH).parent
        home.mkdir()
        wine.path(RUNNER_PATH).write_bytes(runner_image("x64"))
        subprocess.run(
            [_MINGW, "-municode", "-O1", "-o", wine.path(PROGRAM), source], check=True, timeout=600
        )
        # Whatever runs first starts Wine's server and services, which hold its pipes, and end with everything
        # that an SSH server started: let that be this one.
        with StandardRunner(wine, wine.path(RUNNER_PATH)) as first:
            first.ask(RequestType.HELLO)
            yield WineGuest(wine, folder)
    assert wine.processes() == []


@pytest.fixture(scope="module", params=KINDS)
def channel(request: pytest.FixtureRequest, wine_guest: WineGuest) -> Iterator[Channel]:
    """One channel of each kind for the tests that leave it as it was."""
    with wine_guest.open(request.param) as opened:
        yield opened


@pytest.fixture(params=KINDS)
def fresh(request: pytest.FixtureRequest, wine_guest: WineGuest) -> Iterator[Channel]:
    """A channel for one test that breaks it."""
    with wine_guest.open(request.param) as opened:
        yield opened
