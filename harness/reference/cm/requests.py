"""What callers ask of the configuration manager and what they get back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .hive import Hive
from .key import Key
from .tokens import SYSTEM, Token
from .transaction import Transaction

__all__ = [
    "KERNEL",
    "Caller",
    "LoadResult",
    "MultipleResult",
    "ParseRequest",
    "ParseResult",
    "SaveResult",
    "ValueEntry",
]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    checked: access checks apply (a user-mode request, or a kernel one with OBJ_FORCE_ACCESS_CHECK).
    user_mode: privileges are required for load, save and the like.
    process: identifier of the process, for application hives.
    wow64: a 32-bit process on 64-bit Windows.
    """

    token: Token
    checked: bool = True
    user_mode: bool = True
    process: int = 0
    wow64: bool = False


#: A kernel-mode request of the system process.
KERNEL: Final = Caller(SYSTEM, checked=False, user_mode=False, process=4)


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """One create or open.

    name: relative to the key the parse starts at; absolute names start at \\REGISTRY and come without it.
    options: KeyOptions; attributes: ObjectAttributes, of which OPENLINK counts.
    security_descriptor: self-relative bytes for a new key.
    internal: the registry's own request, which may walk \\REGISTRY\\A.
    """

    name: str
    caller: Caller
    desired_access: int
    create: bool = False
    options: int = 0
    attributes: int = 0
    class_name: str = ""
    security_descriptor: bytes | None = None
    transaction: Transaction | None = None
    internal: bool = False


@dataclass(frozen=True, slots=True)
class ParseResult:
    """The outcome of one parse.

    status SUCCESS or PREDEFINED_HANDLE: key, granted_access and disposition (REG_CREATED_NEW_KEY or
    REG_OPENED_EXISTING_KEY) are set. REPARSE: restart with the absolute path `reparse`. Links
    can form loops: whoever restarts has to stop some time.
    """

    status: int
    key: Key | None = None
    granted_access: int = 0
    disposition: int = 0
    reparse: str | None = None


@dataclass(frozen=True, slots=True)
class ValueEntry:
    """The outputs of one KEY_VALUE_ENTRY; data_offset counts from the start of the value buffer."""

    data_length: int
    data_offset: int
    type: int


@dataclass(frozen=True, slots=True)
class MultipleResult:
    """Outcome of querying several values. used: bytes for *BufferLength; required: *RequiredBufferLength."""

    status: int
    entries: tuple[ValueEntry, ...] = ()
    data: bytes = b""
    required: int = 0

    @property
    def used(self) -> int:
        """Bytes of data written."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A loaded hive, its root, and for application hives the access the root handle gets.

    created: the file was not there, a new hive was made. shared: an application hive was loaded before.
    """

    status: int
    hive: Hive | None = None
    root: Key | None = None
    granted_access: int = 0
    created: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True)
class SaveResult:
    """The content of the hive file to write."""

    status: int
    data: bytes = b""
