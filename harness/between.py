"""A driver of somebody's own between two probe filters, and what it did to the operations passing through it.

The filter above sees what a requester asked for and what it got; the filter below sees what the driver let
through and what the system answered. What differs is the driver's doing: no run without it is needed, and
no knowledge of what it is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from harness.errors import DriverRefusedError, UsageError
from harness.registry.status import nt_success, status_name

if TYPE_CHECKING:
    from harness.guest.base import DriverParameters, Guest
    from harness.probe import Event, Filter, Pair, Probe, Trace

__all__ = [
    "ABOVE",
    "BELOW",
    "CHANGED",
    "UNCHANGED",
    "Between",
    "Change",
    "ChangeKind",
    "changes",
    "parse_parameters",
]

#: Far outside the range of assigned altitudes, so that the driver is between them whatever its own is
#: (ifs/load-order-groups-and-altitudes). Before Vista the order of registration decides, which is the same.
ABOVE: Final = "999999.7301"
BELOW: Final = "1.7301"

#: What is recorded about a driver's doing: a name that starts with this is a change, and the summary of a run
#: shows it; nothing done is recorded as UNCHANGED.
CHANGED: Final = "changed: "
UNCHANGED: Final = "unchanged"

_SHOWN_BYTES: Final = 24


class ChangeKind(StrEnum):
    """How an operation differs above and below."""

    BLOCKED = "blocked"  # seen above only, and failed
    COMPLETED = "completed in between"  # seen above only, and succeeded (bypass)
    STATUS = "status changed"  # seen by both, with different statuses in post
    INPUT = "input changed"  # seen by both, with another name or other data in pre
    OUTPUT = "output changed"  # seen by both, with different output in post
    OWN_CALL = "own call"  # seen below only: a registry call made in between


@dataclass(frozen=True, slots=True)
class Change:
    """One thing the driver did. `operation` is the notify class and the path it was about."""

    kind: ChangeKind
    operation: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.operation}{', ' if self.detail else ''}{self.detail}"


@dataclass(frozen=True, slots=True)
class Between:
    """A loaded driver with one probe filter on either side. `status` is its DriverEntry's."""

    guest: Guest
    probe: Probe
    service: str
    status: int
    above: Filter
    below: Filter

    @classmethod
    def load(
        cls,
        guest: Guest,
        probe: Probe,
        path: Path,
        *,
        service: str = "",
        parameters: DriverParameters | None = None,
    ) -> Self:
        """Load the driver in `path` as the kernel service `service` (default: the file's stem).

        Raises `UsageError` for a file that can't be read and what `Guest.start_driver` raises; a DriverEntry
        that fails raises `DriverRefusedError` with its status.
        """
        try:
            image = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
        service = service or path.stem
        above = probe.add(ABOVE)
        guest.install_driver(service, image, parameters=parameters)
        try:
            status = guest.start_driver(service)
            if not nt_success(status):
                said = f"DriverEntry of {path.name} returned {status_name(status)}"
                raise DriverRefusedError(said, status=status)
        except DriverRefusedError:
            guest.remove_driver(service)
            above.remove()
            raise
        return cls(guest, probe, service, status, above, probe.add(BELOW))

    def changes(self, trace: Trace) -> list[Change]:
        """What the driver did in one operation's trace (``probe.trace.of(step)``)."""
        return changes(trace, self.above, self.below)

    def unload(self) -> int:
        """Stop the driver and remove its service; the status of stopping it, and on failure it stays."""
        status = self.guest.stop_driver(self.service)
        if nt_success(status):
            self.guest.remove_driver(self.service)
        return status


def parse_parameters(texts: Iterable[str]) -> dict[str, int | str | bytes]:
    """``NAME=VALUE`` to values of a Parameters key: numbers (also 0x...) to REG_DWORD, text to REG_SZ.

    Double quotes around a value make it a text whatever is in them: ``Altitude="385200"``. Raises
    `UsageError` for a text without a name or a number beyond 32 bits.
    """
    found: dict[str, int | str | bytes] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"{text!r} is not of the form NAME=VALUE")
        if len(value) >= 2 and value[0] == value[-1] == '"':
            found[name] = value[1:-1]
            continue
        try:
            number = int(value, 0)
        except ValueError:
            found[name] = value
            continue
        if not 0 <= number <= 0xFFFF_FFFF:
            raise UsageError(f"{value} doesn't fit a REG_DWORD")
        found[name] = number
    return found


def changes(trace: Trace, above: Filter, below: Filter) -> list[Change]:
    """Everything that differs between the two filters in one operation's trace."""
    lower = trace.seen_by(below).paired()
    found: list[Change] = []
    for pair in trace.seen_by(above).paired():
        partner = _partner(pair, lower)
        if partner is None:
            found.append(_decided(pair))
        else:
            lower.remove(partner)
            found += _changed(pair, partner)
    found += [
        Change(ChangeKind.OWN_CALL, _what(pair), _ended(pair)) for pair in lower if pair.pre is not None
    ]
    return found


def _partner(pair: Pair, candidates: list[Pair]) -> Pair | None:
    """The same operation seen below: the same class about the same object.

    Where the driver edited the name in place, one that came in the same structure.
    """
    alike = [each for each in candidates if _event(each).notify_class == _event(pair).notify_class]
    before = pair.pre
    if before is None:
        return alike[0] if alike else None
    pres = [(each, each.pre) for each in alike if each.pre is not None]
    same = [each for each, pre in pres if _subject(pre) == _subject(before)]
    edited = [each for each, pre in pres if _place(pre) == _place(before)]
    return next(iter(same + edited), None)


def _place(event: Event) -> tuple[int, int, int, int]:
    """Where a notification's structure is, and about what. An own call's lies elsewhere: both are alive."""
    return (event.information, event.thread_id, event.object, event.root_object)


def _subject(event: Event) -> tuple[int, int, str]:
    return (event.object, event.root_object, event.name)


def _event(pair: Pair) -> Event:
    event = pair.pre or pair.post
    assert event is not None
    return event


def _what(pair: Pair) -> str:
    from harness.probe.event import class_name  # NumPy comes with it, and this module with every pytest

    event = _event(pair)
    return f"{class_name(event.notify_class)} {event.path}".strip()


def _ended(pair: Pair) -> str:
    return "" if pair.post is None else status_name(pair.post.status)


def _decided(pair: Pair) -> Change:
    succeeded = pair.post is not None and nt_success(pair.post.status)
    return Change(ChangeKind.COMPLETED if succeeded else ChangeKind.BLOCKED, _what(pair), _ended(pair))


def _changed(upper: Pair, lower: Pair) -> Iterator[Change]:
    what = _what(upper)
    if upper.pre is not None and lower.pre is not None:
        if upper.pre.name != lower.pre.name:
            yield Change(ChangeKind.INPUT, what, f"the name {upper.pre.name!r} became {lower.pre.name!r}")
        if upper.pre.data != lower.pre.data:
            yield Change(ChangeKind.INPUT, what, _became(upper.pre.data, lower.pre.data))
    if upper.post is None or lower.post is None:
        return
    if upper.post.status != lower.post.status:
        said = f"{status_name(lower.post.status)} became {status_name(upper.post.status)}"
        yield Change(ChangeKind.STATUS, what, said)
    if upper.post.data != lower.post.data:
        yield Change(ChangeKind.OUTPUT, what, _became(lower.post.data, upper.post.data))


def _became(before: bytes, after: bytes) -> str:
    return f"{_bytes(before)} became {_bytes(after)}"


def _bytes(data: bytes) -> str:
    text = data[:_SHOWN_BYTES].hex(" ")
    return f"{text} ..." if len(data) > _SHOWN_BYTES else text or "nothing"
