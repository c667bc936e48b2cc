"""The notify classes (REG_NOTIFY_CLASS) and which Windows version delivers which.

Source: ne-wdm-_reg_notify_class; numbers were never reused, every release appended (B-VER-01).
"""

from __future__ import annotations

import enum
from functools import cache
from typing import Final

from harness.registry.version import WindowsVersion

__all__ = ["NotifyClass", "Operation", "Post", "Pre", "delivered_by"]


class NotifyClass(enum.IntEnum):
    """One class of notification; the second argument of a callback (B-NOT-01)."""

    PRE_DELETE_KEY = 0
    PRE_SET_VALUE_KEY = 1
    PRE_DELETE_VALUE_KEY = 2
    PRE_SET_INFORMATION_KEY = 3
    PRE_RENAME_KEY = 4
    PRE_ENUMERATE_KEY = 5
    PRE_ENUMERATE_VALUE_KEY = 6
    PRE_QUERY_KEY = 7
    PRE_QUERY_VALUE_KEY = 8
    PRE_QUERY_MULTIPLE_VALUE_KEY = 9
    PRE_CREATE_KEY = 10
    POST_CREATE_KEY = 11
    PRE_OPEN_KEY = 12
    POST_OPEN_KEY = 13
    PRE_KEY_HANDLE_CLOSE = 14
    POST_DELETE_KEY = 15
    POST_SET_VALUE_KEY = 16
    POST_DELETE_VALUE_KEY = 17
    POST_SET_INFORMATION_KEY = 18
    POST_RENAME_KEY = 19
    POST_ENUMERATE_KEY = 20
    POST_ENUMERATE_VALUE_KEY = 21
    POST_QUERY_KEY = 22
    POST_QUERY_VALUE_KEY = 23
    POST_QUERY_MULTIPLE_VALUE_KEY = 24
    POST_KEY_HANDLE_CLOSE = 25
    PRE_CREATE_KEY_EX = 26
    POST_CREATE_KEY_EX = 27
    PRE_OPEN_KEY_EX = 28
    POST_OPEN_KEY_EX = 29
    PRE_FLUSH_KEY = 30
    POST_FLUSH_KEY = 31
    PRE_LOAD_KEY = 32
    POST_LOAD_KEY = 33
    PRE_UNLOAD_KEY = 34
    POST_UNLOAD_KEY = 35
    PRE_QUERY_KEY_SECURITY = 36
    POST_QUERY_KEY_SECURITY = 37
    PRE_SET_KEY_SECURITY = 38
    POST_SET_KEY_SECURITY = 39
    CALLBACK_OBJECT_CONTEXT_CLEANUP = 40
    PRE_RESTORE_KEY = 41
    POST_RESTORE_KEY = 42
    PRE_SAVE_KEY = 43
    POST_SAVE_KEY = 44
    PRE_REPLACE_KEY = 45
    POST_REPLACE_KEY = 46
    PRE_QUERY_KEY_NAME = 47
    POST_QUERY_KEY_NAME = 48
    PRE_SAVE_MERGED_KEY = 49
    POST_SAVE_MERGED_KEY = 50

    @property
    def is_pre(self) -> bool:
        """Called before the operation."""
        return self.name.startswith("PRE_")

    @property
    def is_post(self) -> bool:
        """Called after the operation. The context cleanup is neither pre nor post."""
        return self.name.startswith("POST_")

    @property
    def counterpart(self) -> NotifyClass | None:
        """The post class of a pre class and the other way round; None for the context cleanup."""
        operation = self.operation
        return operation.post if self is operation.pre else operation.pre

    @property
    def operation(self) -> Operation:
        """The operation this class belongs to."""
        return Operation[self.name.removeprefix("PRE_").removeprefix("POST_")]

    @property
    def documented_name(self) -> str:
        """The spelling of the documentation, e.g. "RegNtPreSetValueKey"."""
        words = (_SPELLING.get(word, word.capitalize()) for word in self.name.split("_"))
        return "RegNt" + "".join(words)


_SPELLING: Final = {"UNLOAD": "UnLoad"}


class Operation(enum.Enum):
    """A registry operation; groups its pre and post class."""

    DELETE_KEY = "delete key"
    SET_VALUE_KEY = "set value"
    DELETE_VALUE_KEY = "delete value"
    SET_INFORMATION_KEY = "set information"
    RENAME_KEY = "rename key"
    ENUMERATE_KEY = "enumerate key"
    ENUMERATE_VALUE_KEY = "enumerate value"
    QUERY_KEY = "query key"
    QUERY_VALUE_KEY = "query value"
    QUERY_MULTIPLE_VALUE_KEY = "query multiple values"
    CREATE_KEY = "create key (XP)"
    OPEN_KEY = "open key (XP)"
    KEY_HANDLE_CLOSE = "handle close"
    CREATE_KEY_EX = "create key"
    OPEN_KEY_EX = "open key"
    FLUSH_KEY = "flush key"
    LOAD_KEY = "load key"
    UNLOAD_KEY = "unload key"
    QUERY_KEY_SECURITY = "query security"
    SET_KEY_SECURITY = "set security"
    CALLBACK_OBJECT_CONTEXT_CLEANUP = "context cleanup"
    RESTORE_KEY = "restore key"
    SAVE_KEY = "save key"
    REPLACE_KEY = "replace key"
    QUERY_KEY_NAME = "query name"
    SAVE_MERGED_KEY = "save merged keys"

    @property
    def pre(self) -> NotifyClass | None:
        """The pre class; None for the context cleanup."""
        return NotifyClass.__members__.get("PRE_" + self.name)

    @property
    def post(self) -> NotifyClass | None:
        """The post class; None for the context cleanup."""
        return NotifyClass.__members__.get("POST_" + self.name)


class Pre:
    """The pre classes under their documented names: `Pre.SetValueKey`."""

    DeleteKey: Final = NotifyClass.PRE_DELETE_KEY
    SetValueKey: Final = NotifyClass.PRE_SET_VALUE_KEY
    DeleteValueKey: Final = NotifyClass.PRE_DELETE_VALUE_KEY
    SetInformationKey: Final = NotifyClass.PRE_SET_INFORMATION_KEY
    RenameKey: Final = NotifyClass.PRE_RENAME_KEY
    EnumerateKey: Final = NotifyClass.PRE_ENUMERATE_KEY
    EnumerateValueKey: Final = NotifyClass.PRE_ENUMERATE_VALUE_KEY
    QueryKey: Final = NotifyClass.PRE_QUERY_KEY
    QueryValueKey: Final = NotifyClass.PRE_QUERY_VALUE_KEY
    QueryMultipleValueKey: Final = NotifyClass.PRE_QUERY_MULTIPLE_VALUE_KEY
    CreateKey: Final = NotifyClass.PRE_CREATE_KEY
    OpenKey: Final = NotifyClass.PRE_OPEN_KEY
    KeyHandleClose: Final = NotifyClass.PRE_KEY_HANDLE_CLOSE
    CreateKeyEx: Final = NotifyClass.PRE_CREATE_KEY_EX
    OpenKeyEx: Final = NotifyClass.PRE_OPEN_KEY_EX
    FlushKey: Final = NotifyClass.PRE_FLUSH_KEY
    LoadKey: Final = NotifyClass.PRE_LOAD_KEY
    UnLoadKey: Final = NotifyClass.PRE_UNLOAD_KEY
    QueryKeySecurity: Final = NotifyClass.PRE_QUERY_KEY_SECURITY
    SetKeySecurity: Final = NotifyClass.PRE_SET_KEY_SECURITY
    RestoreKey: Final = NotifyClass.PRE_RESTORE_KEY
    SaveKey: Final = NotifyClass.PRE_SAVE_KEY
    ReplaceKey: Final = NotifyClass.PRE_REPLACE_KEY
    QueryKeyName: Final = NotifyClass.PRE_QUERY_KEY_NAME
    SaveMergedKey: Final = NotifyClass.PRE_SAVE_MERGED_KEY


class Post:
    """The post classes under their documented names: `Post.SetValueKey`."""

    DeleteKey: Final = NotifyClass.POST_DELETE_KEY
    SetValueKey: Final = NotifyClass.POST_SET_VALUE_KEY
    DeleteValueKey: Final = NotifyClass.POST_DELETE_VALUE_KEY
    SetInformationKey: Final = NotifyClass.POST_SET_INFORMATION_KEY
    RenameKey: Final = NotifyClass.POST_RENAME_KEY
    EnumerateKey: Final = NotifyClass.POST_ENUMERATE_KEY
    EnumerateValueKey: Final = NotifyClass.POST_ENUMERATE_VALUE_KEY
    QueryKey: Final = NotifyClass.POST_QUERY_KEY
    QueryValueKey: Final = NotifyClass.POST_QUERY_VALUE_KEY
    QueryMultipleValueKey: Final = NotifyClass.POST_QUERY_MULTIPLE_VALUE_KEY
    CreateKey: Final = NotifyClass.POST_CREATE_KEY
    OpenKey: Final = NotifyClass.POST_OPEN_KEY
    KeyHandleClose: Final = NotifyClass.POST_KEY_HANDLE_CLOSE
    CreateKeyEx: Final = NotifyClass.POST_CREATE_KEY_EX
    OpenKeyEx: Final = NotifyClass.POST_OPEN_KEY_EX
    FlushKey: Final = NotifyClass.POST_FLUSH_KEY
    LoadKey: Final = NotifyClass.POST_LOAD_KEY
    UnLoadKey: Final = NotifyClass.POST_UNLOAD_KEY
    QueryKeySecurity: Final = NotifyClass.POST_QUERY_KEY_SECURITY
    SetKeySecurity: Final = NotifyClass.POST_SET_KEY_SECURITY
    RestoreKey: Final = NotifyClass.POST_RESTORE_KEY
    SaveKey: Final = NotifyClass.POST_SAVE_KEY
    ReplaceKey: Final = NotifyClass.POST_REPLACE_KEY
    QueryKeyName: Final = NotifyClass.POST_QUERY_KEY_NAME
    SaveMergedKey: Final = NotifyClass.POST_SAVE_MERGED_KEY


def _classes(*ranges: range) -> frozenset[NotifyClass]:
    return frozenset(NotifyClass(value) for numbers in ranges for value in numbers)


@cache
def delivered_by(version: WindowsVersion) -> frozenset[NotifyClass]:
    """Every class that version delivers (B-VER-02, B-VER-03, B-VER-04).

    Classes 10..13 are XP only by the corrected documentation. 49 and 50: the structure page gives Windows
    Server 2022, the enumeration page Windows 10; the former agrees with tables derived from PDBs.
    """
    if (version.major, version.minor) <= (5, 1):
        return _classes(range(15))
    classes = _classes(range(10), range(14, 30))
    if version.major >= 6:
        classes |= _classes(range(30, 41))
    if version.number >= (6, 0, 6002):
        classes |= _classes(range(41, 47))
    if version.major >= 10:
        classes |= _classes(range(47, 49))
    if version.number >= (10, 0, 20348):
        classes |= _classes(range(49, 51))
    return classes
