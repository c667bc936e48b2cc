"""The configuration manager: every registry operation on resolved keys and plain values.

The caller (the native services) has resolved handles, checked the handle's granted access, delivered
notifications and marshalled memory; operations here take keys and Python values, never raise for what a
registry call can meet, and return statuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.registry.version import WindowsVersion

from .filesystem import FileSystem
from .hive import Hive
from .key import Key
from .security import Token
from .transaction import Transaction


@dataclass(frozen=True, slots=True)
class Caller:
    token: Token
    checked: bool  # access checks apply: user mode, or kernel with OBJ_FORCE_ACCESS_CHECK
    user_mode: bool = True  # privilege checks of load, save, ... apply
    process: int = 0
    wow64: bool = False  # a 32-bit process on 64-bit Windows


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """One create or open, relative to `root` (the \\REGISTRY key for absolute names, without that prefix)."""

    name: str
    caller: Caller
    desired_access: int
    create: bool = False
    options: int = 0  # KeyOptions
    attributes: int = 0  # ObjectAttributes: OPENLINK is honoured
    class_name: str = ""
    security_descriptor: bytes | None = None  # self-relative
    transaction: Transaction | None = None
    internal: bool = False  # the registry itself: may walk \REGISTRY\A


@dataclass(frozen=True, slots=True)
class ParseResult:
    """status SUCCESS (or PREDEFINED_HANDLE): key, granted_access, disposition, transaction are set.
    status REPARSE: `reparse` is the absolute path to restart with (count at most MAX_REPARSES of them)."""

    status: int
    key: Key | None = None
    granted_access: int = 0
    disposition: int = 0
    reparse: str | None = None


@dataclass(frozen=True, slots=True)
class QueryResult:
    """data: what to write to the caller's buffer (also with BUFFER_OVERFLOW); result_length: needed size."""

    status: int
    data: bytes = b""
    result_length: int = 0


@dataclass(frozen=True, slots=True)
class ValueEntry:
    data_length: int
    data_offset: int
    type: int


@dataclass(frozen=True, slots=True)
class MultipleResult:
    status: int
    entries: tuple[ValueEntry, ...] = ()
    data: bytes = b""
    required: int = 0


@dataclass(frozen=True, slots=True)
class LoadResult:
    status: int
    hive: Hive | None = None
    root: Key | None = None
    granted_access: int = 0  # app hives: for the RootHandle


@dataclass(frozen=True, slots=True)
class SaveResult:
    status: int
    data: bytes = b""  # the hive file's content


class ConfigurationManager:
    root: Key  # \REGISTRY
    files: FileSystem
    version: WindowsVersion

    def __init__(
        self, version: WindowsVersion, *, files: FileSystem | None = None, pointer_size: int = 8,
        clock: Callable[[], int] | None = None,
    ) -> None: ...

    # parse (one call of the key type's parse routine; restart on REPARSE)
    def parse(self, root: Key, request: ParseRequest) -> ParseResult: ...
    # bookkeeping of key objects (open instances): call once per key object made / gone
    def opened(self, key: Key, process: int = 0) -> None: ...
    def closed(self, key: Key) -> Hive | None: ...  # the app hive that was unloaded by this, if any
    def path_of(self, key: Key) -> str: ...
    # key.object_id is the identifier; key.deleted tells STATUS_KEY_DELETED

    def delete_key(self, key: Key, *, transaction: Transaction | None = None) -> int: ...
    def rename_key(self, key: Key, new_name: str, *, caller: Caller, transaction: Transaction | None = None) -> int: ...
    def set_value(self, key: Key, name: str, type_: int, data: bytes, *, transaction: Transaction | None = None) -> int: ...
    def delete_value(self, key: Key, name: str, *, transaction: Transaction | None = None) -> int: ...
    def query_value(self, key: Key, name: str, info_class: int, length: int, *, transaction: Transaction | None = None) -> QueryResult: ...
    def enumerate_value(self, key: Key, index: int, info_class: int, length: int, *, transaction: Transaction | None = None) -> QueryResult: ...
    def enumerate_key(self, key: Key, index: int, info_class: int, length: int, *, transaction: Transaction | None = None) -> QueryResult: ...
    def query_key(self, key: Key, info_class: int, length: int, *, transaction: Transaction | None = None) -> QueryResult: ...
    def query_multiple_values(self, key: Key, names: Sequence[str], length: int, *, transaction: Transaction | None = None) -> MultipleResult: ...
    def set_information(self, key: Key, info_class: int, data: bytes, *, transaction: Transaction | None = None) -> int: ...
    def query_security(self, key: Key, information: int, length: int) -> QueryResult: ...  # BUFFER_TOO_SMALL: result_length says how much
    def set_security(self, key: Key, information: int, descriptor: bytes, *, caller: Caller) -> int: ...
    def query_name(self, key: Key) -> str: ...
    def flush_key(self, key: Key) -> int: ...

    # hives: `path` is an NT or DOS file path; target is resolved by the caller's root + name
    def load_key(
        self, root: Key, name: str, source_file: str, flags: int, *, caller: Caller, desired_access: int = 0,
        security_descriptor: bytes | None = None,
    ) -> LoadResult: ...
    def unload_key(self, key: Key, *, caller: Caller, force: bool = False, own_references: int = 0) -> int: ...
    def save_key(self, key: Key, format_: int, *, caller: Caller) -> SaveResult: ...
    def save_merged_keys(self, high: Key, low: Key, *, caller: Caller) -> SaveResult: ...
    def restore_key(self, key: Key, data: bytes, flags: int, *, caller: Caller) -> int: ...
    def replace_key(self, key: Key, new_file: str, old_file: str, *, caller: Caller) -> int: ...

    # transactions: commit() and rollback() live on the object and return statuses
    def begin_transaction(self) -> Transaction: ...
