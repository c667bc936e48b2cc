"""Frames of driver-src/abi/regrun.h: one message each, written and read back from a byte stream.

Pure: bytes in, frames out. The decoder finds its way back into the stream after garbage, a wrong checksum or
the half frame of a sender that died. Nothing here repeats a number of the header.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from harness.channel.abi import constant, frame_layout
from harness.errors import UsageError

__all__ = [
    "FAILED",
    "HEADER_SIZE",
    "MAX_PAYLOAD",
    "REPLY",
    "Frame",
    "FrameDecoder",
    "RequestType",
    "RunnerErrorCode",
    "encode_frame",
]


class RequestType(IntEnum):
    """Requests of the runner: REGRUN_xxx."""

    HELLO = constant("REGRUN_HELLO")
    PING = constant("REGRUN_PING")
    CANCEL = constant("REGRUN_CANCEL")
    ENVIRONMENT = constant("REGRUN_ENVIRONMENT")
    RUN = constant("REGRUN_RUN")
    FILE_PUT = constant("REGRUN_FILE_PUT")
    FILE_GET = constant("REGRUN_FILE_GET")
    FILE_DELETE = constant("REGRUN_FILE_DELETE")
    FILE_DIGEST = constant("REGRUN_FILE_DIGEST")
    EXECUTE = constant("REGRUN_EXECUTE")
    SERVICE_CREATE = constant("REGRUN_SERVICE_CREATE")
    SERVICE_START = constant("REGRUN_SERVICE_START")
    SERVICE_STOP = constant("REGRUN_SERVICE_STOP")
    SERVICE_DELETE = constant("REGRUN_SERVICE_DELETE")
    SERVICE_QUERY = constant("REGRUN_SERVICE_QUERY")
    DEVICE_OPEN = constant("REGRUN_DEVICE_OPEN")
    DEVICE_CONTROL = constant("REGRUN_DEVICE_CONTROL")
    DEVICE_READ = constant("REGRUN_DEVICE_READ")
    DEVICE_WRITE = constant("REGRUN_DEVICE_WRITE")
    DEVICE_CLOSE = constant("REGRUN_DEVICE_CLOSE")
    CLOCK_SET = constant("REGRUN_CLOCK_SET")
    CRASH = constant("REGRUN_CRASH")
    SHUTDOWN = constant("REGRUN_SHUTDOWN")
    QUIESCE = constant("REGRUN_QUIESCE")
    POOL_TAGS = constant("REGRUN_POOL_TAGS")
    POOL_VERIFIED = constant("REGRUN_POOL_VERIFIED")
    OPEN_KEYS = constant("REGRUN_OPEN_KEYS")
    HOLD = constant("REGRUN_HOLD")
    SERVICE_VALUES = constant("REGRUN_SERVICE_VALUES")


class RunnerErrorCode(IntEnum):
    """Why the runner refused: REGRUN_ERROR_xxx."""

    UNKNOWN_REQUEST = constant("REGRUN_ERROR_UNKNOWN_REQUEST")
    MALFORMED = constant("REGRUN_ERROR_MALFORMED")
    LIMIT = constant("REGRUN_ERROR_LIMIT")
    SYSTEM = constant("REGRUN_ERROR_SYSTEM")
    UNSUPPORTED = constant("REGRUN_ERROR_UNSUPPORTED")
    MEMORY = constant("REGRUN_ERROR_MEMORY")
    PROTOCOL = constant("REGRUN_ERROR_PROTOCOL")


REPLY: Final = constant("REGRUN_REPLY")
FAILED: Final = constant("REGRUN_FAILED")
MAX_PAYLOAD: Final = constant("REGRUN_MAX_PAYLOAD")

_FORMAT, _FIELDS = frame_layout()
_HEADER: Final = struct.Struct(_FORMAT)
HEADER_SIZE: Final = _HEADER.size
_MAJOR: Final = constant("REGRUN_PROTOCOL_MAJOR")
_MAGIC: Final = constant("REGRUN_MAGIC").to_bytes(4, "little")
#: The header's checksum is its last field and covers everything before it.
_CHECKED: Final = HEADER_SIZE - 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. `type` is a request's, a reply's (request with REPLY) or FAILED; `major` the sender's."""

    type: int
    id: int
    payload: bytes
    major: int = _MAJOR


def encode_frame(type: int, id: int, payload: bytes = b"", *, major: int = _MAJOR) -> bytes:
    """The bytes of one message. Raises `UsageError` for a payload beyond REGRUN_MAX_PAYLOAD."""
    if len(payload) > MAX_PAYLOAD:
        raise UsageError(f"a message of {len(payload)} bytes; the runner's protocol carries {MAX_PAYLOAD}")
    if not 0 < id <= 0xFFFF_FFFF or not 0 <= type <= 0xFFFF or not 0 <= major <= 0xFF:
        raise UsageError(f"no frame has type {type:#x}, id {id:#x} and major version {major}")
    values = {
        "magic": constant("REGRUN_MAGIC"),
        "major": major,
        "reserved": 0,
        "type": type,
        "id": id,
        "length": len(payload),
        "payload_crc": zlib.crc32(payload),
        "header_crc": 0,
    }
    header = _HEADER.pack(*(values[name] for name in _FIELDS))[:_CHECKED]
    return header + zlib.crc32(header).to_bytes(4, "little") + payload


class FrameDecoder:
    """Frames out of a byte stream, whatever else is in it.

    Feed it what arrives. `pending` says that a frame has begun and not ended: when no byte came for
    REGRUN_STALL_MS then, its sender has died, and `give_up` drops that frame alone.

    The work is bounded by what was received: frames with a wrong payload checksum are searched again from
    behind their magic, but a sender that nests them is cut short by dropping them whole.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # everything before it is used up
        self._length: int | None = None  # of the payload that `_start`'s checked header announces
        self._budget = 2 * MAX_PAYLOAD  # bytes that may be searched a second time
        #: Bytes that belonged to no frame, since the beginning.
        self.discarded = 0

    @property
    def pending(self) -> bool:
        """A frame has begun (or what may be the start of one), and its end has not arrived."""
        return len(self._buffer) > self._start

    def feed(self, data: bytes) -> list[Frame]:
        """Every frame that `data` completes, in order."""
        self._buffer += data
        self._budget += len(data)
        return self._frames()

    def give_up(self) -> list[Frame]:
        """Drop the frame that has begun, alone: what follows its magic is searched again."""
        if self.pending:
            self._discard(min(len(_MAGIC), len(self._buffer) - self._start))
        return self._frames()

    def _frames(self) -> list[Frame]:
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        del self._buffer[: self._start]
        self._start = 0
        return found

    def _next(self) -> Frame | None:
        while self._length is not None or self._find_header():
            assert self._length is not None
            begin = self._start + HEADER_SIZE
            end = begin + self._length
            if len(self._buffer) < end:
                return None
            header = self._header()
            payload = bytes(memoryview(self._buffer)[begin:end])
            if zlib.crc32(payload) == header["payload_crc"]:
                self._start, self._length = end, None
                return Frame(header["type"], header["id"], payload, header["major"])
            if self._budget >= len(payload):
                self._budget -= len(payload)
                self._discard(len(_MAGIC))
            else:
                self._discard(end - self._start)
        return None

    def _find_header(self) -> bool:
        """Go to the next header whose checksum is right; False when more bytes are needed to tell."""
        while True:
            found = self._buffer.find(_MAGIC, self._start)
            if found < 0:
                # The magic's first bytes may be the last that came.
                kept = next(
                    (size for size in (3, 2, 1) if self._buffer.endswith(_MAGIC[:size], self._start)), 0
                )
                self._discard(len(self._buffer) - self._start - kept)
                return False
            self._discard(found - self._start)
            if len(self._buffer) - self._start < HEADER_SIZE:
                return False
            header = self._header()
            checked = memoryview(self._buffer)[self._start : self._start + _CHECKED]
            right = zlib.crc32(checked) == header["header_crc"]
            checked.release()  # the buffer can't be cut while it is looked at
            if right and header["id"] != 0 and header["length"] <= MAX_PAYLOAD:
                self._length = header["length"]
                return True
            self._discard(len(_MAGIC))

    def _header(self) -> dict[str, int]:
        return dict(zip(_FIELDS, _HEADER.unpack_from(self._buffer, self._start), strict=True))

    def _discard(self, count: int) -> None:
        self._start += count
        self._length = None
        self.discarded += count
