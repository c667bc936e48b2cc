"""The reference guest: a machine with its kernel and registry behind the Guest interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final

from harness.errors import InfrastructureError, UnsupportedError, UsageError
from harness.guest import (
    Arch,
    DriverParameters,
    ExecResult,
    Guest,
    GuestInfo,
    GuestKind,
    IoctlResult,
    OpenDevice,
)
from harness.guest.base import REFERENCE_LIMITS, Capability
from harness.guest.leaks import Outstanding
from harness.reference.cm.filesystem import FileError, FileSystem
from harness.reference.cm.manager import ConfigurationManager
from harness.reference.cm.tokens import STANDARD_USER
from harness.reference.drivers import DriverServices
from harness.reference.filtering.engine import FilterEngine
from harness.reference.filtering.runner import run_program
from harness.reference.kernel.system import start_kernel
from harness.reference.machine import Machine
from harness.reference.outstanding import outstanding
from harness.registry.status import status_name
from harness.registry.version import MODELLED, WindowsVersion, architectures

if TYPE_CHECKING:
    from harness.reference.kernel.synchronous import IoResult
    from harness.workload.program import Program
    from harness.workload.result import ProgramResult

__all__ = ["ReferenceGuest", "boot"]

_DEADLINE: Final = 10.0


class _HeldDevice(OpenDevice):
    """A device with a handle of the runner process."""

    guest: ReferenceGuest

    def __init__(self, guest: ReferenceGuest, name: str) -> None:
        super().__init__(guest, name)
        with guest.as_user():
            handle = guest.machine.kernel.requests.open(name)
        if handle >= 0x8000_0000:
            raise InfrastructureError(
                f"{name} can't be opened in the guest: {status_name(handle)}; is its driver started?"
            )
        self._handle = handle

    def ioctl(self, code: int, data: bytes = b"", *, output: int = 0) -> IoctlResult:
        requests = self.guest.machine.kernel.requests
        return self.guest.requested(lambda: requests.control(self._handle, code, data, output))

    def close(self) -> None:
        handle, self._handle = self._handle, 0
        if handle and not self.guest.closed:
            with self.guest.as_user():
                self.guest.machine.kernel.requests.close(handle)


class ReferenceGuest(Guest):
    """A modelled Windows in this process. Never Windows: `info.kind` says so everywhere.

    `machine` is open for those who want to look inside. After a bugcheck every call raises it again.
    """

    def __init__(self, version: WindowsVersion, arch: Arch, *, deadline: float, verifier: bool) -> None:
        self.machine = Machine(version, arch, deadline=deadline)
        files = FileSystem()
        self.cm = ConfigurationManager(
            version, files=files, pointer_size=arch.pointer_size, clock=self.machine.system_time
        )
        start_kernel(self.machine, files)
        self.machine.registry = FilterEngine(self.machine, self.cm)
        self.files = files
        self.drivers = DriverServices(self.machine, verifier=verifier)
        self.user = self.machine.registry.runners.thread(0, 0)
        self.closed = False

    # -- what it is --------------------------------------------------------------------------------------

    @cached_property
    def info(self) -> GuestInfo:  # asked by every test
        machine = self.machine
        has = {Capability.CALLBACKS, Capability.TWO_PROCESSES, Capability.DISPOSABLE}
        if machine.version.has_layering:
            has.add(Capability.LAYERING)
        if machine.version.has_app_hives:
            has.add(Capability.APP_HIVES)
        if machine.version.has_transactions:
            has.add(Capability.TRANSACTIONS)
        suffix = "" if machine.arch is Arch.X64 else f"-{machine.arch}"
        return GuestInfo(
            name=f"reference:{machine.version}{suffix}",
            kind=GuestKind.REFERENCE,
            version=machine.version,
            arch=machine.arch,
            capabilities=frozenset(has),
            reasons=REFERENCE_LIMITS,
        )

    @property
    def notes(self) -> list[str]:
        """What the model let pass or could not do, in words, since boot."""
        return [*self.drivers.notes, *self.machine.kernel.debug.notes]

    @property
    def activity(self) -> int:
        return self.machine.cpu.begun

    # -- files -------------------------------------------------------------------------------------------

    def put(self, path: str, data: bytes) -> None:
        try:
            self.files.write(path, data)
        except FileError as error:
            raise InfrastructureError(f"{path} can't be written in the guest: {error}") from None

    def get(self, path: str) -> bytes:
        try:
            return self.files.read(path)
        except FileError as error:
            raise InfrastructureError(f"{path} can't be read in the guest: {error}") from None

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, folder: str | None = None) -> ExecResult:
        raise UnsupportedError(REFERENCE_LIMITS[Capability.PROGRAMS])

    # -- drivers -----------------------------------------------------------------------------------------

    def install_driver(
        self, service: str, image: bytes, *, parameters: DriverParameters | None = None
    ) -> None:
        self.drivers.install(service, image, parameters)

    def start_driver(self, service: str) -> int:
        return self.drivers.start(service)

    def stop_driver(self, service: str) -> int:
        return self.drivers.stop(service)

    def remove_driver(self, service: str) -> None:
        self.drivers.remove(service)

    # -- requests ----------------------------------------------------------------------------------------

    def ioctl(self, device: str, code: int, data: bytes = b"", *, output: int = 0) -> IoctlResult:
        return self.requested(lambda: self.machine.kernel.requests.device_control(device, code, data, output))

    def read_device(self, device: str, length: int) -> IoctlResult:
        return self.requested(lambda: self.machine.kernel.requests.read(device, length))

    def write_device(self, device: str, data: bytes) -> IoctlResult:
        return self.requested(lambda: self.machine.kernel.requests.write(device, data))

    def open_device(self, device: str) -> OpenDevice:
        return _HeldDevice(self, device)

    @contextmanager
    def as_user(self) -> Iterator[None]:
        """The runner process' thread is current, its requests come from user mode."""
        with self.machine.running_as(self.user), self.machine.previous_mode(1):
            yield

    def requested(self, request: Callable[[], IoResult]) -> IoctlResult:
        """One I/O request as the runner process makes it."""
        try:
            with self.machine.kernel_work(), self.as_user():
                result = request()
        finally:
            self.machine.memory.reset_user()
        return IoctlResult(result.status, result.data, result.information)

    def as_standard_user(self) -> None:
        """Let the runner act as a standard user from now on: its token, for devices, files and keys."""
        self.user.process.body.token = STANDARD_USER

    def run(self, program: Program) -> ProgramResult:
        with self.machine.kernel_work():
            result = run_program(self.machine, program)
            self.machine.kernel.scheduler.drain()
        return result

    def debug_output(self) -> list[str]:
        return self.machine.kernel.debug.take()

    def outstanding(self) -> Outstanding:
        return outstanding(self.machine)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.machine.close()

    def __repr__(self) -> str:
        return f"<ReferenceGuest {self.info.name}>"


def boot(
    version: str | WindowsVersion,
    *,
    arch: str | Arch = Arch.X64,
    deadline: float = _DEADLINE,
    verifier: bool = True,
) -> ReferenceGuest:
    """Boot a modelled Windows; a context manager.

    `version` is "10.0.26100", "6.1", a `WindowsVersion`, with or without "reference:" before it. `deadline`
    is
    how long one call into a driver may take, in seconds. `verifier=False` cleans up silently what a driver
    left
    at unload, instead of a bugcheck. Raises `UsageError` for a version that is not modelled or an
    architecture
    it never had.
    """
    wanted = WindowsVersion.parse(version.removeprefix("reference:")) if isinstance(version, str) else version
    if wanted not in MODELLED:
        known = ", ".join(str(each) for each in MODELLED)
        raise UsageError(f"Windows {wanted} is not modelled; modelled are: {known}")
    try:
        chosen = Arch(arch)
    except ValueError:
        raise UsageError(f"{arch!r} is no architecture of the reference guest; say x64 or x86") from None
    if chosen.value not in architectures(wanted):
        existed = " and ".join(architectures(wanted))
        raise UsageError(f"Windows {wanted} never existed for {chosen}; it did for {existed}")
    return ReferenceGuest(wanted, chosen, deadline=deadline, verifier=verifier)
