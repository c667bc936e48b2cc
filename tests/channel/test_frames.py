"""Frames survive what a serial line does to them; the enums follow the header."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.channel.abi import constant, header_constants
from harness.channel.frames import (
    FAILED,
    HEADER_SIZE,
    MAX_PAYLOAD,
    REPLY,
    Frame,
    FrameDecoder,
    RequestType,
    RunnerErrorCode,
    encode_frame,
)
from harness.errors import UsageError

PING = RequestType.PING
MAGIC = constant("REGRUN_MAGIC").to_bytes(4, "little")


def announce(length: int, *, id: int = 1) -> bytes:
    """A valid header of a payload of `length` bytes whose checksum can't be right."""
    header = encode_frame(PING, id)[: HEADER_SIZE - 12]
    header += length.to_bytes(4, "little") + b"\xde\xad\xbe\xef"
    return header + zlib.crc32(header).to_bytes(4, "little")


def test_every_request_and_error_of_the_header_has_its_member() -> None:
    numbers = header_constants()
    no_request = {
        "REGRUN_MAGIC",
        "REGRUN_STALL_MS",
        "REGRUN_REPLY",
        "REGRUN_FAILED",
        "REGRUN_NO_HOLD",
        *(name for name in numbers if name.startswith(("REGRUN_MAX_", "REGRUN_PROTOCOL_", "REGRUN_ERROR_"))),
    }
    requests = {name: value for name, value in numbers.items() if name not in no_request}
    assert {f"REGRUN_{member.name}": member.value for member in RequestType} == requests
    errors = {name: value for name, value in numbers.items() if name.startswith("REGRUN_ERROR_")}
    assert {f"REGRUN_ERROR_{member.name}": member.value for member in RunnerErrorCode} == errors


def test_a_frame_on_the_wire_is_what_the_header_says() -> None:
    raw = encode_frame(PING, 7, b"abc")
    assert raw[:4] == b"RGRN"
    assert raw[4:6] == bytes([constant("REGRUN_PROTOCOL_MAJOR"), 0])
    assert raw[6:16] == (PING).to_bytes(2, "little") + (7).to_bytes(4, "little") + (3).to_bytes(4, "little")
    assert raw[16:20] == zlib.crc32(b"abc").to_bytes(4, "little")
    assert raw[20:24] == zlib.crc32(raw[:20]).to_bytes(4, "little")
    assert raw[24:] == b"abc"
    assert encode_frame(PING, 7)[16:20] == bytes(4)


def test_what_no_frame_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match=str(MAX_PAYLOAD)):
        encode_frame(PING, 1, bytes(MAX_PAYLOAD + 1))
    for type, id in ((PING, 0), (PING, 1 << 32), (1 << 16, 1)):
        with pytest.raises(UsageError, match="no frame has"):
            encode_frame(type, id)


FRAMES = st.builds(
    Frame,
    type=st.integers(0, 0xFFFF),
    id=st.integers(1, 0xFFFF_FFFF),
    payload=st.binary(max_size=200) | st.just(MAGIC * 9) | st.just(encode_frame(PING, 3, b"inner")),
    major=st.integers(0, 255),
)


@given(st.lists(FRAMES, max_size=5), st.data())
def test_frames_survive_any_cutting_of_the_stream(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(f.type, f.id, f.payload, major=f.major) for f in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = FrameDecoder()
    got = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(stream[begin:end])
    assert got == frames
    assert not decoder.pending
    assert decoder.discarded == 0


#: Anything without the start of a magic in it.
NOISE = st.binary(max_size=60).map(lambda raw: raw.replace(b"R", b"r"))


@given(st.lists(st.tuples(NOISE, FRAMES), max_size=4), NOISE)
def test_noise_between_frames_is_dropped_and_counted(parts: list[tuple[bytes, Frame]], tail: bytes) -> None:
    decoder = FrameDecoder()
    stream = b"".join(n + encode_frame(f.type, f.id, f.payload, major=f.major) for n, f in parts) + tail
    assert decoder.feed(stream) == [frame for _, frame in parts]
    assert decoder.discarded == sum(len(noise) for noise, _ in parts) + len(tail)
    assert not decoder.pending


@given(st.binary(max_size=400))
def test_any_bytes_leave_the_decoder_working(raw: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(raw)
    while decoder.pending:
        decoder.give_up()
    assert decoder.discarded <= len(raw)
    assert decoder.feed(encode_frame(PING, 9, b"still here")) == [Frame(PING, 9, b"still here")]


@given(st.integers(0, 40), st.integers(0, 60))
def test_a_damaged_byte_costs_that_frame_alone(size: int, at: int) -> None:
    damaged = bytearray(encode_frame(PING, 1, b"x" * size))
    damaged[at % len(damaged)] ^= 0x40
    after = [Frame(PING, 2, b"two"), Frame(PING | REPLY, 3, b""), Frame(FAILED, 4, b"four")]
    decoder = FrameDecoder()
    got = decoder.feed(bytes(damaged) + b"".join(encode_frame(f.type, f.id, f.payload) for f in after))
    while decoder.pending:
        got += decoder.give_up()
    assert got == after


@pytest.mark.parametrize("kept", [1, 3, 4, 20, HEADER_SIZE, HEADER_SIZE + 5])
def test_the_half_frame_of_a_dead_sender_is_given_up(kept: int) -> None:
    half = encode_frame(PING, 1, b"never finished" * 20)[:kept]
    decoder = FrameDecoder()
    assert decoder.feed(half) == []
    assert decoder.pending
    got = decoder.feed(encode_frame(PING, 2, b"alive"))
    while decoder.pending:  # its sender says nothing more
        got += decoder.give_up()
    assert got == [Frame(PING, 2, b"alive")]
    assert decoder.discarded == kept


def test_a_length_beyond_the_limit_is_no_header() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(announce(MAX_PAYLOAD + 1) + encode_frame(PING, 2)) == [Frame(PING, 2, b"")]
    assert not decoder.pending
    assert decoder.feed(announce(MAX_PAYLOAD)) == []
    assert decoder.pending


def test_an_id_of_zero_is_no_header() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(announce(0, id=1)[:8] + bytes(4)) == []
    header = encode_frame(PING, 1)[:8] + bytes(12)
    assert decoder.feed(header + zlib.crc32(header).to_bytes(4, "little") + encode_frame(PING, 5)) == [
        Frame(PING, 5, b"")
    ]


def test_frames_nested_to_be_searched_again_and_again_cost_linear_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every header claims everything behind it: searching each again would take the square of the size."""
    count = 2000
    monkeypatch.setattr("harness.channel.frames.MAX_PAYLOAD", 10_000)
    summed = 0

    def crc32(data: bytes) -> int:
        nonlocal summed
        summed += len(data)
        return zlib.crc32(data)

    monkeypatch.setattr("harness.channel.frames.zlib", type("counting", (), {"crc32": staticmethod(crc32)}))
    decoder = FrameDecoder()
    stream = b"".join(announce(min(10_000, HEADER_SIZE * (count - i - 1))) for i in range(count))
    monkeypatch.setattr(decoder, "_budget", 2 * 10_000)
    assert decoder.feed(stream) == []
    while decoder.pending:
        decoder.give_up()
    assert summed < 20 * len(stream)
    assert decoder.feed(encode_frame(PING, 2)) == [Frame(PING, 2, b"")]
