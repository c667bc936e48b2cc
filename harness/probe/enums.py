"""The closed sets of the probe's ABI as enums.

tests/probe/test_abi.py proves that they and the header's constants agree, member by member.
"""

from __future__ import annotations

import enum

__all__ = [
    "Action",
    "ActionFlag",
    "Base",
    "CallFlag",
    "CrashWay",
    "EventFlag",
    "EventKind",
    "FilterFlag",
    "GateWay",
    "InnerCall",
    "Match",
    "PreviousMode",
    "Routine",
    "Subject",
]


class EventKind(enum.IntEnum):
    """REGPROBE_KIND_*."""

    NOTIFICATION = 1
    ACTION = 2


class EventFlag(enum.IntFlag):
    """REGPROBE_EVENT_*."""

    FAULT = 0x01
    NAME_TRUNCATED = 0x02
    DATA_TRUNCATED = 0x04
    NO_OBJECT_ID = 0x08
    HAS_DISPOSITION = 0x10
    HAS_RESULT_LENGTH = 0x20
    HAS_RESULT_OBJECT = 0x40


class PreviousMode(enum.IntEnum):
    """KPROCESSOR_MODE: who asked for the operation."""

    KERNEL = 0
    USER = 1


class GateWay(enum.IntEnum):
    """REGPROBE_GATE_*: what is asked of a gate."""

    OPEN = 1
    CLOSE = 2
    AWAIT = 3


class CrashWay(enum.IntEnum):
    """REGPROBE_CRASH_*: how a system is brought down on purpose."""

    BUGCHECK = 1
    SPIN = 2
    WAIT = 3


class FilterFlag(enum.IntFlag):
    """REGPROBE_FILTER_*."""

    LEGACY = 0x01
    AT_APC_LEVEL = 0x02
    SILENT = 0x04
    NO_NAMES = 0x08
    NO_RAW = 0x10
    SHARED_ROUTINE = 0x40


class Match(enum.IntFlag):
    """REGPROBE_MATCH_*."""

    PROCESS = 0x01
    KEY_EXACT = 0x02
    KEY_PREFIX = 0x04
    KEY_HANDLE = 0x08
    VALUE_NAME = 0x10
    STATUS = 0x20
    THREAD = 0x40
    PREVIOUS_MODE = 0x80


class Action(enum.IntEnum):
    """REGPROBE_ACTION_*: what a rule does."""

    PASS = 1
    RETURN = 2
    BYPASS = 3
    BYPASS_KEY = 4
    BYPASS_OUTPUT = 5
    REDIRECT = 6
    OVERRIDE = 7
    OVERRIDE_KEY = 8
    WRITE_RETURN_STATUS = 9
    EDIT_OUTPUT = 10
    SET_CALL_CONTEXT = 11
    SET_OBJECT_CONTEXT = 12
    CALL = 13
    FETCH_NAME = 14
    FETCH_TRANSACTION = 15
    RAISE = 16
    DELAY = 17
    OPEN_OBJECT = 18
    UNDO = 19
    EDIT_INPUT = 20
    STAND = 21

    @property
    def is_terminal(self) -> bool:
        """Decides the callback's return value: no later rule of the filter is looked at."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        Action.PASS,
        Action.RETURN,
        Action.BYPASS,
        Action.BYPASS_KEY,
        Action.BYPASS_OUTPUT,
        Action.REDIRECT,
        Action.OVERRIDE,
        Action.OVERRIDE_KEY,
        Action.RAISE,
    }
)


class ActionFlag(enum.IntFlag):
    """REGPROBE_ACTION_* modifiers of REGPROBE_RULE.action_flags."""

    CREATE = 0x001
    NO_GRANTED_ACCESS = 0x002
    USE_EX = 0x004
    BAD_COOKIE = 0x008
    BAD_FLAGS = 0x010
    BAD_OBJECT = 0x020
    AT_APC_LEVEL = 0x040
    NO_ID = 0x080
    NO_NAME = 0x100
    SET_RESULT_LENGTH = 0x200
    FAIL_INNER = 0x400
    WORK_ITEM = 0x800


class Subject(enum.IntEnum):
    """REGPROBE_SUBJECT_*: which object an action is about.

    DEFAULT is Object; RootObject in a pre create or open, *ResultObject in a successful post of those.
    """

    DEFAULT = 0
    OBJECT = 1
    ROOT_OBJECT = 2
    RESULT_OBJECT = 3


class Base(enum.IntEnum):
    """REGPROBE_BASE_*: what a target path is relative to."""

    ABSOLUTE = 0
    SUBJECT = 1


class InnerCall(enum.IntEnum):
    """REGPROBE_CALL_*: registry calls the probe makes; the key is opened first and closed last."""

    OPEN_KEY = 1
    CREATE_KEY = 2
    DELETE_KEY = 3
    QUERY_VALUE = 4
    SET_VALUE = 5
    DELETE_VALUE = 6
    ENUMERATE_KEY = 7
    QUERY_KEY = 8
    FLUSH_KEY = 9
    QUERY_NAME = 10


class CallFlag(enum.IntFlag):
    """REGPROBE_CALL_* modifiers of REGPROBE_KERNEL_CALL.flags."""

    WORK_ITEM = 0x1
    FORCE_ACCESS_CHECK = 0x2
    OPEN_LINK = 0x4


class Routine(enum.IntFlag):
    """REGPROBE_HAS_*: routines that MmGetSystemRoutineAddress found."""

    REGISTER_CALLBACK = 0x001
    REGISTER_CALLBACK_EX = 0x002
    GET_CALLBACK_VERSION = 0x004
    SET_OBJECT_CONTEXT = 0x008
    GET_KEY_OBJECT_ID = 0x010
    GET_KEY_OBJECT_ID_EX = 0x020
    RELEASE_KEY_OBJECT_ID_EX = 0x040
    GET_BOUND_TRANSACTION = 0x080
    UNREGISTER_CALLBACK = 0x100
