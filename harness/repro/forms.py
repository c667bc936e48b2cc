"""How each operation of a program is written with the builder: the method, and which field goes where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from harness.workload.opcodes import Opcode

__all__ = ["FORMS", "Argument", "Form", "Kind"]


class Kind(Enum):
    """How an argument is written."""

    HANDLE = auto()  # the variable of the operation that yielded it
    KEY = auto()  # root and name of an object's attributes
    WIN32_KEY = auto()  # a predefined key or root, and a name
    VALUE = auto()  # type and data, as a Python value where it is one
    DATA = auto()  # bytes
    FILE = auto()  # a file of the test's own, or a full path
    PLAIN = auto()
    ACCESS = auto()
    EXCLUSIVE = auto()  # REG_PROCESS_APPKEY as a truth value
    TEXTS = auto()
    HANDLES = auto()  # patches: offset -> handle
    PROCESS = auto()


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of the builder's method and the operation's field it fills."""

    parameter: str
    field: str
    kind: Kind = Kind.PLAIN


@dataclass(frozen=True, slots=True)
class Form:
    """`positional` arguments come first, `keywords` where they are not the method's default."""

    method: str
    positional: tuple[Argument, ...] = ()
    keywords: tuple[Argument, ...] = ()


def _handle(parameter: str, field: str = "handle") -> Argument:
    return Argument(parameter, field, Kind.HANDLE)


def _plain(*names: str, **renamed: str) -> tuple[Argument, ...]:
    same = tuple(Argument(name, name) for name in names)
    return same + tuple(Argument(parameter, field) for parameter, field in renamed.items())


_KEY: Final = Argument("key", "name", Kind.KEY)
_WIN32_KEY: Final = Argument("key", "name", Kind.WIN32_KEY)
_ACCESS: Final = Argument("access", "access", Kind.ACCESS)
_FILE: Final = Argument("file", "file", Kind.FILE)
_VALUE: Final = Argument("value", "data", Kind.VALUE)
_DATA: Final = Argument("data", "data", Kind.DATA)
_ON_KEY: Final = _handle("key")
_NAME: Final = Argument("name", "value_name")
_EXCLUSIVE: Final = Argument("exclusive", "options", Kind.EXCLUSIVE)
_TRANSACTION: Final = _handle("transaction", "transaction")
_BUFFER: Final = _handle("buffer", "buffer")
_CREATE: Final = (
    _ACCESS,
    *_plain("options", "class_name", "attributes", "sddl", "security", "title_index", "name_maximum"),
    Argument("null_disposition", "null_result"),
)
_OPEN: Final = (_ACCESS, *_plain("options", "attributes", "sddl", "security", "name_maximum"))

FORMS: Final[dict[Opcode, Form]] = {
    Opcode.CREATE_KEY: Form("create_key", (_KEY,), _CREATE),
    Opcode.CREATE_KEY_TRANSACTED: Form("create_key", (_KEY,), (*_CREATE, _TRANSACTION)),
    Opcode.OPEN_KEY: Form("open_key", (_KEY,), _OPEN),
    Opcode.OPEN_KEY_TRANSACTED: Form("open_key", (_KEY,), (*_OPEN, _TRANSACTION)),
    Opcode.CLOSE: Form("close", (_handle("handle"),)),
    Opcode.DELETE_KEY: Form("delete_key", (_ON_KEY,)),
    Opcode.SET_VALUE: Form(
        "set_value",
        (_ON_KEY, _NAME, _VALUE),
        (*_plain("data_size", "title_index", "name_maximum", "address"), _BUFFER),
    ),
    Opcode.DELETE_VALUE: Form("delete_value", (_ON_KEY, _NAME), _plain("name_maximum")),
    Opcode.QUERY_VALUE: Form(
        "query_value", (_ON_KEY, _NAME), (*_plain("info_class", "length", "name_maximum", "address"), _BUFFER)
    ),
    Opcode.ENUMERATE_VALUE: Form(
        "enumerate_value", (_ON_KEY, *_plain("index")), (*_plain("info_class", "length", "address"), _BUFFER)
    ),
    Opcode.ENUMERATE_KEY: Form(
        "enumerate_key", (_ON_KEY, *_plain("index")), (*_plain("info_class", "length", "address"), _BUFFER)
    ),
    Opcode.QUERY_KEY: Form("query_key", (_ON_KEY,), (*_plain("info_class", "length", "address"), _BUFFER)),
    Opcode.QUERY_MULTIPLE: Form(
        "query_multiple",
        (_ON_KEY, Argument("names", "value_names", Kind.TEXTS)),
        (*_plain("length"), Argument("null_required", "null_result"), _BUFFER),
    ),
    Opcode.RENAME_KEY: Form("rename_key", (_ON_KEY, *_plain("new_name")), _plain("name_maximum")),
    Opcode.SET_INFORMATION_KEY: Form(
        "set_information_key", (_ON_KEY, *_plain("info_class"), _DATA), _plain("data_size")
    ),
    Opcode.FLUSH_KEY: Form("flush_key", (_ON_KEY,)),
    Opcode.LOAD_KEY: Form(
        "load_key",
        (_KEY, _FILE),
        (
            *_plain("flags", "form", "attributes"),
            _handle("event", "event"),
            _handle("trust", "trust"),
            _ACCESS,
        ),
    ),
    Opcode.LOAD_APP_KEY: Form("load_app_key", (_FILE,), (_ACCESS, _EXCLUSIVE, *_plain("name"))),
    Opcode.UNLOAD_KEY: Form("unload_key", (_KEY,), (*_plain("flags", "form"), _handle("event", "event"))),
    Opcode.QUERY_SECURITY: Form(
        "query_security", (_ON_KEY, *_plain("security_information")), _plain("length")
    ),
    Opcode.SET_SECURITY: Form(
        "set_security", (_ON_KEY, *_plain("security_information")), _plain("sddl", "security")
    ),
    Opcode.QUERY_OBJECT_NAME: Form("query_object_name", (_handle("handle"),), _plain("length")),
    Opcode.QUERY_OBJECT_BASIC: Form("query_object", (_handle("handle"),)),
    Opcode.SAVE_KEY: Form("save_key", (_ON_KEY, _FILE), _plain("format")),
    Opcode.SAVE_MERGED: Form("save_merged", (_handle("high"), _handle("low", "low_handle"), _FILE)),
    Opcode.RESTORE_KEY: Form("restore_key", (_ON_KEY, _FILE), _plain("flags")),
    Opcode.REPLACE_KEY: Form(
        "replace_key",
        (
            _ON_KEY,
            Argument("new_file", "file", Kind.FILE),
            Argument("old_file", "old_file", Kind.FILE),
        ),
    ),
    Opcode.DUPLICATE_HANDLE: Form(
        "duplicate_handle",
        (_handle("handle"),),
        (_ACCESS, Argument("target_process", "target_process", Kind.PROCESS)),
    ),
    Opcode.DEVICE_CONTROL: Form(
        "device_control",
        (*_plain("device", "code"), _DATA),
        (*_plain(output="length"), Argument("handles", "patches", Kind.HANDLES)),
    ),
    Opcode.CREATE_TRANSACTION: Form("create_transaction"),
    Opcode.COMMIT: Form("commit", (_handle("transaction"),)),
    Opcode.ROLLBACK: Form("rollback", (_handle("transaction"),)),
    Opcode.MARK: Form("mark", _plain("label")),
    Opcode.CREATE_EVENT: Form("create_event"),
    Opcode.NOTIFY_CHANGE_KEY: Form(
        "notify_change_key", (_ON_KEY, _handle("event", "event")), _plain(completion_filter="flags")
    ),
    Opcode.DELETE_FILE: Form("delete_file", (_FILE,)),
    Opcode.TERMINATE_PROCESS: Form("terminate_process", (Argument("process", "process", Kind.PROCESS),)),
    Opcode.ALLOCATE_MEMORY: Form("allocate_memory", _plain("length"), (_DATA,)),
    Opcode.WRITE_MEMORY: Form("write_memory", (_handle("memory"), _DATA), _plain(offset="index")),
    Opcode.FREE_MEMORY: Form("free_memory", (_handle("memory"),)),
    Opcode.SET_EVENT: Form("set_event", (_handle("event"),)),
    Opcode.WAIT: Form("wait", (_handle("event"),), _plain("milliseconds")),
    Opcode.CREATE_REGISTRY_TRANSACTION: Form("create_registry_transaction"),
    Opcode.COMMIT_REGISTRY_TRANSACTION: Form("commit_registry_transaction", (_handle("transaction"),)),
    Opcode.ROLLBACK_REGISTRY_TRANSACTION: Form("rollback_registry_transaction", (_handle("transaction"),)),
    Opcode.IMPERSONATE: Form("impersonate"),
    Opcode.REVERT: Form("revert"),
    Opcode.WIN32_CREATE_KEY: Form(
        "win32.create_key",
        (_WIN32_KEY,),
        (
            _ACCESS,
            *_plain("options", "class_name", "sddl"),
            Argument("null_disposition", "null_result"),
            _TRANSACTION,
        ),
    ),
    Opcode.WIN32_OPEN_KEY: Form("win32.open_key", (_WIN32_KEY,), (_ACCESS, *_plain("options"), _TRANSACTION)),
    Opcode.WIN32_CLOSE_KEY: Form("win32.close_key", (_ON_KEY,)),
    Opcode.WIN32_DELETE_KEY: Form("win32.delete_key", (_WIN32_KEY,), (_ACCESS, _TRANSACTION)),
    Opcode.WIN32_SET_VALUE: Form("win32.set_value", (_ON_KEY, _NAME, _VALUE)),
    Opcode.WIN32_DELETE_VALUE: Form("win32.delete_value", (_ON_KEY, _NAME)),
    Opcode.WIN32_QUERY_VALUE: Form("win32.query_value", (_ON_KEY, _NAME), _plain("length")),
    Opcode.WIN32_GET_VALUE: Form(
        "win32.get_value", (_ON_KEY, _NAME), (*_plain("flags", "length"), Argument("subkey", "name"))
    ),
    Opcode.WIN32_ENUMERATE_KEY: Form("win32.enumerate_key", (_ON_KEY, *_plain("index"))),
    Opcode.WIN32_ENUMERATE_VALUE: Form(
        "win32.enumerate_value", (_ON_KEY, *_plain("index")), _plain("length")
    ),
    Opcode.WIN32_QUERY_KEY: Form("win32.query_key", (_ON_KEY,)),
    Opcode.WIN32_LOAD_APP_KEY: Form("win32.load_app_key", (_FILE,), (_ACCESS, _EXCLUSIVE)),
    Opcode.WIN32_LOAD_KEY: Form("win32.load_key", (_WIN32_KEY, _FILE)),
    Opcode.WIN32_UNLOAD_KEY: Form("win32.unload_key", (_WIN32_KEY,)),
    Opcode.WIN32_SAVE_KEY: Form("win32.save_key", (_ON_KEY, _FILE), _plain("format")),
    Opcode.WIN32_RESTORE_KEY: Form("win32.restore_key", (_ON_KEY, _FILE), _plain("flags")),
    Opcode.WIN32_RENAME_KEY: Form(
        "win32.rename_key", (_ON_KEY, *_plain("new_name")), (Argument("subkey", "name"),)
    ),
    Opcode.WIN32_FLUSH_KEY: Form("win32.flush_key", (_ON_KEY,)),
    Opcode.WIN32_DELETE_TREE: Form("win32.delete_tree", (_ON_KEY,), _plain(subkey="name")),
    Opcode.WIN32_COPY_TREE: Form(
        "win32.copy_tree", (_ON_KEY, _handle("target", "low_handle")), _plain(subkey="name")
    ),
    Opcode.WIN32_GET_SECURITY: Form(
        "win32.get_security", (_ON_KEY, *_plain("security_information")), _plain("length")
    ),
    Opcode.WIN32_SET_SECURITY: Form(
        "win32.set_security", (_ON_KEY, *_plain("security_information")), _plain("sddl", "security")
    ),
    Opcode.WIN32_QUERY_MULTIPLE: Form(
        "win32.query_multiple",
        (_ON_KEY, Argument("names", "value_names", Kind.TEXTS)),
        _plain("length"),
    ),
    Opcode.WIN32_NOTIFY_CHANGE_KEY: Form(
        "win32.notify_change_key", (_ON_KEY, _handle("event", "event")), _plain(changes="flags")
    ),
    Opcode.WIN32_REPLACE_KEY: Form(
        "win32.replace_key",
        (_ON_KEY, Argument("new_file", "file", Kind.FILE), Argument("old_file", "old_file", Kind.FILE)),
        _plain(subkey="name"),
    ),
}
