"""One recorded notification or action, decoded."""

from __future__ import annotations

from codecs import utf_16_le_decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from harness.errors import UsageError
from harness.probe.decode import SPANS
from harness.probe.enums import Action, EventFlag, EventKind
from harness.registry.notify import NotifyClass
from harness.registry.paths import join
from harness.registry.status import status_name
from harness.registry.structures import StructLayout, layout
from harness.registry.version import WindowsVersion

__all__ = ["Event", "Span", "Spans", "System", "class_name", "make_event", "notify_class"]

_U32: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class System:
    """What decoding needs to know of the guest, and how its filters are called."""

    version: WindowsVersion
    pointer_size: int
    #: Filter id -> what to call it (altitude), for tables.
    names: Mapping[int, str] = field(default_factory=dict, compare=False)

    def layout(self, number: int) -> StructLayout | None:
        """Layout of a class's structure on this guest; None for a class it should not deliver or unknown."""
        return _layout(self.version, self.pointer_size, number)

    def filter_name(self, filter_id: int) -> str:
        """What to call a filter: its altitude where it is known."""
        return self.names.get(filter_id, f"filter {filter_id}")


@cache
def _layout(version: WindowsVersion, pointer_size: int, number: int) -> StructLayout | None:
    try:
        return layout(NotifyClass(number), version, pointer_size)
    except (ValueError, UsageError):
        return None


@dataclass(frozen=True, slots=True)
class Span:
    """Where a member's bytes came from. `address` 0: the pointer was NULL; lengths in bytes."""

    length: int
    full_length: int
    maximum_length: int
    address: int

    @property
    def truncated(self) -> bool:
        """Whether the record has less than the member had."""
        return self.length < self.full_length


@dataclass(frozen=True, slots=True)
class Spans:
    """The spans of an event, from `Event.spans`."""

    structure: Span
    pre_structure: Span
    key_name: Span
    name: Span
    second_name: Span
    class_name: Span
    data: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One record of the probe. Addresses and ids are unsigned; times are performance counter ticks.

    A notification is one call of a callback, recorded on entry (`returned` on return). An action is what a
    rule did inside the notification `parent`; its `status` is that of the routine it called.
    Members of the class's structure are reached by name: ``event["DataSize"]``.
    """

    kind: EventKind
    flags: EventFlag
    sequence: int
    parent: int
    time: int
    filter_id: int
    #: The class; a plain int for a number beyond the known ones.
    notify_class: NotifyClass | int
    #: Notification: the terminal rule that decided, 0 for none. Action: the rule.
    rule_id: int
    #: Action: which; None for a notification.
    action: Action | int | None
    process_id: int
    thread_id: int
    #: First argument of the callback.
    callback_context: int
    #: Third argument of the callback.
    information: int
    #: Post: Status on entry. Action: status of the routine called.
    status: int
    #: Post: ReturnStatus on entry.
    return_status: int
    #: What the callback returned.
    returned: int
    irql: int
    #: 0 kernel, 1 user.
    previous_mode: int
    is_post: bool
    object: int
    root_object: int
    object_id: int
    root_object_id: int
    object_context: int
    call_context: int
    #: *ResultObject; None where the class has none or it could not be read.
    result_object: int | None
    transaction: int
    #: *Disposition; None where there is none.
    disposition: int | None
    #: *ResultLength, *ReturnLength, *Length; None where there is none.
    result_length: int | None
    #: Action: OldContext, object id, transaction, inner disposition.
    value: int
    #: Raw bytes of the structure, and of the one behind PreInformation in a post.
    structure: bytes
    pre_structure: bytes
    #: Absolute path of the object (of the root object in a pre create or open).
    key_name: str
    #: CompleteName, ValueName, NewName, KeyName or OldFileName.
    name: str
    #: RemainingName, SourceFile or NewFileName.
    second_name: str
    #: Class string of a create.
    class_name: str
    #: Data, or the output buffer in a post: the first bytes.
    data: bytes
    #: The REGPROBE_SPANs as recorded, in the order of `Spans`; `spans` gives them names.
    raw_spans: tuple[tuple[int, ...], ...] = field(repr=False)
    system: System = field(repr=False, compare=False)

    @property
    def spans(self) -> Spans:
        """Lengths and addresses of the members: `event.spans.data.address`."""
        return Spans(*(Span(*values[1:]) for values in self.raw_spans))

    @property
    def is_pre(self) -> bool:
        """Whether it is a pre notification."""
        return isinstance(self.notify_class, NotifyClass) and self.notify_class.is_pre

    @property
    def faulted(self) -> bool:
        """A pointer of the structure could not be read."""
        return EventFlag.FAULT in self.flags

    @property
    def blocked(self) -> bool:
        """A pre callback that returned a status for which NT_SUCCESS is false (bypass included)."""
        return not self.is_post and self.returned >= 0x8000_0000

    @property
    def path(self) -> str:
        """For a pre create or open the full path asked for, otherwise the path of the key."""
        if not self.is_pre or not self.root_object:
            return self.key_name
        return self.name if self.name.startswith("\\") else join(self.key_name, self.name)

    @property
    def filter_name(self) -> str:
        """What to call the filter that saw it."""
        return self.system.filter_name(self.filter_id)

    @property
    def scalars(self) -> dict[str, int]:
        """Every member of the structure by its documented name; empty for a class without a known layout."""
        found = self.system.layout(int(self.notify_class))
        return {} if found is None else found.decode(self.structure)

    @property
    def pre_scalars(self) -> dict[str, int]:
        """In a post: every member of the structure behind PreInformation."""
        if not isinstance(self.notify_class, NotifyClass) or self.notify_class.counterpart is None:
            return {}
        if not self.is_post:
            return {}
        found = self.system.layout(int(self.notify_class.counterpart))
        return {} if found is None else found.decode(self.pre_structure)

    def __getitem__(self, member: str) -> int:
        """A member of the structure, in a post also of the pre structure. KeyError names what there is."""
        scalars = self.scalars
        if member in scalars:
            return scalars[member]
        before = self.pre_scalars
        if member in before:
            return before[member]
        known = ", ".join([*scalars, *(name for name in before if name not in scalars)]) or "none recorded"
        raise KeyError(f"{class_name(self.notify_class)} has no member {member}; it has {known}")

    def __str__(self) -> str:
        what = class_name(self.notify_class)
        if self.action is not None:
            what = f"{_action_name(self.action)} in {what}"
        parts = [f"#{self.sequence}", self.filter_name, what]
        if self.path:
            parts.append(self.path)
        if self.name and not self.path.endswith(self.name):
            parts.append(repr(self.name))
        if self.is_post or self.action is not None:
            parts.append(status_name(self.status))
        if self.returned:
            parts.append(f"-> {status_name(self.returned)}")
        return " ".join(parts)


def notify_class(number: int) -> NotifyClass | int:
    """The class of a number; the number itself when it is beyond the known ones."""
    return _CLASSES.get(number, number)


def class_name(number: int) -> str:
    """ "PreSetValueKey", without the RegNt that every documented name begins with."""
    known = _CLASSES.get(number)
    return known.documented_name.removeprefix("RegNt") if known is not None else f"class {int(number)}"


_CLASSES: Final = {int(member): member for member in NotifyClass}
_ACTIONS: Final = {int(member): member for member in Action}


def _action_name(action: int) -> str:
    known = _ACTIONS.get(action)
    return known.name.lower() if known is not None else f"action {action}"


def make_event(record: Any, payload: bytes, system: System) -> Event:
    """Materialise one record whose spans `harness.probe.decode` has checked."""
    values: dict[str, Any] = dict(zip(record.dtype.names, record.item(), strict=True))
    flags = EventFlag(values["flags"])
    start = values["payload_offset"]

    def raw(name: str) -> bytes:
        offset, length = values[name][:2]
        return payload[start + offset : start + offset + length] if length else b""

    def text(name: str) -> str:
        return utf_16_le_decode(raw(name), "surrogatepass")[0]

    is_action = values["kind"] == EventKind.ACTION
    return Event(
        kind=EventKind(values["kind"]),
        flags=flags,
        sequence=values["sequence"],
        parent=values["parent"],
        time=values["time"],
        filter_id=values["filter_id"],
        notify_class=notify_class(values["notify_class"]),
        rule_id=values["rule_id"],
        action=_ACTIONS.get(values["action"], values["action"]) if is_action else None,
        process_id=values["process_id"],
        thread_id=values["thread_id"],
        callback_context=values["callback_context"],
        information=values["information"],
        status=values["status"] & _U32,
        return_status=values["return_status"] & _U32,
        returned=values["returned"] & _U32,
        irql=values["irql"],
        previous_mode=values["previous_mode"],
        is_post=bool(values["is_post"]),
        object=values["object"],
        root_object=values["root_object"],
        object_id=values["object_id"],
        root_object_id=values["root_object_id"],
        object_context=values["object_context"],
        call_context=values["call_context"],
        result_object=values["result_object"] if EventFlag.HAS_RESULT_OBJECT in flags else None,
        transaction=values["transaction"],
        disposition=values["disposition"] if EventFlag.HAS_DISPOSITION in flags else None,
        result_length=values["result_length"] if EventFlag.HAS_RESULT_LENGTH in flags else None,
        value=values["value"],
        structure=raw("structure"),
        pre_structure=raw("pre_structure"),
        key_name=text("key_name"),
        name=text("name"),
        second_name=text("second_name"),
        class_name=text("class_name"),
        data=raw("data"),
        raw_spans=tuple(values[name] for name in SPANS),
        system=system,
    )
