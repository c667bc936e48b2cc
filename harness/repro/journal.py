"""What a test asked of its guest, in order: the calls of a journal.

Each is one call of the Guest interface with its arguments and a short answer. Programs, images and results
are kept by reference while a test runs; they become bytes only for a bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from harness.guest.base import DriverParameters
    from harness.workload.program import Program
    from harness.workload.result import ProgramResult

__all__ = [
    "MAX_REPLY",
    "Call",
    "CallKind",
    "Closed",
    "Executed",
    "Installed",
    "Journal",
    "Opened",
    "Put",
    "Ran",
    "Read",
    "Removed",
    "Requested",
    "Started",
    "Stopped",
    "Wrote",
]

#: Calls of one test that are kept, the operations and the bytes in them. A test beyond that can only be run
#: again as a whole.
MAX_CALLS: Final = 20_000
MAX_OPERATIONS: Final = 200_000
MAX_BYTES: Final = 64 * 1024 * 1024
#: Longest reply to a device request that is kept; ids and statuses are shorter, drained events longer.
MAX_REPLY: Final = 1024
#: Earlier tests on the same guest that are named.
MAX_EARLIER: Final = 200


class CallKind(StrEnum):
    """What a call asks; bundles name calls by it."""

    PROGRAM = "program"
    REQUEST = "request"
    OPEN = "open"
    CLOSE = "close"
    PUT = "put"
    EXECUTE = "execute"
    READ = "read"
    WRITE = "write"
    INSTALL = "install"
    START = "start"
    STOP = "stop"
    REMOVE = "remove"


@dataclass(slots=True, eq=False)
class Call:
    """One call, told from others by its identity. A bundle's `CallRecord` names its fields as these."""

    kind: ClassVar[CallKind]


@dataclass(slots=True, eq=False)
class Ran(Call):
    """A program. `result` None: the guest did not answer."""

    kind = CallKind.PROGRAM
    program: Program
    result: ProgramResult | None = None


@dataclass(slots=True, eq=False)
class Requested(Call):
    """A device request. `held` numbers the opened device it went through, -1 for one opened for it.

    `status` None: no answer; `reply` is empty where it was longer than `MAX_REPLY`.
    """

    kind = CallKind.REQUEST
    device: str
    code: int
    data: bytes
    output: int
    held: int = -1
    status: int | None = None
    reply: bytes = b""


@dataclass(slots=True, eq=False)
class Opened(Call):
    """A device that stays open, number `held`."""

    kind = CallKind.OPEN
    device: str
    held: int


@dataclass(slots=True, eq=False)
class Closed(Call):
    kind = CallKind.CLOSE
    held: int


@dataclass(slots=True, eq=False)
class Put(Call):
    """A file stored in the guest."""

    kind = CallKind.PUT
    path: str
    data: bytes


@dataclass(slots=True, eq=False)
class Executed(Call):
    """A command, in the folder `path` of the guest; empty: in no particular one."""

    kind = CallKind.EXECUTE
    argv: tuple[str, ...]
    timeout: float
    path: str = ""


@dataclass(slots=True, eq=False)
class Read(Call):
    """IRP_MJ_READ of a device."""

    kind = CallKind.READ
    device: str
    length: int


@dataclass(slots=True, eq=False)
class Wrote(Call):
    """IRP_MJ_WRITE to a device."""

    kind = CallKind.WRITE
    device: str
    data: bytes


@dataclass(slots=True, eq=False)
class Installed(Call):
    """A driver's service."""

    kind = CallKind.INSTALL
    service: str
    image: bytes
    parameters: DriverParameters | None = None


@dataclass(slots=True, eq=False)
class Started(Call):
    """`status` is DriverEntry's; None: it did not come to that."""

    kind = CallKind.START
    service: str
    status: int | None = None


@dataclass(slots=True, eq=False)
class Stopped(Call):
    kind = CallKind.STOP
    service: str
    status: int | None = None


@dataclass(slots=True, eq=False)
class Removed(Call):
    kind = CallKind.REMOVE
    service: str


@dataclass(slots=True)
class _Service:
    """A driver's service as it is right now."""

    installed: Installed
    started: Started | None = None


@dataclass(slots=True)
class Journal:
    """The calls of the test that runs now, and what earlier tests left in the guest for it.

    What is left are services and open devices; `calls` begins with the calls that bring them about. What else
    earlier tests did there is not repeated, only named: `earlier`.
    """

    calls: list[Call] = field(default_factory=list)
    #: Calls that were not kept, for their number or size.
    dropped: int = 0
    #: Node ids of the tests that used this guest before.
    earlier: list[str] = field(default_factory=list)
    _operations: int = 0
    _bytes: int = 0
    _services: dict[str, _Service] = field(default_factory=dict)
    _open: dict[int, Opened] = field(default_factory=dict)
    _name: str = ""

    def begin(self, name: str) -> None:
        """A test starts: forget what the one before did."""
        if self._name:
            self.earlier.append(self._name)
            del self.earlier[:-MAX_EARLIER]
        self._name = name
        self.calls = list(self._standing())
        self.dropped = self._operations = self._bytes = 0

    def add(self, call: Call) -> None:
        """Keep a call, unless the test did too much already."""
        self._note(call)
        if isinstance(call, Ran):
            self._operations += len(call.program.operations)
        # Images are many times larger than the rest, and shared by all tests of a guest.
        self._bytes += len(getattr(call, "data", b""))
        if len(self.calls) >= MAX_CALLS or self._operations > MAX_OPERATIONS or self._bytes > MAX_BYTES:
            self.dropped += 1
            return
        self.calls.append(call)

    @property
    def images(self) -> Mapping[str, bytes]:
        """The images of the drivers by service, those of the last installation."""
        return {call.service: call.image for call in self.calls if isinstance(call, Installed)}

    def _note(self, call: Call) -> None:
        match call:
            case Installed():
                self._services[call.service.lower()] = _Service(call)
            case Started():
                if (service := self._services.get(call.service.lower())) is not None:
                    service.started = call
            case Stopped():
                if (service := self._services.get(call.service.lower())) is not None:
                    service.started = None
            case Removed():
                self._services.pop(call.service.lower(), None)
            case Opened():
                self._open[call.held] = call
            case Closed():
                self._open.pop(call.held, None)
            case _:
                pass

    def _standing(self) -> Iterable[Call]:
        for service in self._services.values():
            yield service.installed
            if service.started is not None:
                yield service.started
        yield from self._open.values()
