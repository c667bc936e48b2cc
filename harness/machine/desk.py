"""What people do with a running machine by hand, in one process or from another one.

`harness guest start` holds a machine for as long as it runs; `harness guest exec`, `put` and the others find
it by its target's name and use it over a socket that only this user can open.
"""

from __future__ import annotations

import fcntl
import hashlib
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import cbor2

from harness.channel.errors import RunnerError
from harness.errors import HarnessError, InfrastructureError
from harness.guest.base import ExecResult
from harness.machine.guest import MachineGuest
from harness.machine.keep.places import Places, private_folder

if TYPE_CHECKING:
    from harness.machine.hypervisor.machine import Machine

__all__ = ["Desk", "EarlyDesk", "LocalDesk", "attach", "hold"]

#: A file that goes through the socket, and what is around it.
_LARGEST: Final = 1 << 30
_KEY_BYTES: Final = 32
_CALLS: Final = ("execute", "line", "put", "put_disc", "get", "screenshot", "stop")


class Desk(Protocol):
    """A machine within reach. Every call raises what `harness.errors` has for it."""

    def execute(self, argv: list[str], timeout: float) -> ExecResult: ...

    def line(self, command_line: str, folder: str, timeout: float) -> ExecResult:
        """One line of cmd.exe, as typed, in a folder of the guest."""
        ...

    def put(self, path: str, source: str, by_disc: bool | None) -> None:
        """Copy the host's file `source` into the guest; `by_disc` as `MachineGuest.put` has it."""
        ...

    def put_disc(self, files: dict[str, str]) -> str:
        """Put a disc with files of the host, by their names on it, into the CD drive; returns its folder."""
        ...

    def get(self, path: str) -> bytes: ...

    def screenshot(self) -> bytes:
        """A PNG of the guest's screen."""
        ...


class LocalDesk:
    """A machine of this process; its calls take turns."""

    def __init__(self, guest: MachineGuest | None) -> None:
        self._guest = guest
        self._turn = threading.Lock()

    @property
    def guest(self) -> MachineGuest:
        assert self._guest is not None
        return self._guest

    def execute(self, argv: list[str], timeout: float) -> ExecResult:
        with self._turn, _about(argv[0]):
            return self.guest.execute(argv, timeout=timeout)

    def line(self, command_line: str, folder: str, timeout: float) -> ExecResult:
        with self._turn, self.guest.watch.call():
            return self.guest.runner.execute(
                f'cmd.exe /d /s /c "{command_line}"', folder=folder or None, timeout=timeout
            )

    def put(self, path: str, source: str, by_disc: bool | None) -> None:
        with self._turn, _about(path):
            self.guest.put(path, Path(source), by_disc=by_disc)

    def put_disc(self, files: dict[str, str]) -> str:
        with self._turn:
            return self.guest.put_disc({name: Path(source) for name, source in files.items()})

    def get(self, path: str) -> bytes:
        with self._turn, _about(path):
            return self.guest.get(path)

    def screenshot(self) -> bytes:
        return _screenshot(self.guest.machine)


class EarlyDesk(LocalDesk):
    """A machine whose runner does not answer yet, or never will: its screen can be seen all the time."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(None)
        self._machine = machine

    @property
    def guest(self) -> MachineGuest:
        if self._guest is None:
            raise InfrastructureError(
                "the runner in the machine doesn't answer yet; its screen can be looked at (screenshot), and "
                "it can be ended (stop)"
            )
        return self._guest

    def seat(self, guest: MachineGuest | None) -> None:
        """Its guest from now on; None when that has gone."""
        self._guest = guest

    def screenshot(self) -> bytes:
        return _screenshot(self._machine)


def _screenshot(machine: Machine) -> bytes:
    with tempfile.TemporaryDirectory(prefix="harness-screen-") as folder:
        return machine.screenshot(Path(folder) / "screen.png").read_bytes()


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Say which file or program the guest's system refused."""
    try:
        yield
    except RunnerError as error:
        why = {2: "there is no such file", 3: "there is no such folder"}.get(error.win32 or 0, str(error))
        raise InfrastructureError(f"{what}: {why} in the guest") from error


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the holder of a target is found. A target's name becomes a short hash: socket paths are short."""

    folder: Path
    target: str

    @classmethod
    def of(cls, target: str, places: Places | None) -> _Place:
        where = places or Places.standard()
        return cls(private_folder(private_folder(where.runtime) / "held"), target)

    @property
    def socket(self) -> Path:
        return self.folder / f"{hashlib.sha256(self.target.encode()).hexdigest()[:16]}.sock"

    @property
    def key(self) -> Path:
        return self.socket.with_suffix(".key")


@contextmanager
def hold(
    held: MachineGuest | LocalDesk, target: str, *, places: Places | None = None
) -> Iterator[threading.Event]:
    """Let other processes use a guest, or a desk, under the name `target` until the block ends.

    Yields an event that is set when one of them asks for the end. Raises `InfrastructureError` when another
    process holds that target already.
    """
    place = _Place.of(target, places)
    with ExitStack() as stack:
        stack.enter_context(_claim(place))
        key = secrets.token_bytes(_KEY_BYTES)
        for stale in (place.socket, place.key):  # of a holder that was killed
            stale.unlink(missing_ok=True)
        stack.callback(place.key.unlink, missing_ok=True)
        place.key.touch(mode=0o600)
        place.key.write_bytes(key)
        stop, closing = threading.Event(), threading.Event()
        # Its end removes the socket.
        listener = stack.enter_context(Listener(str(place.socket), "AF_UNIX", authkey=key))
        desk = held if isinstance(held, LocalDesk) else LocalDesk(held)
        thread = threading.Thread(target=_serve, args=(listener, desk, stop, closing), daemon=True)
        thread.start()
        try:
            yield stop
        finally:
            closing.set()
            # Wakes the thread, and waits for no answer: it may be on its way out already.
            with socket.socket(socket.AF_UNIX) as knock, suppress(OSError):
                knock.connect(str(place.socket))
            thread.join()


@contextmanager
def _claim(place: _Place) -> Iterator[None]:
    """Be the only holder of a target; the kernel ends the claim of one that dies (flock(2))."""
    with place.socket.with_suffix(".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InfrastructureError(
                f"{place.target} is held already; end it with: harness guest stop {place.target}"
            ) from None
        yield


def _serve(listener: Listener, desk: LocalDesk, stop: threading.Event, closing: threading.Event) -> None:
    while not closing.is_set():
        try:
            connection = listener.accept()
        except (AuthenticationError, EOFError, OSError):
            continue  # somebody without the key, or who went away
        threading.Thread(target=_answer, args=(connection, desk, stop), daemon=True).start()


def _answer(connection: Any, desk: LocalDesk, stop: threading.Event) -> None:
    with connection, suppress(EOFError, OSError):
        name, arguments = cbor2.loads(connection.recv_bytes(_LARGEST))
        try:
            if name not in _CALLS:
                raise InfrastructureError(
                    f"a held guest has no call {name!r}; is the harness of one version?"
                )
            if name == "stop":
                stop.set()
                value: object = None
            else:
                value = getattr(desk, name)(*arguments)
            if isinstance(value, ExecResult):
                value = [value.exit_code, value.stdout, value.stderr]
            reply = {"value": value}
        except HarnessError as error:
            reply = {"error": str(error)}
        connection.send_bytes(cbor2.dumps(reply))


class RemoteDesk:
    """A machine that another process holds; one connection a call."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def execute(self, argv: list[str], timeout: float) -> ExecResult:
        return ExecResult(*self._call("execute", argv, timeout))

    def line(self, command_line: str, folder: str, timeout: float) -> ExecResult:
        return ExecResult(*self._call("line", command_line, folder, timeout))

    def put(self, path: str, source: str, by_disc: bool | None) -> None:
        self._call("put", path, source, by_disc)

    def put_disc(self, files: dict[str, str]) -> str:
        return str(self._call("put_disc", files))

    def get(self, path: str) -> bytes:
        return bytes(self._call("get", path))

    def screenshot(self) -> bytes:
        return bytes(self._call("screenshot"))

    def stop(self) -> None:
        """Ask the holder to end the machine."""
        self._call("stop")


def attach(target: str, *, places: Places | None = None) -> RemoteDesk | None:
    """The machine that some process holds under that name; None when nobody does."""
    place = _Place.of(target, places)
    try:
        key = place.key.read_bytes()
    except OSError:
        return None

    def call(name: str, *arguments: object) -> Any:
        try:
            with Client(str(place.socket), "AF_UNIX", authkey=key) as connection:
                connection.send_bytes(cbor2.dumps([name, list(arguments)]))
                reply = cbor2.loads(connection.recv_bytes(_LARGEST))
        except (OSError, EOFError, AuthenticationError) as error:
            raise InfrastructureError(
                f"whoever holds {target} does not answer ({error}); "
                f"start another: harness guest start {target}"
            ) from error
        if "error" in reply:
            raise InfrastructureError(reply["error"])
        return reply["value"]

    try:
        with Client(str(place.socket), "AF_UNIX", authkey=key):
            pass
    except (OSError, EOFError, AuthenticationError):
        return None  # its holder was killed
    return RemoteDesk(call)
