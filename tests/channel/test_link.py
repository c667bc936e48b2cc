"""Requests and replies, in time, late, never, beside each other, and a call that is ended from outside."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import cbor2
import pytest

from harness.channel.abi import constant
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError, RunnerError
from harness.channel.frames import FAILED, Frame, RequestType, RunnerErrorCode, encode_frame
from harness.channel.link import Link
from harness.channel.stream import SocketStream
from harness.errors import GuestCrashed, HarnessError
from harness.guest.bugcheck import Bugcheck
from tests.channel.fake_runner import FakeRunner, Handler, Refuse, asked, hello, reply

RUN, PING, HELLO, EXECUTE = RequestType.RUN, RequestType.PING, RequestType.HELLO, RequestType.EXECUTE
#: Long enough for any machine; nothing waits for it in a run that passes.
PATIENCE = 300.0

Pair = Callable[..., tuple[Link, FakeRunner]]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Makes a link and the runner at its other end."""
    with ExitStack() as stack:

        def make(handlers: dict[int, Handler] | None = None) -> tuple[Link, FakeRunner]:
            ours, theirs = socket.socketpair()
            runner = stack.enter_context(FakeRunner(theirs, handlers))
            return stack.enter_context(Link(SocketStream(ours), "the guest")), runner

        yield make


@pytest.fixture
def aside() -> Iterator[Callable[..., Future[object]]]:
    """Calls in other threads."""
    with ThreadPoolExecutor(4) as pool:
        yield lambda call, *args, **named: pool.submit(call, *args, **named)


def test_a_reply_finds_its_request(pair: Pair) -> None:
    link, _ = pair({RUN: lambda request: b"<" + request.payload + b">"})
    assert [link.request(RUN, each) for each in (b"a", b"", b"b" * 300_000)] == [
        b"<a>",
        b"<>",
        b"<" + b"b" * 300_000 + b">",
    ]


def test_requests_of_several_threads_get_their_own_replies(pair: Pair) -> None:
    link, _ = pair({RUN: lambda request: request.payload})
    with ThreadPoolExecutor(8) as pool:
        payloads = [b"%d" % index * (index % 50 + 1) for index in range(400)]
        assert list(pool.map(lambda each: link.request(RUN, each), payloads)) == payloads


def test_a_ping_is_answered_beside_a_request_that_runs(
    pair: Pair, aside: Callable[..., Future[object]]
) -> None:
    go_on = threading.Event()

    def slow(request: Frame) -> bytes:
        go_on.wait(PATIENCE)
        return b"done"

    link, runner = pair({RUN: slow})
    call = aside(link.request, RUN, timeout=PATIENCE)
    runner.next(RUN)
    link.ping(timeout=PATIENCE)
    assert not call.done()
    go_on.set()
    assert call.result() == b"done"


def test_a_late_reply_is_not_taken_for_the_next_request_s(pair: Pair) -> None:
    link, runner = pair()
    with pytest.raises(ChannelTimeoutError, match=r"the guest: no answer to RUN within 0\.05 s"):
        link.request(RUN, b"first", timeout=0.05)
    first = runner.next(RUN)
    runner.handlers[RUN] = lambda request: b"second's"
    runner.send(reply(first, b"first's"))
    assert link.request(RUN, b"second") == b"second's"


def test_a_command_that_is_given_up_is_cancelled_in_the_guest(pair: Pair) -> None:
    link, runner = pair()
    with pytest.raises(ChannelTimeoutError):
        link.request(EXECUTE, timeout=0.05)
    request = runner.next(EXECUTE)
    assert asked(runner.next(RequestType.CANCEL)) == {"id": request.id}


def test_a_watcher_ends_a_waiting_call_with_what_it_saw(
    pair: Pair, aside: Callable[..., Future[object]]
) -> None:
    link, runner = pair()
    calls = [aside(link.request, RUN, timeout=PATIENCE) for _ in range(2)]
    for _ in calls:
        runner.next(RUN)
    crash = GuestCrashed(Bugcheck(0xE2, (0, 0, 0, 0)))
    link.fail(crash)
    for call in calls:
        assert call.exception() is crash
    with pytest.raises(GuestCrashed):
        link.request(PING)
    link.fail(ChannelError("a later one"))
    assert link.failed is crash


def test_a_watcher_ends_a_call_that_can_t_even_send(pair: Pair, aside: Callable[..., Future[object]]) -> None:
    ours, theirs = socket.socketpair()
    with theirs, Link(SocketStream(ours), "the guest") as link:
        call = aside(link.request, RUN, bytes(8 << 20), timeout=PATIENCE)
        assert theirs.recv(1)  # it is sending, and nobody reads the rest
        crash = GuestCrashed(Bugcheck(0xE2, (0, 0, 0, 0)))
        link.fail(crash)
        assert call.exception() is crash


def test_sending_to_a_guest_that_does_not_read_ends_in_time() -> None:
    ours, theirs = socket.socketpair()
    with theirs, Link(SocketStream(ours), "the guest") as link, pytest.raises(ChannelTimeoutError):
        link.request(RUN, bytes(8 << 20), timeout=0.05)


@pytest.mark.parametrize("before", [b"", b"RGRN half a frame", encode_frame(RUN, 1, b"x" * 90)[:60]])
def test_the_guest_closing_ends_a_waiting_call(
    pair: Pair, aside: Callable[..., Future[object]], before: bytes
) -> None:
    link, runner = pair()
    call = aside(link.request, RUN, timeout=PATIENCE)
    runner.next(RUN)
    runner.send(before)
    runner.close()
    with pytest.raises(ChannelClosedError, match="the guest's side closed"):
        call.result()
    with pytest.raises(ChannelClosedError):
        link.ping()


def test_use_after_close_says_so_and_closing_again_is_fine(pair: Pair) -> None:
    link, _ = pair()
    link.close()
    link.close()
    for call in (link.ping, lambda: link.request(RUN), lambda: link.hello(timeout=1)):
        with pytest.raises(ChannelClosedError, match="was closed"):
            call()


def test_hello_is_said_until_a_runner_answers(pair: Pair) -> None:
    link, runner = pair({})
    answers = iter([None, None, hello()])
    runner.handlers[HELLO] = lambda request: next(answers, hello())
    assert link.hello(timeout=PATIENCE) == hello()
    assert len({runner.next(HELLO).id for _ in range(3)}) == 1


def test_without_a_runner_hello_says_what_to_look_at(pair: Pair) -> None:
    link, runner = pair()
    del runner.handlers[HELLO]
    with pytest.raises(ChannelTimeoutError, match="is regrun\\.exe started"):
        link.hello(timeout=0.3)


@pytest.mark.parametrize(
    "left_over",
    [
        encode_frame(RUN, 77, b"what a dead predecessor's runner still said" * 9)[:100],
        encode_frame(RUN | 0x8000, 77, b"a whole late reply"),
        b"\x00\xff login: RGRNRGRN" * 40,
        encode_frame(RUN, 5, b"y" * 500)[:-4] + b"oops",
    ],
    ids=["half a frame", "a late frame", "a console's text", "a wrong checksum"],
)
def test_what_was_in_the_line_before_does_not_matter(pair: Pair, left_over: bytes) -> None:
    link, runner = pair({RUN: lambda request: b"fine"})
    runner.send(left_over)
    assert link.hello(timeout=PATIENCE) == hello()
    assert link.request(RUN) == b"fine"


def test_a_refusal_carries_what_the_system_said(pair: Pair) -> None:
    def refuse(request: Frame) -> bytes:
        raise Refuse(RunnerErrorCode.SYSTEM, "can't\x1b[2J open", status=0xC0000022, win32=5)

    link, _ = pair({RUN: refuse})
    with pytest.raises(RunnerError) as caught:
        link.request(RUN)
    assert (caught.value.code, caught.value.status, caught.value.win32) == (
        RunnerErrorCode.SYSTEM,
        0xC0000022,
        5,
    )
    assert "can't?[2J open (SYSTEM, status 0xc0000022, Win32 error 5)" in str(caught.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xa0",
        cbor2.dumps({"error": "4", "message": "m"}),
        cbor2.dumps({"error": 4, "message": "m" * 9999}),
    ],
)
def test_a_malformed_refusal_is_an_error_all_the_same(pair: Pair, payload: bytes) -> None:
    link, runner = pair()
    runner.handlers[RUN] = lambda request: runner.send(reply(request, payload, type=FAILED))
    with pytest.raises(ChannelError, match="RUN") as caught:
        link.request(RUN)
    assert not isinstance(caught.value, RunnerError)


def test_a_reply_of_another_type_or_version_is_refused(pair: Pair) -> None:
    link, runner = pair()
    runner.handlers[RUN] = lambda request: runner.send(reply(request, b"", type=PING | 0x8000))
    with pytest.raises(ChannelError, match="answered RUN with a frame of type 0x8002"):
        link.request(RUN)
    major = constant("REGRUN_PROTOCOL_MAJOR")
    runner.handlers[RUN] = lambda request: runner.send(
        encode_frame(RUN | 0x8000, request.id, b"", major=major + 1)
    )
    with pytest.raises(ChannelError, match=rf"speaks protocol {major + 1}, this harness {major}\."):
        link.request(RUN)


def test_a_ping_answered_wrongly_is_no_sign_of_life(pair: Pair) -> None:
    link, _ = pair({PING: lambda request: request.payload + b"!"})
    with pytest.raises(ChannelError, match="other bytes"):
        link.ping()


def test_endless_garbage_ends_with_the_callers_time(pair: Pair) -> None:
    link, runner = pair()
    over = threading.Event()

    def flood(request: Frame) -> None:
        while not over.is_set():
            runner.send(b"RGRN\x01 and so on " * 4000)

    runner.handlers[RUN] = flood
    with pytest.raises(ChannelTimeoutError):
        link.request(RUN, timeout=0.2)
    over.set()
    link.ping(timeout=PATIENCE)


def test_no_thread_is_left(pair: Pair) -> None:
    link, _ = pair()
    assert [each for each in threading.enumerate() if each.name == "link to the guest"]
    link.close()
    assert not [each for each in threading.enumerate() if each.name == "link to the guest"]


def test_every_error_is_of_the_one_tree() -> None:
    for kind in (ChannelError, ChannelClosedError, ChannelTimeoutError, RunnerError):
        assert issubclass(kind, HarnessError)
