"""Drained events: from the bytes of a drain to NumPy records, checked before anything is used.

No Python loop runs over events. What a driver sends is not trusted: counts, offsets and lengths are checked
against the reply, and the first violation raises `InfrastructureError` naming field, value and limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from harness.errors import InfrastructureError
from harness.probe import abi
from harness.probe.enums import EventKind

__all__ = ["SPANS", "Batch", "Records", "decode_drain", "join_batches"]

# NumPy compares with a plain int several times faster than with a member of an enumeration.
_NOTIFICATION: Final = int(EventKind.NOTIFICATION)
_ACTION: Final = int(EventKind.ACTION)

#: A structured array of REGPROBE_EVENT.
Records = np.ndarray[Any, np.dtype[np.void]]

#: The members of an event that point into its payload.
SPANS: Final = ("structure", "pre_structure", "key_name", "name", "second_name", "class_name", "data")
#: Those of them that are UTF-16 text.
_TEXTS: Final = ("key_name", "name", "second_name", "class_name")


@dataclass(frozen=True, slots=True)
class Batch:
    """One drain. `records` are in ring order; their `payload_offset` counts in `payload`."""

    records: Records
    payload: bytes
    remaining: int
    dropped: int
    next_sequence: int


def decode_drain(reply: bytes) -> Batch:
    """Decode the answer to a drain request. Raises `InfrastructureError` for anything inconsistent."""
    header = abi.record("REGPROBE_DRAIN_REPLY").unpack(reply)
    event = abi.record("REGPROBE_EVENT")
    head = abi.record("REGPROBE_DRAIN_REPLY").size
    count, start, length = header["count"], header["payload_offset"], header["payload_length"]
    _limit("count", count, (len(reply) - head) // event.size)
    records_end = head + count * event.size
    if count:
        _limit("payload_offset", start, len(reply))
        if start < records_end:
            raise _violation("payload_offset", start, f"at least {records_end}, where the records end")
        _limit("payload_length", length, len(reply) - start)
    records = np.frombuffer(reply, dtype=event.dtype, count=count, offset=head).copy()
    _check_records(records, length if count else 0)
    return Batch(
        records=records,
        payload=reply[start : start + length] if count else b"",
        remaining=header["remaining"],
        dropped=header["dropped"],
        next_sequence=header["next_sequence"],
    )


def join_batches(batches: list[Batch]) -> tuple[Records, bytes]:
    """All records with one payload; offsets are rebased to it."""
    if not batches:
        return np.zeros(0, dtype=abi.dtype("REGPROBE_EVENT")), b""
    total = sum(len(batch.payload) for batch in batches)
    if total > 0xFFFF_FFFF:
        raise InfrastructureError(
            f"the trace has {total} bytes of payload, more than 4 GB; reset the probe between tests"
        )
    if len(batches) == 1:  # nobody writes to records
        return batches[0].records, batches[0].payload
    base = 0
    parts = []
    for batch in batches:
        part = batch.records.copy()
        part["payload_offset"] += np.uint32(base)
        parts.append(part)
        base += len(batch.payload)
    return np.concatenate(parts), b"".join(batch.payload for batch in batches)


@cache
def _span_words() -> tuple[Any, Any, Any, Any]:
    """Where SPANS have offset, length, full_length, and texts their length, in 32-bit words of an event."""
    fields = abi.dtype("REGPROBE_EVENT").fields
    assert fields is not None

    def words(member: str, names: tuple[str, ...]) -> Any:
        found = []
        for name in names:
            span, start = fields[name][:2]
            assert span.fields is not None
            found.append((start + span.fields[member][1]) // 4)
        return np.array(found)

    return (
        words("offset", SPANS),
        words("length", SPANS),
        words("full_length", SPANS),
        words("length", _TEXTS),
    )


def _all_inside(records: Records, payload_length: int) -> bool:
    """Whether nothing is wrong, told of all spans at once; `_check_records` finds out what is."""
    kinds = records["kind"]
    starts = records["payload_offset"].astype(np.int64)
    lengths = records["payload_length"].astype(np.int64)
    words = records.view(np.uint32).reshape(len(records), -1)
    offset_at, length_at, full_at, text_at = _span_words()
    sizes = words[:, length_at]
    ends = words[:, offset_at].astype(np.int64) + sizes
    return not (
        ((kinds != _NOTIFICATION) & (kinds != _ACTION)).any()
        or (starts + lengths > payload_length).any()
        or (ends > lengths[:, None]).any()
        or (words[:, full_at] < sizes).any()
        or (words[:, text_at] & 1).any()
    )


def _check_records(records: Records, payload_length: int) -> None:
    if not len(records):
        return
    if _all_inside(records, payload_length):
        return
    kinds = records["kind"]
    bad = (kinds != _NOTIFICATION) & (kinds != _ACTION)
    _check("kind", bad, kinds, f"{EventKind.NOTIFICATION:d} or {EventKind.ACTION:d}", records)
    offsets = records["payload_offset"].astype(np.uint64)
    lengths = records["payload_length"].astype(np.uint64)
    _check("payload_offset", offsets > payload_length, offsets, str(payload_length), records)
    _check(
        "payload_length", lengths > payload_length - offsets, lengths, "the end of the payload area", records
    )
    for name in SPANS:
        span = records[name]
        start, size = span["offset"].astype(np.uint64), span["length"].astype(np.uint64)
        _check(f"{name}.offset", start > lengths, start, "payload_length", records)
        _check(f"{name}.length", size > lengths - np.minimum(start, lengths), size, "payload_length", records)
        full = span["full_length"]
        _check(f"{name}.full_length", full < size, full, "its length", records)
        if name in _TEXTS:
            _check(f"{name}.length", size % 2 == 1, size, "an even number of bytes", records)


def _check(field: str, bad: Any, values: Any, limit: str, records: Records) -> None:
    if bad.any():
        index = int(np.argmax(bad))
        sequence = int(records["sequence"][index])
        raise _violation(f"event {sequence}: {field}", int(values[index]), limit)


def _limit(field: str, value: int, limit: int) -> None:
    if value > limit:
        raise _violation(field, value, f"at most {limit}")


def _violation(field: str, value: int, limit: str) -> InfrastructureError:
    return InfrastructureError(
        f"the probe's drain is malformed: {field} is {value}, limit {limit}; "
        "driver and harness may be of different builds: rebuild the driver (harness driver build)"
    )
