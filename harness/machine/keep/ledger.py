"""The ledger: what a harness process has started, in a folder that outlives the process.

A process that starts machines has a folder named by its id, its start time and a random part. Everything its
machines consist of is below that folder or its twin in the cache; what can't be is written into the ledger
before it is made. So whoever finds the folder of a process that is gone knows all that has to go with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from harness.machine.keep.processes import boot_id, start_time

__all__ = ["Entry", "EntryKind", "Ledger", "Owner", "SessionId"]

_ID: Final = re.compile(r"([0-9a-f]{1,8})-([0-9a-f]{1,12})-([0-9a-f]{4})")
_OWNER: Final = "owner.json"
_LEDGER: Final = "ledger.jsonl"
#: A ledger is small; one that isn't was not written by the harness.
_LIMIT: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class SessionId:
    """Names a process and one of its folders: "1f3a-2b8c91-07de", in hexadecimal."""

    pid: int
    start: int  # clock ticks since boot, as in `harness.machine.keep.processes.Process`
    salt: str

    @classmethod
    def new(cls) -> Self:
        """One for this process."""
        pid = os.getpid()
        return cls(pid, start_time(pid) or 0, secrets.token_hex(2))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The id that a folder's name is; None for another name."""
        found = _ID.fullmatch(text)
        return cls(int(found[1], 16), int(found[2], 16), found[3]) if found else None

    def __str__(self) -> str:
        return f"{self.pid:x}-{self.start:x}-{self.salt}"

    @property
    def running(self) -> bool:
        """Whether the process still runs, as far as this process can see."""
        return start_time(self.pid) == self.start


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a folder is, written into it: an id alone means nothing after a boot or in a container."""

    boot: str
    namespace: str  # of process ids: "pid:[4026531836]", namespaces(7)
    folders: tuple[str, ...]  # every folder of the session, as absolute paths

    @classmethod
    def this_process(cls, folders: tuple[Path, ...]) -> Self:
        return cls(boot_id(), _namespace(), tuple(map(str, folders)))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What is written in `folder`; None when it was not written to its end."""
        content = _read_object(folder / _OWNER)
        try:
            boot, namespace, folders = content["boot"], content["namespace"], content["folders"]
        except KeyError:
            return None
        if not isinstance(folders, list) or not all(isinstance(path, str) for path in folders):
            return None
        return cls(str(boot), str(namespace), tuple(folders))

    def write(self, folder: Path) -> None:
        temporary = folder / f"{_OWNER}.new"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.rename(folder / _OWNER)

    @property
    def elsewhere(self) -> bool:
        """Whether it belongs to another container on this host, whose processes can't be seen from here."""
        return self.boot == boot_id() and self.namespace != _namespace()

    def alive(self, session: SessionId) -> bool:
        """Whether the process of `session` still runs; taken for granted where it can't be seen."""
        return self.elsewhere or (self.boot == boot_id() and session.running)


class EntryKind(StrEnum):
    MACHINE = "machine"  # a domain of a libvirt that is not inside this process
    PATH = "path"  # a file or folder outside the session's folders


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that has to go when the process is gone."""

    kind: EntryKind
    name: str  # the domain's name, or the absolute path
    uri: str = ""  # the libvirt the domain is in


class Ledger:
    """The entries of one session, on disk before the things themselves exist.

    One line each, appended by one write, so that a reader meets at most one half line: the last.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _LEDGER

    def add(self, entry: Entry) -> None:
        """Say that `entry` is about to be made."""
        self._append(entry, gone=False)

    def drop(self, entry: Entry) -> None:
        """Say that `entry` is gone, or belongs to somebody else now."""
        self._append(entry, gone=True)

    def entries(self) -> tuple[Entry, ...]:
        """What was added and not dropped, in order. A half line is no entry: nothing was made after it."""
        held: dict[Entry, None] = {}
        try:
            with self.path.open("rb") as file:
                lines = file.read(_LIMIT).split(b"\n")[:-1]
        except FileNotFoundError:
            return ()
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                content = json.loads(line)
                entry = Entry(EntryKind(content["kind"]), str(content["name"]), str(content["uri"]))
                if content["gone"]:
                    held.pop(entry, None)
                else:
                    held[entry] = None
        return tuple(held)

    def _append(self, entry: Entry, *, gone: bool) -> None:
        line = json.dumps({**asdict(entry), "gone": gone}).encode() + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _read_object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LIMIT))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
