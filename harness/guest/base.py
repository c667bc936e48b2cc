"""The one seam: what every guest can do.

A suite needs nothing else. The reference guest and a machine differ below this interface only; filters,
rules, events, traces and workloads are written once, above it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.cleanup import Closing
from harness.guest.leaks import NOTHING_KNOWN, Outstanding
from harness.registry.version import WindowsVersion

if TYPE_CHECKING:
    from harness.workload.program import Program
    from harness.workload.result import ProgramResult

__all__ = [
    "REFERENCE_LIMITS",
    "Arch",
    "Capability",
    "DriverParameters",
    "ExecResult",
    "Guest",
    "GuestInfo",
    "GuestKind",
    "IoctlResult",
    "OpenDevice",
    "SystemFacts",
]

#: Values of the service key's Parameters subkey: int becomes REG_DWORD, str REG_SZ, bytes REG_BINARY.
DriverParameters = Mapping[str, "int | str | bytes"]


class Arch(StrEnum):
    X64 = "x64"
    X86 = "x86"

    @property
    def pointer_size(self) -> int:
        return 8 if self is Arch.X64 else 4


class GuestKind(StrEnum):
    """What a guest is. Reports name it everywhere: the first two are not Windows."""

    REFERENCE = "reference"  # the compiled driver, emulated, over a model of the configuration manager
    STAND_IN = "stand-in"  # Debian with Wine in a QEMU machine
    WINDOWS = "windows"
    REACTOS = "reactos"


class Capability(StrEnum):
    """What guests may lack; ``@requires("transactions")`` skips a test there."""

    CALLBACKS = "callbacks"  # CmRegisterCallback: without it there is nothing to filter
    LAYERING = "layering"  # CmRegisterCallbackEx: altitudes, contexts, bypass
    APP_HIVES = "app-hives"  # RegLoadAppKey, NtLoadKeyEx
    TRANSACTIONS = "transactions"  # kernel transactions on registry keys
    TWO_PROCESSES = "two-processes"  # programs may name further processes
    PROGRAMS = "programs"  # runs executables
    WIN32_CALLS = "win32-calls"  # programs may call advapi32 (`p.win32`), not only native routines
    DISPOSABLE = "disposable"  # thrown away or reverted after use: tests may crash it or leave traces


#: What the reference guest lacks whatever it models, with the reason a skip shows.
REFERENCE_LIMITS: Final[Mapping[str, str]] = {
    Capability.PROGRAMS: "the reference guest runs drivers and workload programs, no other programs",
}


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """What a guest that runs by itself found out about its system; None: it could not, or does not apply.

    Kept with every result, so that a result can be told from one of another state of the same Windows.
    """

    product: str | None = None  # "Windows 11 Pro"
    ubr: int | None = None  # update build revision: 10.0.26100.UBR
    secure_boot: bool | None = None
    hvci: bool | None = None
    verifier_flags: int | None = None
    verifier_drivers: tuple[str, ...] | None = None
    clock_skew: float | None = None  # seconds the guest's clock was ahead of the host's, after it was set
    template: str = ""  # identity of what the machine was cloned from
    channel: str = ""  # how it is talked to: "serial"
    accelerator: str = ""  # "kvm" or "tcg"
    drilled: bool | None = None  # its image passed a crash drill, on this host's QEMU


@dataclass(frozen=True, slots=True)
class GuestInfo:
    """What a guest says about itself; stored with every result."""

    name: str  # the target: "reference:10.0.26100"
    kind: GuestKind
    version: WindowsVersion
    arch: Arch
    processors: int = 1
    test_signing: bool | None = True  # None: it can't tell
    #: Members of `Capability`; tests skip with the reason when one they need is missing.
    capabilities: frozenset[str] = field(default=frozenset())
    #: Why capabilities are missing, where somebody said so.
    reasons: Mapping[str, str] = field(default_factory=dict)
    facts: SystemFacts = SystemFacts()


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class IoctlResult:
    """`status` is the NTSTATUS of the request (unsigned), `data` the `information` bytes returned."""

    status: int
    data: bytes
    information: int


class OpenDevice(Closing):
    """A device a guest opened for several requests; a context manager.

    This one serves guests that can't keep a device open: every request opens and closes it.
    """

    def __init__(self, guest: Guest, name: str) -> None:
        self.guest = guest
        self.name = name

    def ioctl(self, code: int, data: bytes = b"", *, output: int = 0) -> IoctlResult:
        """One DeviceIoControl; `output` is the size of the buffer."""
        return self.guest.ioctl(self.name, code, data, output=output)

    def close(self) -> None:
        """Close the device, once; a driver can't be unloaded before."""


class Guest(Closing):
    """Loads drivers and runs workloads. A context manager; `close` ends everything it started."""

    @property
    @abstractmethod
    def info(self) -> GuestInfo: ...

    @property
    def activity(self) -> int | None:
        """Changes whenever code has run in the guest; None for a guest that runs by itself.

        Where it has not changed, nothing can have been recorded: `harness.probe` spares a round trip then.
        """
        return None

    @property
    def usable(self) -> bool:
        """False once a machine crashed, hung or was closed: every call fails then, and a fresh one is due."""
        return True

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Store a file. `path` is a DOS path of the guest, e.g. ``C:\\harness\\app.dat``."""

    @abstractmethod
    def get(self, path: str) -> bytes:
        """Read a file. Raises `InfrastructureError` when there is none."""

    @abstractmethod
    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, folder: str | None = None) -> ExecResult:
        """Run a command; `folder` is its working folder, by default the runner's.

        Raises `UnsupportedError` where the guest runs no programs, `ChannelTimeoutError` when the command has
        not ended after `timeout` seconds: its processes are ended then.
        """

    @abstractmethod
    def install_driver(
        self, service: str, image: bytes, *, parameters: DriverParameters | None = None
    ) -> None:
        """Create the kernel service `service` (demand start) for a driver image."""

    @abstractmethod
    def start_driver(self, service: str) -> int:
        """Start a service; returns DriverEntry's NTSTATUS.

        Raises `DriverRefusedError` when the image is not accepted (signature, format, unmodelled
        imports) and `GuestCrashed` when it brings the guest down.
        """

    @abstractmethod
    def stop_driver(self, service: str) -> int:
        """Unload; returns STATUS_SUCCESS or why not (STATUS_INVALID_DEVICE_REQUEST: no unload routine)."""

    @abstractmethod
    def remove_driver(self, service: str) -> None:
        """Delete the service, stopping it first when it runs."""

    @abstractmethod
    def ioctl(self, device: str, code: int, data: bytes = b"", *, output: int = 0) -> IoctlResult:
        """Open `device` (``\\\\.\\RegProbe``), one DeviceIoControl, close. `output`: buffer size."""

    def open_device(self, device: str) -> OpenDevice:
        """Keep `device` open for several requests; spares the open and close of each.

        Raises `InfrastructureError` with the status when it can't be opened.
        """
        return OpenDevice(self, device)

    @abstractmethod
    def read_device(self, device: str, length: int) -> IoctlResult:
        """Open, IRP_MJ_READ of `length` bytes, close."""

    @abstractmethod
    def write_device(self, device: str, data: bytes) -> IoctlResult:
        """Open, IRP_MJ_WRITE, close."""

    @abstractmethod
    def run(self, program: Program) -> ProgramResult:
        """Execute a workload in one round trip inside the guest's runner process."""

    @abstractmethod
    def debug_output(self) -> list[str]:
        """DbgPrint lines since the last call, oldest first; empty where the guest can't collect them."""

    def outstanding(self) -> Outstanding:
        """What drivers hold at this moment: pool, callbacks, contexts, handles on keys; by driver.

        What a guest can't tell it names as unknown, so that nobody takes silence for cleanness.
        """
        return NOTHING_KNOWN

    def note_open_keys(self) -> None:
        """A test is over and its keys are still there: what is open now, `outstanding` must not forget.

        For guests that can't tell of keys that were deleted while a driver had them open; others do nothing.
        """
        return

    def save_evidence(
        self, folder: Path, error: BaseException | None, *, memory_mib: int = 0
    ) -> tuple[str, ...]:
        """Put into `folder`, which exists, what shows why a test failed with `error`; names the files.

        The guest is of no use afterwards. `memory_mib` allows a dump of a memory of at most that size. Raises
        nothing for what can't be had; a guest that has nothing to show makes no files.
        """
        return ()

    @abstractmethod
    def close(self) -> None: ...
