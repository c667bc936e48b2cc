"""When a rule applies: the conditions of `Filter.on`, validated, as fields of REGPROBE_RULE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from harness.errors import UsageError
from harness.probe import abi
from harness.probe.enums import Match, PreviousMode
from harness.registry.notify import NotifyClass, Operation

__all__ = ["Conditions", "ProgramLike", "StepLike", "conditions", "packed_text"]


class ProgramLike(Protocol):
    """The program a step belongs to: `harness.workload.ProgramBuilder`."""

    def device_control(
        self, device: str, code: int, data: bytes = b"", *, output: int = 0, handles: Any = None
    ) -> Any: ...


class StepLike(Protocol):
    """A step of a program that yields a key handle: `harness.workload.Step`."""

    @property
    def program(self) -> Any: ...
    @property
    def slot(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """`fields` of the rule record; `step` is the handle condition to be filled in by its program."""

    classes: frozenset[NotifyClass]
    fields: dict[str, int | bytes]
    step: StepLike | None

    @property
    def only_pre(self) -> bool:
        """Whether every class is a pre notification."""
        return all(each.is_pre for each in self.classes)

    @property
    def only_post(self) -> bool:
        """Whether every class is a post notification."""
        return all(each.is_post for each in self.classes)


def conditions(
    classes: Iterable[NotifyClass | Operation],
    *,
    key: str | None,
    under: str | StepLike | None,
    prefix: str | None,
    value: str | None,
    process: int | None,
    thread: int | None,
    status: int | None,
    previous_mode: int | None,
    nth: int | None,
    count: int | None,
) -> Conditions:
    """Check and translate what `Filter.on` was given. Raises `UsageError` saying what can't be."""
    wanted = _classes(classes)
    fields: dict[str, int | bytes] = {"classes": sum(1 << int(each) for each in wanted)}
    match = Match(0)
    if sum(each is not None for each in (key, under, prefix)) > 1:
        raise UsageError("a rule has one key condition: key=, under= or prefix=")
    step: StepLike | None = None
    if key is not None:
        match |= Match.KEY_EXACT
        fields.update(packed_text("key", _path(key)))
    below = prefix if under is None else under
    if isinstance(below, str):
        match |= Match.KEY_PREFIX
        fields.update(packed_text("key", _path(below)))
    elif below is not None:
        if not hasattr(below, "slot") or not hasattr(below, "program"):
            raise UsageError(f"under= takes a path or a step that yields a key handle, not {below!r}")
        match |= Match.KEY_HANDLE
        step = below
    if value is not None:
        match |= Match.VALUE_NAME
        fields.update(packed_text("value_name", value))
    if process is not None:
        match |= Match.PROCESS
        fields["process_id"] = process
    if thread is not None:
        match |= Match.THREAD
        fields["thread_id"] = thread
    if status is not None:
        if not all(each.is_post for each in wanted):
            raise UsageError("status= is the Status of a post notification; pre notifications have none")
        match |= Match.STATUS
        fields["match_status"] = int(status) & 0xFFFF_FFFF
    if previous_mode is not None:
        match |= Match.PREVIOUS_MODE
        fields["previous_mode"] = int(PreviousMode(previous_mode))
    fields["nth_first"] = _positive("nth", nth)
    fields["nth_count"] = _positive("count", count)
    fields["match"] = int(match)
    return Conditions(wanted, fields, step)


def packed_text(field: str, text: str) -> dict[str, int | bytes]:
    """A text field of a record and its length in bytes. Raises `UsageError` when it does not fit."""
    raw = text.encode("utf-16-le", "surrogatepass")
    limit = abi.dtype("REGPROBE_RULE")[field].itemsize
    if len(raw) > limit:
        raise UsageError(
            f"{field} has {len(raw) // 2} UTF-16 units, a rule holds {limit // 2}: {text[:40]!r}..."
        )
    return {field: raw, f"{field}_length": len(raw)}


def _classes(classes: Iterable[NotifyClass | Operation]) -> frozenset[NotifyClass]:
    wanted: set[NotifyClass] = set()
    for each in classes:
        if isinstance(each, Operation):
            wanted |= {member for member in (each.pre, each.post) if member is not None}
        elif isinstance(each, NotifyClass):
            wanted.add(each)
        else:
            raise UsageError(f"{each!r} is no notify class; use Pre.SetValueKey, Post..., Operation...")
    if not wanted:
        raise UsageError("a rule needs a notify class at least: filter.on(Pre.SetValueKey)")
    return frozenset(wanted)


def _path(path: str) -> str:
    if not path.startswith("\\"):
        raise UsageError(
            f"{path!r} is no absolute path; a key condition is like \\REGISTRY\\MACHINE\\Software\\X"
        )
    return str(path)


def _positive(name: str, number: int | None) -> int:
    if number is None:
        return 0
    if not 1 <= number <= 0xFFFF_FFFF:
        raise UsageError(f"{name}= counts from 1, not {number}")
    return number
