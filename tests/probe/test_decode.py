"""The decoder of drains against a hostile driver."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InfrastructureError
from harness.probe import Probe, abi
from harness.probe.decode import SPANS, decode_drain, join_batches
from harness.probe.enums import EventKind
from harness.probe.event import Spans
from harness.registry.notify import NotifyClass
from tests.probe.fake_device import FakeDevice, drain_bytes, event_bytes


def _event(**changes: int) -> tuple[bytearray, bytes]:
    spans = {"structure": bytes(64), "name": "value", "key_name": "\\REGISTRY", "data": b"abc"}
    base = {"kind": EventKind.NOTIFICATION, "sequence": 1, "notify_class": 1}
    raw, payload = event_bytes(spans=spans, **base)
    for key, value in changes.items():
        name, _, member = key.partition("__")
        offset = abi.record("REGPROBE_EVENT").offset(name)
        if member:
            inner = abi.dtype("REGPROBE_EVENT")[name].fields
            assert inner is not None
            offset += int(inner[member][1])
        raw[offset : offset + 4] = value.to_bytes(4, "little")
    return raw, payload


def _header(reply: bytes, **changes: int) -> bytes:
    raw = bytearray(reply)
    for name, value in changes.items():
        offset = abi.record("REGPROBE_DRAIN_REPLY").offset(name)
        raw[offset : offset + 4] = value.to_bytes(4, "little")
    return bytes(raw)


GOOD = drain_bytes([_event(), _event()])


def test_a_good_drain_decodes() -> None:
    batch = decode_drain(GOOD)
    assert len(batch.records) == 2
    records, payload = join_batches([batch, batch])
    assert len(records) == 4
    starts = records["payload_offset"].tolist()
    assert starts == [0, starts[1], 2 * starts[1], 3 * starts[1]]
    assert len(payload) == 4 * starts[1]
    assert len(join_batches([])[0]) == 0


def test_an_empty_drain_is_empty() -> None:
    batch = decode_drain(drain_bytes([], remaining=5, dropped=6))
    assert (len(batch.records), batch.remaining, batch.dropped) == (0, 5, 6)
    assert batch.records.dtype == abi.dtype("REGPROBE_EVENT")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 3}, "count is 3, limit at most 2"),
        ({"count": 0xFFFFFFFF}, "count is 4294967295"),
        ({"payload_offset": 32}, "payload_offset is 32, limit at least"),
        ({"payload_offset": 0xFFFFFFF0}, "payload_offset is 4294967280"),
        ({"payload_length": 0xFFFFFFFF}, "payload_length is 4294967295"),
    ],
)
def test_a_lying_header_is_named(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InfrastructureError, match=message):
        decode_drain(_header(GOOD, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": 0}, "kind is 0, limit 1 or 2"),
        ({"name__offset": 0xFFFFFFFF}, "name.offset is 4294967295"),
        ({"name__length": 0xFFFFFFFE, "name__full_length": 0xFFFFFFFE}, "name.length is 4294967294"),
        ({"name__length": 3, "name__full_length": 3}, "name.length is 3, limit an even number"),
        ({"data__full_length": 1}, "data.full_length is 1, limit its length"),
        ({"structure__length": 5000, "structure__full_length": 5000}, "structure.length is 5000"),
        ({"pre_structure__offset": 10_000}, "pre_structure.offset is 10000"),
    ],
)
def test_a_lying_event_is_named(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InfrastructureError, match=f"event 1: {message}"):
        decode_drain(drain_bytes([_event(**changes)]))


@pytest.mark.parametrize("field", ["payload_offset", "payload_length"])
def test_a_lying_payload_is_named(field: str) -> None:
    raw = bytearray(GOOD)
    start = abi.record("REGPROBE_DRAIN_REPLY").size + abi.record("REGPROBE_EVENT").offset(field)
    raw[start : start + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    with pytest.raises(InfrastructureError, match=rf"event 1: {field} is 4294967280"):
        decode_drain(bytes(raw))


def test_a_short_reply_is_named() -> None:
    with pytest.raises(InfrastructureError, match="REGPROBE_DRAIN_REPLY, which has 32"):
        decode_drain(b"short")


def test_a_reply_longer_than_asked_for_is_refused() -> None:
    device = FakeDevice()
    device.drain_reply = drain_bytes([], remaining=0) + bytes(10 * 1024 * 1024)
    with pytest.raises(InfrastructureError, match="into a buffer of 24576"):
        _ = Probe(device).trace


def test_a_ring_that_never_empties_does_not_hang() -> None:
    device = FakeDevice()
    device.drain_reply = drain_bytes([], remaining=0xFFFFFFFF)
    assert Probe(device).trace == []


@given(st.binary(max_size=3000))
def test_any_bytes_get_a_clear_error_or_decode(data: bytes) -> None:
    _everything(data)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.sampled_from([0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF])),
        max_size=12,
    )
)
def test_a_damaged_drain_gets_a_clear_error_or_decodes(damage: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in damage:
        data[position] = value
    _everything(bytes(data))


def _everything(drain: bytes) -> None:
    """Decode, and use whatever decodes: no error of another kind may come out."""
    device = FakeDevice()
    device.drain_reply = drain
    probe = Probe(device)
    with suppress(InfrastructureError):
        trace = probe.drain().with_actions
        for event in trace:
            assert str(event)
            assert isinstance(event.scalars, dict)
            assert isinstance(event.pre_scalars, dict)
            assert isinstance(event.path, str)
        assert str(trace)
        assert repr(trace)
        trace.paired()
        trace.by(NotifyClass.PRE_SET_VALUE_KEY)
        trace.column("status")


def test_every_span_is_checked() -> None:
    kinds = abi.dtype("REGPROBE_EVENT")
    spans = [n for n in kinds.names or () if kinds[n] == abi.dtype("REGPROBE_SPAN")]
    assert tuple(spans) == SPANS == Spans.__slots__
    assert np.dtype(kinds).itemsize == abi.record("REGPROBE_EVENT").size
