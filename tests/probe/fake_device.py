"""A device in memory that speaks the probe's ABI: what the host side sends, and events made to measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.probe import abi
from harness.probe.decode import SPANS
from harness.probe.enums import EventKind, Routine
from harness.registry.notify import NotifyClass
from harness.registry.status import NTSTATUS
from harness.registry.structures import layout
from harness.registry.version import WIN11_24H2, WindowsVersion

_CODES = {
    abi.constant(f"IOCTL_REGPROBE_{name}"): name
    for name in (
        "INFO", "ADD_FILTER", "REMOVE_FILTER", "SET_RULE", "CLEAR_RULES", "DRAIN", "STATISTICS",
        "KERNEL_CALL", "RESET", "CRASH",
    )
}  # fmt: skip


@dataclass(frozen=True)
class Reply:
    status: int
    data: bytes


def event_bytes(
    payload: bytes = b"", spans: dict[str, Any] | None = None, **fields: int
) -> tuple[bytearray, bytes]:
    """One REGPROBE_EVENT and its payload; span values are the bytes (text is encoded), laid out in order."""
    record = abi.record("REGPROBE_EVENT")
    for name, value in (spans or {}).items():
        raw = value.encode("utf-16-le", "surrogatepass") if isinstance(value, str) else value
        fields_of = record.dtype[name].fields
        assert fields_of is not None
        for member, number in {"offset": len(payload), "length": len(raw), "full_length": len(raw)}.items():
            fields[f"{name}.{member}"] = number
        fields[f"{name}.address"] = 0xFFFF_8000_0000_1000
        payload += raw + bytes(-len(raw) % 8)
    raw_event = bytearray(record.pack(**{k: v for k, v in fields.items() if "." not in k}))
    for key, number in fields.items():
        if "." in key:
            name, member = key.split(".")
            inner = record.dtype[name].fields
            assert inner is not None
            kind, offset = inner[member][:2]
            start = record.offset(name) + int(offset)
            raw_event[start : start + kind.itemsize] = int(number).to_bytes(kind.itemsize, "little")
    return raw_event, payload


@dataclass
class FakeDevice:
    """Implements `ioctl`; `requests` keeps what arrived as (name, raw bytes)."""

    version: WindowsVersion = WIN11_24H2
    pointer_size: int = 8
    routines: int = int(Routine.REGISTER_CALLBACK | Routine.REGISTER_CALLBACK_EX)
    abi_version: int = field(default_factory=lambda: abi.constant("REGPROBE_ABI_VERSION"))
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    has_callbacks: bool = True
    events: list[tuple[bytearray, bytes]] = field(default_factory=list)
    dropped: int = 0
    sequence: int = 0
    drain_reply: bytes | None = None
    kernel_reply: dict[str, int | bytes] = field(default_factory=dict)
    unready: bool = False
    closed: int = 0
    #: `Guest.activity`; None: a guest that runs by itself.
    activity: int | None = None
    _filters: int = 0
    _rules: int = 0

    def sent(self, name: str) -> list[dict[str, Any]]:
        """The requests of one kind, unpacked."""
        kind = {"SET_RULE": "REGPROBE_RULE"}.get(name, f"REGPROBE_{name}")
        return [abi.record(kind).unpack(raw) for code, raw in self.requests if code == name]

    def open_device(self, device: str) -> FakeDevice:
        assert device == abi.DEVICE
        return self

    def close(self) -> None:
        self.closed += 1

    def ioctl(self, code: int, data: bytes = b"", *, output: int = 0) -> Reply:
        name = _CODES[code]
        self.requests.append((name, data))
        if self.abi_version >> 16 != abi.constant("REGPROBE_ABI_MAJOR") and name != "INFO":
            return Reply(NTSTATUS.REVISION_MISMATCH, b"")
        reply = getattr(self, f"_{name.lower()}")(data, output)
        return reply if isinstance(reply, Reply) else Reply(NTSTATUS.SUCCESS, reply)

    # -- what the driver does -------------------------------------------------------------------------

    def notify(
        self,
        notify_class: NotifyClass,
        filter_id: int = 1,
        *,
        time: int = 0,
        thread: int = 44,
        members: dict[str, int] | None = None,
        **more: Any,
    ) -> int:
        """Record a notification; `members` fills its structure. Returns the sequence number."""
        self.sequence += 1
        spans = {name: more.pop(name) for name in SPANS if name in more}
        shape = layout(notify_class, self.version, self.pointer_size)
        spans.setdefault("structure", shape.encode(**(members or {})))
        self.events.append(
            event_bytes(
                spans=spans,
                **{
                    "kind": EventKind.NOTIFICATION,
                    "sequence": self.sequence,
                    "time": time,
                    "filter_id": filter_id,
                    "notify_class": int(notify_class),
                    "is_post": int(notify_class.is_post),
                    "process_id": 40,
                    "thread_id": thread,
                    "previous_mode": 1,
                }
                | more,
            )
        )
        return self.sequence

    def act(
        self, parent: int, action: int, notify_class: NotifyClass, filter_id: int = 1, **more: Any
    ) -> int:
        """Record an action inside the notification `parent`."""
        self.sequence += 1
        spans = {name: more.pop(name) for name in SPANS if name in more}
        fields = {
            "kind": EventKind.ACTION,
            "sequence": self.sequence,
            "parent": parent,
            "filter_id": filter_id,
            "notify_class": int(notify_class),
            "action": action,
            "rule_id": 1,
        }
        self.events.append(event_bytes(spans=spans, **fields | more))
        return self.sequence

    # -- requests -------------------------------------------------------------------------------------

    def _info(self, data: bytes, output: int) -> bytes:
        return abi.record("REGPROBE_INFO_REPLY").pack(
            abi_version=self.abi_version,
            os_major=self.version.major,
            os_minor=self.version.minor,
            os_build=self.version.build,
            callback_major=self.version.callback_version[0],
            callback_minor=self.version.callback_version[1],
            routines=self.routines,
            pointer_size=self.pointer_size,
            max_filters=abi.constant("REGPROBE_MAX_FILTERS"),
            ring_slots=4096,
            event_size=abi.record("REGPROBE_EVENT").size,
            time_frequency=10_000_000,
            time=1,
        )

    def _add_filter(self, data: bytes, output: int) -> bytes:
        request = abi.record("REGPROBE_ADD_FILTER").unpack(data)
        altitude = request["altitude"][: request["altitude_length"]].decode("utf-16-le", "surrogatepass")
        reply = abi.record("REGPROBE_ADD_FILTER_REPLY")
        if not self.has_callbacks:
            return reply.pack(status=NTSTATUS.NOT_IMPLEMENTED)
        if altitude in self.taken:
            return reply.pack(status=NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION)
        if altitude:
            self.taken.add(altitude)
        self._filters += 1
        return reply.pack(filter_id=self._filters, status=0, cookie=0x1_0000_0000 + self._filters)

    def _remove_filter(self, data: bytes, output: int) -> bytes:
        request = abi.record("REGPROBE_REMOVE_FILTER").unpack(data)
        known = 0 < request["filter_id"] <= self._filters
        status = NTSTATUS.SUCCESS if known else NTSTATUS.INVALID_PARAMETER
        return abi.record("REGPROBE_REMOVE_FILTER_REPLY").pack(status=status, cleanups=3 if known else 0)

    def _set_rule(self, data: bytes, output: int) -> Reply | bytes:
        if len(data) != abi.record("REGPROBE_RULE").size:
            return Reply(NTSTATUS.INVALID_PARAMETER, b"")
        self._rules += 1
        return abi.record("REGPROBE_RULE_REPLY").pack(rule_id=self._rules)

    def _clear_rules(self, data: bytes, output: int) -> bytes:
        return b""

    def _statistics(self, data: bytes, output: int) -> bytes:
        return abi.record("REGPROBE_STATISTICS_REPLY").pack(recorded=self.sequence, dropped=self.dropped)

    def _kernel_call(self, data: bytes, output: int) -> bytes:
        return abi.record("REGPROBE_KERNEL_CALL_REPLY").pack(**self.kernel_reply)

    def _reset(self, data: bytes, output: int) -> bytes:
        self.events.clear()
        self.taken.clear()
        self.dropped = self.sequence = 0
        return b""

    def _crash(self, data: bytes, output: int) -> bytes:
        return b""  # it survives

    def _drain(self, data: bytes, output: int) -> bytes:
        if self.drain_reply is not None:
            return self.drain_reply
        room = output - abi.record("REGPROBE_DRAIN_REPLY").size
        taken: list[tuple[bytearray, bytes]] = []
        while self.events and not self.unready:
            size = len(self.events[0][0]) + len(self.events[0][1])
            if size > room:
                break
            room -= size
            taken.append(self.events.pop(0))
        return drain_bytes(taken, remaining=len(self.events), dropped=self.dropped)


def drain_bytes(events: list[tuple[bytearray, bytes]], *, remaining: int = 0, dropped: int = 0) -> bytes:
    """The reply of a drain with these events."""
    reply, event = abi.record("REGPROBE_DRAIN_REPLY"), abi.record("REGPROBE_EVENT")
    records, payloads = bytearray(), b""
    for raw, payload in events:
        copy = bytearray(raw)
        for name, number in (("payload_offset", len(payloads)), ("payload_length", len(payload))):
            start = event.offset(name)
            copy[start : start + 4] = number.to_bytes(4, "little")
        records += copy
        payloads += payload
    head = reply.pack(
        count=len(events),
        remaining=remaining,
        dropped=dropped,
        payload_offset=reply.size + len(records),
        payload_length=len(payloads),
    )
    return head + bytes(records) + payloads
