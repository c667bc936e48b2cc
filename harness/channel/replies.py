"""Payloads of the runner's protocol: written with cbor2, read strictly.

A guest is not trusted: every field of a reply is looked up with its type and its bounds, and what is wrong
is named with the request and the key. Keys the harness doesn't know are left alone (the header's rules of
change).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import cbor2

from harness.channel.errors import ChannelError, RunnerError
from harness.channel.frames import RunnerErrorCode
from harness.errors import UsageError
from harness.workload.cbor import Node, read_cbor

__all__ = ["U32", "U64", "Reply", "pack", "runner_error"]

U32: Final = 0xFFFF_FFFF
U64: Final = 0xFFFF_FFFF_FFFF_FFFF
Member = TypeVar("Member", bound=StrEnum)

_MAX_MESSAGE: Final = 2000
_NEXT: Final = (
    "the guest's runner is broken or of another build: put the runner of this harness into the guest"
)


def pack(values: Mapping[str, object]) -> bytes:
    """A request's payload; values that are None are left out: absent keys have the protocol's default."""
    data: bytes = cbor2.dumps(
        {key: value for key, value in values.items() if value is not None}, canonical=True
    )
    return data


@dataclass(frozen=True, slots=True)
class Reply:
    """A map the guest sent. `what` names it in messages: "HELLO"."""

    what: str
    values: dict[str, Node]

    @classmethod
    def read(cls, what: str, payload: bytes) -> Reply:
        """Raises `ChannelError` for anything but one CBOR map."""
        try:
            node = read_cbor(payload, null=True)
        except UsageError as error:
            raise ChannelError(f"the reply to {what} is malformed: {error}; {_NEXT}") from None
        if not isinstance(node, dict):
            raise ChannelError(f"the reply to {what} is {_kind(node)}, not a map; {_NEXT}")
        return cls(what, node)

    def integer(self, key: str, *, least: int = 0, most: int = U32) -> int:
        value = self._there(key)
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(key, value, f"an integer from {least} to {most:#x}")
        return value

    def integer_or_none(self, key: str, *, most: int = U32) -> int | None:
        return None if self.values.get(key) is None else self.integer(key, most=most)

    def boolean(self, key: str) -> bool:
        value = self._there(key)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def boolean_or_none(self, key: str) -> bool | None:
        return None if self.values.get(key) is None else self.boolean(key)

    def text(self, key: str, *, most: int = 256) -> str:
        """`most` bounds the characters."""
        value = self._there(key)
        if not isinstance(value, str) or len(value) > most:
            raise self._wrong(key, value, f"text of at most {most} characters")
        return value

    def text_or_none(self, key: str, *, most: int = 256) -> str | None:
        return None if self.values.get(key) is None else self.text(key, most=most)

    def choice(self, key: str, members: type[Member]) -> Member:
        """A text that is a member's value."""
        value = self.text(key)
        for member in members:
            if member.value == value:
                return member
        raise self._wrong(key, value, f"one of {', '.join(members)}")

    def bytes(self, key: str, *, most: int) -> bytes:
        value = self._there(key)
        if not isinstance(value, bytes) or len(value) > most:
            raise self._wrong(key, value, f"at most {most} bytes")
        return value

    def texts_or_none(self, key: str, *, count: int, most: int = 256) -> tuple[str, ...] | None:
        """A list of at most `count` texts."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > count:
            raise self._wrong(key, value, f"a list of at most {count} texts")
        for item in value:
            if not isinstance(item, str) or len(item) > most:
                raise self._wrong(key, item, f"a list of texts of at most {most} characters")
        return tuple(item for item in value if isinstance(item, str))

    def map(self, key: str) -> Reply:
        """A map inside this one."""
        value = self._there(key)
        if not isinstance(value, dict):
            raise self._wrong(key, value, "a map")
        return Reply(f"{self.what}: {key}", value)

    def maps_or_none(self, key: str, *, count: int) -> tuple[Reply, ...] | None:
        """A list of at most `count` maps."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > count:
            raise self._wrong(key, value, f"a list of at most {count} maps")
        maps = [item for item in value if isinstance(item, dict)]
        if len(maps) != len(value):
            raise self._wrong(key, value, "a list of maps only")
        return tuple(Reply(f"{self.what}: {key}", item) for item in maps)

    def _there(self, key: str) -> Node:
        if key not in self.values:
            raise ChannelError(f"the reply to {self.what} has no {key}; {_NEXT}")
        return self.values[key]

    def _wrong(self, key: str, value: Node, wanted: str) -> ChannelError:
        return ChannelError(f"the reply to {self.what} has {key} = {_kind(value)}, not {wanted}; {_NEXT}")


def runner_error(name: str, what: str, payload: bytes) -> RunnerError | ChannelError:
    """The error that a REGRUN_FAILED reply to `what` stands for; a malformed one is a `ChannelError`."""
    try:
        reply = Reply.read(f"{what} (a refusal)", payload)
        number = reply.integer("error")
        message = reply.text("message", most=_MAX_MESSAGE)
        status, win32 = reply.integer_or_none("status"), reply.integer_or_none("win32")
    except ChannelError as error:
        return ChannelError(f"{name}: {error}")
    try:
        code: int = RunnerErrorCode(number)
        label = RunnerErrorCode(number).name
    except ValueError:
        code, label = number, f"error {number}"
    parts = [label]
    if status is not None:
        parts.append(f"status {status:#010x}")
    if win32 is not None:
        parts.append(f"Win32 error {win32}")
    # Whatever a guest writes must not break a line or a terminal.
    clean = "".join(letter if letter.isprintable() else "?" for letter in message)
    return RunnerError(
        f"{name}: the runner refused {what}: {clean} ({', '.join(parts)})",
        code=code,
        status=status,
        win32=win32,
        reason=clean,
    )


def _kind(value: Node) -> str:
    """A guest's value in a few characters."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'map'} of {len(value)}"
    shown = repr(value) if not isinstance(value, str) else repr(value[:48])
    return shown if len(shown) <= 64 else shown[:61] + "..."
