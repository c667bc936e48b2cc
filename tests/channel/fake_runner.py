"""A runner in Python: speaks the frames of regrun.h, and does what it is told to, wrong things too.

It stands where regrun.exe would, so that a test can have a runner that lies, dies or says nothing.
"""

from __future__ import annotations

import hashlib
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import cbor2

from harness.channel.abi import constant
from harness.channel.frames import FAILED, REPLY, Frame, FrameDecoder, RequestType, encode_frame

#: Takes a request and returns the reply's payload, None for silence, or raises `Refuse`.
Handler = Callable[[Frame], "bytes | None"]


@dataclass
class Refuse(Exception):  # noqa: N818 - what the handler does
    """Answer REGRUN_FAILED."""

    error: int
    message: str = "no"
    status: int | None = None
    win32: int | None = None

    def payload(self) -> bytes:
        return cbor2.dumps(
            {"error": self.error, "message": self.message, "status": self.status, "win32": self.win32}
        )


def hello(**changes: object) -> bytes:
    """A right answer to HELLO with some keys changed."""
    values: dict[str, object] = {
        "major": constant("REGRUN_PROTOCOL_MAJOR"),
        "minor": constant("REGRUN_PROTOCOL_MINOR"),
        "program_format": 1,
        "arch": "x64",
        "pointer_size": 8,
        "pid": 1234,
        "max_payload": constant("REGRUN_MAX_PAYLOAD"),
        "build": "a runner in Python",
    }
    return cbor2.dumps(values | changes)


def reply(request: Frame, payload: bytes, *, type: int | None = None) -> bytes:
    return encode_frame(request.type | REPLY if type is None else type, request.id, payload)


@dataclass
class Files:
    """The requests about files, on files in memory."""

    content: dict[str, bytes] = field(default_factory=dict)

    def handlers(self) -> dict[int, Handler]:
        return {
            RequestType.FILE_PUT: self.put,
            RequestType.FILE_GET: self.get,
            RequestType.FILE_DIGEST: self.digest,
        }

    def put(self, request: Frame) -> bytes:
        asked = cbor2.loads(request.payload)
        old = bytearray(self.content.get(asked["path"], b""))
        end = asked["offset"] + len(asked["data"])
        old[asked["offset"] : end] = asked["data"]
        self.content[asked["path"]] = bytes(old[:end] if asked.get("truncate") else old)
        return cbor2.dumps({"size": len(self.content[asked["path"]])})

    def get(self, request: Frame) -> bytes:
        asked = cbor2.loads(request.payload)
        content = self._there(asked["path"])
        return cbor2.dumps(
            {"data": content[asked["offset"] :][: asked["length"]], "size": len(content)},
        )

    def digest(self, request: Frame) -> bytes:
        content = self._there(cbor2.loads(request.payload)["path"])
        return cbor2.dumps({"size": len(content), "sha256": hashlib.sha256(content).digest()})

    def _there(self, path: str) -> bytes:
        if path not in self.content:
            raise Refuse(constant("REGRUN_ERROR_SYSTEM"), "no such file", win32=2)
        return self.content[path]


class FakeRunner:
    """Serves one connected socket in a thread until its peer is gone. A context manager.

    HELLO and PING are answered unless `handlers` says otherwise; everything asked is in `seen`. Requests
    are handled one after the other, PING beside them, as the header says.
    """

    def __init__(self, connected: socket.socket, handlers: Mapping[int, Handler] | None = None) -> None:
        self.socket = connected
        self.seen: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.handlers: dict[int, Handler] = {
            RequestType.HELLO: lambda request: hello(),
            **(handlers or {}),
        }
        self._work: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._serve)]
        for thread in self._threads:
            thread.start()

    def send(self, raw: bytes) -> None:
        """Any bytes, as if the runner wrote them."""
        try:
            self.socket.sendall(raw)
        except OSError:
            return  # the peer is gone, which its test asserts by itself

    def next(self, type: int) -> Frame:
        """The next request of a type; waits for it."""
        while True:
            frame = self.seen.get(timeout=300)
            if frame.type == type:
                return frame

    def close(self) -> None:
        with suppress(OSError):  # the peer was first
            self.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        decoder = FrameDecoder()
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                self._work.put(None)
                return
            for frame in decoder.feed(data):
                self.seen.put(frame)
                if frame.type == RequestType.PING and RequestType.PING not in self.handlers:
                    self.send(reply(frame, frame.payload))
                else:
                    self._work.put(frame)

    def _serve(self) -> None:
        while (frame := self._work.get()) is not None:
            handler = self.handlers.get(frame.type)
            if handler is None:
                continue
            try:
                payload = handler(frame)
            except Refuse as refused:
                self.send(reply(frame, refused.payload(), type=FAILED))
                continue
            if payload is not None:
                self.send(reply(frame, payload))


def asked(frame: Frame) -> Any:
    """A request's payload, decoded."""
    return cbor2.loads(frame.payload)
