"""Requests and replies over a byte stream of frames.

A thread reads; any thread may ask. Replies find their request by its id, so a PING goes beside a request that
still runs, and an answer that comes after its caller gave up is dropped.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from harness.channel.abi import constant
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError
from harness.channel.frames import FAILED, REPLY, Frame, FrameDecoder, RequestType, encode_frame
from harness.channel.replies import pack, runner_error
from harness.channel.stream import ByteStream
from harness.cleanup import Closing
from harness.errors import HarnessError

__all__ = ["Link"]

_STALL: Final = constant("REGRUN_STALL_MS") / 1000
_MAJOR: Final = constant("REGRUN_PROTOCOL_MAJOR")
_MINOR: Final = constant("REGRUN_PROTOCOL_MINOR")
#: Seconds between HELLOs: the first is answered at once by a runner that is there.
_FIRST_HELLO: Final = 0.1
#: What is sent to a guest that boots waits in its port, and a runner refuses more than 64 waiting requests.
#: Asked again after a sixth of the time gone by, it is about fifty in ten minutes.
_PATIENCE_OF_HELLO: Final = 1 / 6
#: Time to get a CANCEL out when its request's time is up already.
_LAST_WORD: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request under way; what ends it is put into `box`."""

    id: int
    box: SimpleQueue[Frame | BaseException]


class Link(Closing):
    """The runner's end of a byte stream; owns it. Safe for several threads.

    `name` says in messages which guest this is. Every time-out is in seconds.
    """

    def __init__(self, stream: ByteStream, name: str) -> None:
        self.name = name
        self._stream = stream
        self._sending = threading.Lock()
        self._state = threading.Lock()  # of the three below
        self._waiting: dict[int, _Waiting] = {}
        self._failed: BaseException | None = None
        # A late answer to a predecessor on the same stream must not meet a request of ours.
        self._last_id = secrets.randbits(31)
        self._reader = threading.Thread(target=self._read, name=f"link to {name}", daemon=True)
        self._reader.start()

    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes:
        """One request, sent once; returns the reply's payload.

        Raises `RunnerError` when the runner refuses, `ChannelTimeoutError`, `ChannelClosedError`, and what
        `fail` was given. An EXECUTE that is given up is cancelled in the guest; nothing else can be.
        """
        deadline = Deadline.after(timeout)
        with self._register() as waiting:
            try:
                self._send(encode_frame(type, waiting.id, payload), deadline, _called(type))
                reply = self._await(waiting, deadline, _called(type))
            except ChannelClosedError:
                raise
            except (ChannelTimeoutError, KeyboardInterrupt):
                if type == RequestType.EXECUTE:
                    self._cancel(waiting.id)
                raise
            return self._check(type, reply)

    def hello(self, *, timeout: float) -> bytes:
        """Say HELLO until the runner answers; returns its payload, whatever version it speaks."""
        deadline = Deadline.after(timeout)
        pause = _FIRST_HELLO
        with self._register() as waiting:
            while True:
                step = Deadline.after(deadline.at_most(pause))
                try:
                    self._send(encode_frame(RequestType.HELLO, waiting.id, pack({})), step, "HELLO")
                    reply = self._await(waiting, step, "HELLO")
                except ChannelTimeoutError:
                    if deadline.passed:
                        raise ChannelTimeoutError(
                            f"{self.name}: no runner answered within {deadline.seconds:g} s; is regrun.exe "
                            "started in the guest and on this port?"
                        ) from None
                    gone = deadline.seconds - deadline.left
                    pause = max(_FIRST_HELLO, gone * _PATIENCE_OF_HELLO)
                    continue
                return self._check(RequestType.HELLO, reply)

    def ping(self, *, timeout: float = 5.0) -> None:
        """Return when the runner's reading thread answers, also while a request runs.

        Raises like `request`; a runner that answers something else raises `ChannelError`.
        """
        token = secrets.token_bytes(8)
        if self.request(RequestType.PING, token, timeout=timeout) != token:
            raise ChannelError(f"{self.name}: the runner answered a PING with other bytes; restart the guest")

    def fail(self, error: BaseException) -> None:
        """End every waiting call in every thread with `error` at once, and every later one.

        The first error stays; the stream is closed.
        """
        with self._state:
            if self._failed is not None:
                return
            self._failed = error
            waiting = list(self._waiting.values())
        for each in waiting:
            each.box.put(error)
        self._stream.interrupt()

    @property
    def moved(self) -> int:
        """Bytes that went either way so far."""
        return self._stream.moved

    @property
    def failed(self) -> BaseException | None:
        """What ended the link, if it has ended."""
        with self._state:
            return self._failed

    def close(self) -> None:
        """End the link, its thread and its stream. May be called again."""
        self.fail(ChannelClosedError(f"{self.name}: the channel was closed; open another one"))
        self._reader.join()
        with self._sending:  # whoever sent has been interrupted
            self._stream.close()

    # -- asking ---------------------------------------------------------------------------------------------

    @contextmanager
    def _register(self) -> Iterator[_Waiting]:
        with self._state:
            if self._failed is not None:
                raise self._failed
            self._last_id = self._last_id % 0xFFFF_FFFF + 1
            waiting = _Waiting(self._last_id, SimpleQueue())
            self._waiting[waiting.id] = waiting
        try:
            yield waiting
        finally:
            with self._state:
                del self._waiting[waiting.id]

    def _send(self, data: bytes, deadline: Deadline, what: str) -> None:
        if not self._sending.acquire(timeout=deadline.left):
            raise self._late(what, deadline)
        try:
            self._stream.send(data, deadline)
        except TimeoutError:
            # Half a frame may be out; the runner finds its way back, by the rules of frames.
            raise self._late(what, deadline) from None
        except OSError as error:
            self.fail(self._broken(error))
            raise self.failed or error from None
        finally:
            self._sending.release()

    def _await(self, waiting: _Waiting, deadline: Deadline, what: str) -> Frame:
        try:
            ended = waiting.box.get(timeout=deadline.left)
        except Empty:
            raise self._late(what, deadline) from None
        if isinstance(ended, Frame):
            return ended
        raise ended

    def _check(self, type: int, reply: Frame) -> bytes:
        if reply.type == FAILED:
            raise runner_error(self.name, _called(type), reply.payload)
        if reply.type != (type | REPLY):
            raise ChannelError(
                f"{self.name}: the runner answered {_called(type)} with a frame of type {reply.type:#x}; "
                "put the runner of this harness into the guest"
            )
        if reply.major != _MAJOR and type != RequestType.HELLO:
            raise ChannelError(
                f"{self.name}: the runner speaks protocol {reply.major}, this harness {_MAJOR}.{_MINOR}; "
                "put the runner of this harness into the guest"
            )
        return reply.payload

    def _cancel(self, id: int) -> None:
        """Ask for the end of a command nobody waits for any more; the answer would change nothing."""
        payload = pack({"id": id})
        deadline = Deadline.after(_LAST_WORD)
        try:
            with self._register() as waiting:
                self._send(encode_frame(RequestType.CANCEL, waiting.id, payload), deadline, "CANCEL")
        except HarnessError:
            return  # the caller is told why it was given up, which matters more

    def _late(self, what: str, deadline: Deadline) -> ChannelTimeoutError:
        return ChannelTimeoutError(
            f"{self.name}: no answer to {what} within {deadline.seconds:g} s; give it more time, or look at "
            "the guest's screen for what holds it up"
        )

    def _broken(self, error: OSError) -> ChannelClosedError:
        reason = error.strerror or str(error) or type(error).__name__
        return ChannelClosedError(f"{self.name}: the stream to the runner broke ({reason}); is the guest up?")

    # -- the reading thread ---------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            self._receive_all()
        except OSError as error:
            self.fail(self._broken(error))
        except HarnessError as error:
            self.fail(error)
        finally:
            # Nobody may wait for a thread that is gone, whatever ended it.
            self.fail(ChannelError(f"{self.name}: the thread that reads from the guest ended; see its error"))

    def _receive_all(self) -> None:
        decoder = FrameDecoder()
        while True:
            try:
                data = self._stream.receive(_STALL if decoder.pending else None)
            except TimeoutError:
                frames = decoder.give_up()
            else:
                if not data:
                    raise ChannelClosedError(
                        f"{self.name}: the guest's side closed the stream; its runner ended or the guest is "
                        "down: look at its evidence, or start it again"
                    )
                frames = decoder.feed(data)
            for frame in frames:
                with self._state:
                    waiting = self._waiting.get(frame.id)
                if waiting is not None:
                    waiting.box.put(frame)


def _called(type: int) -> str:
    try:
        return RequestType(type).name
    except ValueError:
        return f"request {type}"
