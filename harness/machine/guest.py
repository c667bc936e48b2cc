"""A machine as a guest: the runner inside it behind the Guest interface, watched all the time."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.channel.answers import ServiceState
from harness.channel.base import Channel
from harness.channel.deadline import Deadline
from harness.channel.environment import Environment
from harness.channel.errors import ChannelError, ChannelTimeoutError, RunnerError
from harness.channel.frames import RunnerErrorCode
from harness.channel.runner import RunnerClient
from harness.channel.sources import size_of
from harness.errors import GuestCrashed, GuestHung, HarnessError, InfrastructureError, UnsupportedError
from harness.guest.base import (
    Capability,
    DriverParameters,
    ExecResult,
    Guest,
    GuestInfo,
    IoctlResult,
    OpenDevice,
    SystemFacts,
)
from harness.guest.bugcheck import Bugcheck
from harness.guest.leaks import Outstanding
from harness.machine.evidence import INDEX, collect
from harness.machine.inside.attest import Promise, check_promise, found_missing, set_clock
from harness.machine.inside.axes import NOTHING_ON, SwitchedOn, check_axes
from harness.machine.inside.delivery import DiscDrive, pays_by_disc
from harness.machine.inside.holdings import Holdings
from harness.machine.inside.services import create_service, entry_status, stop_status
from harness.machine.watch.debug_log import DebugLog
from harness.machine.watch.watchers import Watch, WatchLimits
from harness.registry.status import nt_success, status_name
from harness.registry.version import WindowsVersion

if TYPE_CHECKING:
    from harness.machine.hypervisor.machine import Machine
    from harness.machine.keep.store import Environment as Conditions
    from harness.workload.program import Program
    from harness.workload.result import ProgramResult

__all__ = ["CALL_SECONDS", "Identity", "MachineGuest"]

log = logging.getLogger(__name__)

#: How long one request that drives a driver may take before the guest counts as hung.
CALL_SECONDS: Final = 120.0
#: The system reads files and may start a process first, also where requests are to be quick.
_LOADING_SECONDS: Final = 60.0
#: A workload may be long.
_PROGRAM_SECONDS: Final = 300.0
#: A disc may hold gigabytes, and the guest reads them to the end.
_DISC_SECONDS: Final = 1800.0
_DRIVERS: Final = "C:\\harness\\drivers"
_file_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of a machine's guest before it is asked: its target's name, what its recipe says."""

    name: str
    promise: Promise
    limits: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    #: Axes that its template was given; each clone must still show them.
    on: SwitchedOn = NOTHING_ON
    #: Whether its image passed a crash drill; None where nobody asked.
    drilled: bool | None = None
    #: What must be the same where a state that QEMU saves of it is to be loaded; None where nobody knows.
    conditions: Conditions | None = None


class _HeldDevice(OpenDevice):
    """A device the runner keeps open."""

    guest: MachineGuest

    def __init__(self, guest: MachineGuest, name: str) -> None:
        super().__init__(guest, name)
        with guest.driving(f"opening {name}"):
            opened = guest.runner.open_device(name, timeout=guest.call_seconds)
        if not opened.handle:
            raise InfrastructureError(f"{name} can't be opened in the guest: {status_name(opened.status)}")
        self._handle = opened.handle

    def ioctl(self, code: int, data: bytes = b"", *, output: int = 0) -> IoctlResult:
        return self.guest.control(self._handle, code, data, output)

    def close(self) -> None:
        handle, self._handle = self._handle, 0
        if handle and self.guest.usable:
            with self.guest.driving(f"closing {self.name}"):
                self.guest.runner.close_device(handle, timeout=self.guest.call_seconds)


class MachineGuest(Guest):
    """A running machine whose runner answers on `channel`; owns the channel, and ends with `release`.

    Everything asked of it races with the watchers: when the guest bugchecks or hangs the call ends at once
    with `GuestCrashed` or `GuestHung`, and so does every later one. Its clock is set and it is asked what it
    is when it is made; one that is not what its recipe promises is an `InfrastructureError`.
    """

    def __init__(
        self,
        machine: Machine,
        channel: Channel,
        identity: Identity,
        *,
        release: Callable[[], None],
        limits: WatchLimits | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self.machine = machine
        self.channel = channel
        self.identity = identity
        self.runner = RunnerClient(channel)
        self._drive = DiscDrive(machine, self.runner, self._pause)
        self._holdings = Holdings(self.runner)
        self.call_seconds = call_seconds
        self.log = DebugLog(machine.spec.debug_log)
        self.watch = Watch(machine, self.log, limits=limits)
        self._endings = contextlib.ExitStack()
        self._endings.callback(release)
        self._files: dict[str, str] = {}
        self._closed = False
        try:
            self.watch.latch.tell(channel.fail)
            self.watch.start(channel)
            with self.watch.call():
                self._skew = set_clock(self.runner, identity.name)
                self.environment: Environment = self.runner.environment()
            check_promise(identity.promise, self.environment, identity.name)
            check_axes(identity.on, self.environment, identity.name)
            self._info = self._make_info()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<MachineGuest {self.identity.name} on {self.machine.name}>"

    # -- what it is --------------------------------------------------------------------------------------

    @property
    def info(self) -> GuestInfo:
        return self._info

    def _make_info(self) -> GuestInfo:
        found, promise = self.environment, self.identity.promise
        reasons = {**found_missing(found), **self.identity.limits}
        return GuestInfo(
            name=self.identity.name,
            kind=promise.kind,
            version=WindowsVersion(found.major, found.minor, found.build, found.service_pack),
            arch=found.arch,
            processors=found.processors,
            test_signing=found.test_signing,
            capabilities=frozenset(set(map(str, Capability)) - reasons.keys()),
            reasons=reasons,
            facts=SystemFacts(
                product=found.product,
                ubr=found.ubr,
                secure_boot=found.secure_boot,
                hvci=found.hvci,
                verifier_flags=found.verifier_flags,
                verifier_drivers=found.verifier_drivers,
                clock_skew=round(self._skew, 3),
                template=self.identity.template,
                channel=self.channel.kind.value,
                accelerator=self.machine.spec.accelerator.value,
                drilled=self.identity.drilled,
            ),
        )

    @property
    def usable(self) -> bool:
        return not self._closed and self.watch.latch.error is None

    # -- calls -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Around a request: the watchers race with it; what the guest has no notion of is said so."""
        if self._closed:
            raise InfrastructureError(f"{self.identity.name}: the guest was closed; boot another one")
        with self.watch.call():
            try:
                yield
            except RunnerError as error:
                if error.code == RunnerErrorCode.UNSUPPORTED:
                    raise UnsupportedError(str(error)) from error
                raise

    @contextlib.contextmanager
    def driving(self, what: str) -> Iterator[None]:
        """Around a request that runs code of a driver: one that does not come back is a hang of the guest.

        The rest of the guest may well be alive; a callback that waits for ever blocks whoever called it.
        """
        with self._asking():
            try:
                yield
            except ChannelTimeoutError as error:
                why = f"{what} does not return in the guest, though its runner is alive"
                self.watch.latch.trip(GuestHung(Bugcheck.unknown(f"{why} ({error})")))
                raise

    def _pause(self, seconds: float) -> None:
        """Wait, unless a watcher sees the guest die meanwhile."""
        self.watch.latch.wait(seconds)
        self.watch.latch.check()

    # -- files and programs ------------------------------------------------------------------------------

    def put(self, path: str, data: bytes | Path, *, by_disc: bool | None = None) -> None:
        """As `Guest.put`; `data` may be a file of the host. A large one goes by disc if the channel is slow.

        `by_disc` says so or forbids it. Where the guest does not notice discs, the channel is used after all.
        """
        if by_disc or (by_disc is None and self._pays_by_disc(path, data)):
            try:
                with self._asking():
                    self._drive.put(path, data, Deadline.after(_DISC_SECONDS))
                return
            except ChannelError as error:
                if by_disc or not self.usable or self._drive.usable:
                    raise
                log.warning("%s goes over the %s channel instead: %s", path, self.channel.kind, error)
        with self._asking():
            self.channel.put(path, data)

    def _pays_by_disc(self, path: str, data: bytes | Path) -> bool:
        port = self.machine.spec.hardware.channel
        return self._drive.can_put(path) and pays_by_disc(self.channel.kind, port, size_of(data))

    def put_disc(self, files: Mapping[str, bytes | Path]) -> str:
        """Put a read-only disc with `files` into the guest's CD drive; returns its folder there, ``D:\\``.

        Needs no network, and takes out the disc before. Names may have folders, with ``/``; each file's
        digest is checked in the guest. Raises `UsageError` for a machine without a drive, and for names that
        no disc can have.
        """
        with self._asking():
            return self._drive.insert(files, Deadline.after(_DISC_SECONDS))

    def get(self, path: str) -> bytes:
        with self._asking():
            return self.channel.get(path)

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, folder: str | None = None) -> ExecResult:
        with self._asking():
            if folder is None:
                return self.channel.execute(argv, timeout=timeout)
            return self.runner.execute(argv, timeout=timeout, folder=folder)

    def run(self, program: Program) -> ProgramResult:
        with self.driving("a program"):
            return self.runner.run(program, timeout=max(_PROGRAM_SECONDS, self.call_seconds))

    # -- drivers -----------------------------------------------------------------------------------------

    @property
    def _loading_seconds(self) -> float:
        return max(_LOADING_SECONDS, self.call_seconds)

    def install_driver(
        self, service: str, image: bytes, *, parameters: DriverParameters | None = None
    ) -> None:
        # A driver that would not unload keeps its file: the next one gets another.
        # In a folder of its own, because Driver Verifier knows drivers by the names of their files.
        path = f"{_DRIVERS}\\{next(_file_numbers)}\\{service}.sys"
        with self._asking():
            self.channel.put(path, image)
            create_service(self.runner, service, path, image, parameters)
        self._holdings.installed(service, image)
        self._files[service.lower()] = path

    def start_driver(self, service: str) -> int:
        with self._asking():
            self._holdings.starting(service)
        with self.driving(f"starting {service}"):
            outcome = self.runner.start_service(service, timeout=self._loading_seconds)
        if not nt_success(stop_status(outcome)):
            self._holdings.stopped(service)
        return entry_status(service, outcome)

    def stop_driver(self, service: str) -> int:
        with self.driving(f"stopping {service}"):
            status = stop_status(self.runner.stop_service(service, timeout=self._loading_seconds))
        if nt_success(status):
            self._holdings.stopped(service)
        return status

    def remove_driver(self, service: str) -> None:
        with self.driving(f"removing {service}"):
            state = self.runner.query_service(service)
            if state is None:
                return
            if state is not ServiceState.STOPPED:
                outcome = self.runner.stop_service(service, timeout=self._loading_seconds)
                if nt_success(stop_status(outcome)):
                    self._holdings.stopped(service)
            self.runner.delete_service(service)
            path = self._files.pop(service.lower(), None)
            if path is not None:
                with contextlib.suppress(RunnerError):  # it still runs: the image is in use
                    self.runner.delete(path)

    # -- devices -----------------------------------------------------------------------------------------

    def ioctl(self, device: str, code: int, data: bytes = b"", *, output: int = 0) -> IoctlResult:
        return self.control(device, code, data, output)

    def control(self, device: str | int, code: int, data: bytes, output: int) -> IoctlResult:
        """One DeviceIoControl, on a device opened for it or on an open handle of the runner's."""
        with self.driving(f"device request {code:#x}"):
            return self.runner.control_device(device, code, data, output=output, timeout=self.call_seconds)

    def open_device(self, device: str) -> OpenDevice:
        return _HeldDevice(self, device)

    def read_device(self, device: str, length: int) -> IoctlResult:
        with self.driving(f"reading {device}"):
            return self.runner.read_device(device, length, timeout=self.call_seconds)

    def write_device(self, device: str, data: bytes) -> IoctlResult:
        with self.driving(f"writing {device}"):
            return self.runner.write_device(device, data, timeout=self.call_seconds)

    def debug_output(self) -> list[str]:
        return self.log.take()

    # -- what drivers hold -------------------------------------------------------------------------------

    def outstanding(self) -> Outstanding:
        with self._asking():
            return self._holdings.outstanding()

    def note_open_keys(self) -> None:
        with self._asking():
            self._holdings.note_open_keys()

    # -- the end -----------------------------------------------------------------------------------------

    def save_evidence(
        self, folder: Path, error: BaseException | None, *, memory_mib: int = 0
    ) -> tuple[str, ...]:
        """As `Guest.save_evidence`; the memory is dumped after a crash or a hang only."""
        died = isinstance(error, GuestCrashed) or isinstance(self.watch.latch.error, GuestCrashed)
        self.watch.stop()  # pausing is ours
        environment: dict[str, Any] = asdict(self.environment)
        pieces = collect(
            self.machine, folder, error, environment=environment, memory_mib=memory_mib if died else 0
        )
        return (INDEX, *(piece.name for piece in pieces if not piece.missing))

    def close(self) -> None:
        """End the channel and give the machine back. May be called again."""
        if self._closed:
            return
        self._closed = True
        with self._endings:
            self._endings.callback(self.watch.stop)
            with contextlib.suppress(HarnessError):  # a dead guest can't say goodbye
                self.channel.close()

    def on_close(self, action: Callable[[], object]) -> None:
        """Call `action` when the machine was given back."""
        before = self._endings.pop_all()
        self._endings.callback(action)
        self._endings.push(before)
