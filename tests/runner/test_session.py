"""The stream under Wine: who answers, in which order, and what survives garbage and lost halves."""

from __future__ import annotations

import random
import struct
import zlib

import cbor2
import pytest

from harness.channel.abi import constant
from harness.channel.frames import FAILED, REPLY, RequestType, RunnerErrorCode, encode_frame
from harness.workload.codec import FORMAT_VERSION
from tests.runner.winehost import RefusedError, StandardRunner, read_answer

#: A command that ends when it is ended. Wine's ping waits a second between packets.
ENDLESS = "C:\\windows\\system32\\ping.exe -n 3600 127.0.0.1"


def test_hello_says_who_answers(long_runner: StandardRunner, runner_arch: str) -> None:
    answer = long_runner.ask(RequestType.HELLO)
    assert answer["major"] == constant("REGRUN_PROTOCOL_MAJOR")
    assert answer["minor"] == constant("REGRUN_PROTOCOL_MINOR")
    assert answer["program_format"] == FORMAT_VERSION
    assert (answer["arch"], answer["pointer_size"]) == (runner_arch, 8 if runner_arch == "x64" else 4)
    assert answer["max_payload"] == constant("REGRUN_MAX_PAYLOAD")
    assert answer["build"]


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_ping_brings_the_same_bytes_back(long_runner: StandardRunner, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    id = long_runner.send(RequestType.PING, payload)
    frame = long_runner.receive()
    assert (frame.type, frame.id, frame.payload) == (RequestType.PING | REPLY, id, payload)


def test_requests_are_answered_in_order(long_runner: StandardRunner) -> None:
    ids = [long_runner.send(RequestType.HELLO, cbor2.dumps({})) for _ in range(40)]
    assert [long_runner.receive().id for _ in ids] == ids


def test_ping_is_answered_while_a_command_runs(runner: StandardRunner) -> None:
    command = runner.send(RequestType.EXECUTE, cbor2.dumps({"command_line": ENDLESS, "timeout_ms": 600_000}))
    for payload in (b"first", b"second"):
        runner.send(RequestType.PING, payload)
        assert runner.receive().payload == payload
    cancel = runner.send(RequestType.CANCEL, cbor2.dumps({"id": command}))
    answers = {frame.id: cbor2.loads(frame.payload) for frame in (runner.receive(), runner.receive())}
    assert answers[cancel] == {"found": True}
    assert answers[command]["cancelled"] is True
    assert answers[command]["timed_out"] is False


def test_a_command_that_waits_can_be_cancelled_and_never_starts(runner: StandardRunner) -> None:
    request = cbor2.dumps({"command_line": ENDLESS, "timeout_ms": 600_000})
    first, second = runner.send(RequestType.EXECUTE, request), runner.send(RequestType.EXECUTE, request)
    cancel = runner.send(RequestType.CANCEL, cbor2.dumps({"id": second}))
    assert read_answer(RequestType.CANCEL, cancel, runner.receive()) == {"found": True}
    cancel = runner.send(RequestType.CANCEL, cbor2.dumps({"id": first}))
    # Who cancels and who carries out are two threads: the answers of both come in any order.
    frames = [runner.receive() for _ in range(3)]
    answers = {frame.id: cbor2.loads(frame.payload) for frame in frames}
    assert answers[cancel] == {"found": True}
    assert [answers[command]["cancelled"] for command in (first, second)] == [True, True]
    assert [frame.id for frame in frames if frame.id != cancel] == [first, second]


def test_cancelling_what_is_not_there_finds_nothing(long_runner: StandardRunner) -> None:
    assert long_runner.ask(RequestType.CANCEL, id=0xFFFF) == {"found": False}


def test_a_runner_with_too_much_to_do_refuses_and_stays_alive(runner: StandardRunner) -> None:
    command = runner.send(RequestType.EXECUTE, cbor2.dumps({"command_line": ENDLESS, "timeout_ms": 600_000}))
    ids = [runner.send(RequestType.HELLO, cbor2.dumps({})) for _ in range(80)]
    refused = []
    runner.send(RequestType.PING, b"alive")
    while (frame := runner.receive()).type != RequestType.PING | REPLY:
        assert frame.type == FAILED
        assert cbor2.loads(frame.payload)["error"] == RunnerErrorCode.LIMIT
        refused.append(frame.id)
    assert refused
    runner.send(RequestType.CANCEL, cbor2.dumps({"id": command}))
    answered = set()
    while len(answered) < len(ids) - len(refused):
        frame = runner.receive()
        if frame.type == RequestType.HELLO | REPLY:
            answered.add(frame.id)
    assert answered == set(ids) - set(refused)


def test_garbage_between_frames_is_passed_over(runner: StandardRunner) -> None:
    chance = random.Random(7)
    for round in range(8):
        # The third is full of beginnings of the magic; the bytes are a multiple of nothing.
        garbage = b"RGR" * 50 if round == 2 else chance.randbytes(chance.randrange(1, 5000))
        runner.send_bytes(garbage + b"\0")
        assert runner.ask(RequestType.HELLO)["major"] == 1
    assert runner.discarded == 0


def test_a_lost_half_frame_costs_itself_alone(runner: StandardRunner) -> None:
    whole = encode_frame(RequestType.PING, 77, bytes(5000))
    runner.send_bytes(whole[:3000])  # its sender died; the next one knows nothing of it
    assert runner.ask(RequestType.HELLO)["major"] == 1
    runner.send_bytes(whole[:11])  # not even a header
    assert runner.ask(RequestType.HELLO)["major"] == 1


def test_frames_inside_a_lost_one_are_found(runner: StandardRunner) -> None:
    inner = encode_frame(RequestType.PING, 5, b"inner")
    outer = encode_frame(RequestType.PING, 6, bytes(100) + inner + bytes(50_000))
    runner.send_bytes(outer[:1000])
    frame = runner.receive()
    assert (frame.id, frame.payload) == (5, b"inner")


def test_a_wrong_payload_checksum_drops_the_frame_at_once(runner: StandardRunner) -> None:
    broken = bytearray(encode_frame(RequestType.PING, 9, b"payload of a frame"))
    broken[-1] ^= 1
    runner.send_bytes(bytes(broken))
    assert runner.ask(RequestType.HELLO)["major"] == 1


def test_an_unknown_request_is_named(long_runner: StandardRunner) -> None:
    with pytest.raises(RefusedError, match="999") as refused:
        long_runner.ask(999)
    assert refused.value.error == RunnerErrorCode.UNKNOWN_REQUEST


def test_hello_is_answered_to_another_protocol_and_nothing_else_is(long_runner: StandardRunner) -> None:
    id = long_runner.send(RequestType.HELLO, b"whatever version 9 says", major=9)
    assert read_answer(RequestType.HELLO, id, long_runner.receive())["major"] == 1
    for type in (RequestType.PING, RequestType.QUIESCE):
        id = long_runner.send(type, cbor2.dumps({}), major=9)
        with pytest.raises(RefusedError, match="protocol 9") as refused:
            read_answer(type, id, long_runner.receive())
        assert refused.value.error == RunnerErrorCode.PROTOCOL


def test_a_header_that_announces_too_much_is_refused(runner: StandardRunner) -> None:
    header = struct.pack("<4sBBHIIII", b"RGRN", 1, 0, RequestType.PING, 4711, 0x0800_0001, 0, 0)[:20]
    runner.send_bytes(header + struct.pack("<I", zlib.crc32(header)))
    frame = runner.receive()
    assert (frame.type, frame.id) == (FAILED, 4711)
    assert cbor2.loads(frame.payload)["error"] == RunnerErrorCode.LIMIT
    assert runner.ask(RequestType.HELLO)["major"] == 1


@pytest.mark.parametrize(
    ("type", "payload", "error", "words"),
    [
        (RequestType.HELLO, b"", RunnerErrorCode.MALFORMED, "ends"),
        (RequestType.HELLO, cbor2.dumps([]), RunnerErrorCode.MALFORMED, "a map"),
        (RequestType.HELLO, cbor2.dumps({}) + b"\0", RunnerErrorCode.MALFORMED, "payload"),
        (RequestType.HELLO, cbor2.dumps({"x": 1}), RunnerErrorCode.MALFORMED, "no key x"),
        (RequestType.FILE_DELETE, cbor2.dumps({}), RunnerErrorCode.MALFORMED, "path is missing"),
        (RequestType.FILE_DELETE, cbor2.dumps({"path": 1}), RunnerErrorCode.MALFORMED, "path must be text"),
        (RequestType.FILE_DELETE, cbor2.dumps({"path": "a\0b"}), RunnerErrorCode.MALFORMED, "NUL"),
        (RequestType.FILE_DELETE, b"\xa2\x64pathaa\x64pathab", RunnerErrorCode.MALFORMED, "twice"),
        (RequestType.FILE_DELETE, b"\xa1\x64path\x62\xff\xff", RunnerErrorCode.MALFORMED, "UTF-8"),
        (RequestType.FILE_DELETE, b"\xbf\xff", RunnerErrorCode.MALFORMED, "indefinite"),
        (RequestType.FILE_DELETE, cbor2.dumps({"path": "x" * 40_000}), RunnerErrorCode.LIMIT, "path"),
        (
            RequestType.FILE_GET,
            cbor2.dumps({"path": "x", "offset": 0, "length": (4 << 20) + 1}),
            RunnerErrorCode.LIMIT,
            "length",
        ),
        (
            RequestType.FILE_GET,
            cbor2.dumps({"path": "x", "offset": -1, "length": 1}),
            RunnerErrorCode.MALFORMED,
            "offset",
        ),
        (RequestType.CANCEL, cbor2.dumps({"id": "x"}), RunnerErrorCode.MALFORMED, "id"),
        (RequestType.SERVICE_START, cbor2.dumps({"name": "a\\b"}), RunnerErrorCode.MALFORMED, "name"),
        (
            RequestType.DEVICE_READ,
            cbor2.dumps({"length": 1}),
            RunnerErrorCode.MALFORMED,
            "handle or a device",
        ),
        (RequestType.DEVICE_CLOSE, cbor2.dumps({"handle": 3}), RunnerErrorCode.MALFORMED, "handle"),
        (RequestType.CRASH, cbor2.dumps({"how": "politely"}), RunnerErrorCode.MALFORMED, "hard-error"),
    ],
)
def test_what_a_request_does_not_take_is_refused_by_name(
    long_runner: StandardRunner, type: RequestType, payload: bytes, error: RunnerErrorCode, words: str
) -> None:
    id = long_runner.send(type, payload)
    with pytest.raises(RefusedError, match=words) as refused:
        read_answer(type, id, long_runner.receive())
    assert refused.value.error == error


def test_requests_before_the_end_of_input_are_all_answered(runner: StandardRunner) -> None:
    ids = [runner.send(RequestType.HELLO, cbor2.dumps({})) for _ in range(5)]
    runner.end_input()
    assert [runner.receive().id for _ in ids] == ids
    assert runner.close() == 0


def test_commands_end_with_the_stream(runner: StandardRunner) -> None:
    """Nobody waits for them any more; they would keep the runner until their time-out."""
    request = cbor2.dumps({"command_line": ENDLESS, "timeout_ms": 600_000})
    ids = [runner.send(RequestType.EXECUTE, request) for _ in range(2)]
    ids.append(runner.send(RequestType.HELLO, cbor2.dumps({})))
    runner.end_input()
    frames = [runner.receive() for _ in ids]
    assert [frame.id for frame in frames] == ids
    assert [cbor2.loads(frame.payload)["cancelled"] for frame in frames[:2]] == [True, True]
    assert runner.close() == 0


def test_random_frames_never_end_the_runner(runner: StandardRunner) -> None:
    chance = random.Random(20)
    # Types that change nothing when a random payload happens to be right.
    types = [RequestType.FILE_GET, RequestType.DEVICE_CLOSE, RequestType.SERVICE_QUERY, RequestType.RUN, 4000]
    sound = [cbor2.dumps({"path": "C:\\x", "offset": 3, "length": 5}), cbor2.dumps({"handle": 7})]
    for _ in range(300):
        payload = bytearray(chance.choice(sound) if chance.random() < 0.7 else chance.randbytes(30))
        for _ in range(chance.randrange(3)):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        type = chance.choice(types)
        id = runner.send(type, bytes(payload))
        frame = runner.receive()
        assert frame.id == id
        if frame.type == FAILED:
            assert set(cbor2.loads(frame.payload)) == {"error", "message", "status", "win32"}
    assert runner.ask(RequestType.HELLO)["major"] == 1
