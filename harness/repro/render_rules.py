"""Rules as source: ``FILTER.on(CONDITIONS).ACTION(ARGUMENTS)``.

Every rule is proven (`harness.repro.rule_proof`). One that the methods can't say is written as the record it
is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from harness.errors import HarnessError
from harness.probe.enums import Action, ActionFlag, Base, InnerCall, Match, PreviousMode, Subject
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.notify import NotifyClass, Pre
from harness.registry.options import REG_OPENED_EXISTING_KEY
from harness.registry.paths import RegistryPath
from harness.registry.valuetypes import ValueType
from harness.repro.literal import Imports, NotPlainError, access_code, code_of, status_code
from harness.repro.record_fields import data, number, text
from harness.repro.rule_proof import packs
from harness.repro.scenario import Values

__all__ = ["RuleSource"]

_NT_ERROR: Final = 0x8000_0000


class RuleSource:
    """Writes rules. `root` is the test root's path, empty without one."""

    def __init__(self, root: str, imports: Imports) -> None:
        self._root = RegistryPath(root) if root else None
        self._imports = imports

    def rule(self, filter_name: str, values: Values, *, step: str = "") -> str:
        """The statement; `step` is the handle that the rule is about, in its program."""
        plain = {name: value for name, value in values.items() if name != "filter_id"}
        rule = _Rule(plain, self._imports, self._root, step)
        try:
            with self._imports.tentative():
                chain = f"on({', '.join(rule.conditions())}).{rule.action()}"
                if packs(chain, plain, step, self._imports, self._root):
                    return f"{filter_name}.{chain}"
        except (NotPlainError, HarnessError, ValueError):
            pass
        return f"probe.set_rule({self._raw(filter_name, plain)})"

    def _raw(self, filter_name: str, values: Values) -> str:
        fields = [f'"filter_id": {filter_name}.id']
        for name, value in values.items():
            if isinstance(value, bytes):
                value = value.rstrip(b"\0")
            if value:
                fields.append(f'"{name}": {code_of(value, self._imports)}')
        return "{" + ", ".join(fields) + "}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule's record, and its pieces as source."""

    values: Values
    imports: Imports
    root: RegistryPath | None
    step: str

    @property
    def flags(self) -> ActionFlag:
        return ActionFlag(self.number("action_flags"))

    @property
    def classes(self) -> list[NotifyClass]:
        mask = self.number("classes")
        return [each for each in sorted(NotifyClass) if mask >> int(each) & 1]

    def number(self, name: str) -> int:
        return number(self.values, name)

    def code(self, value: object) -> str:
        return code_of(value, self.imports)

    def text(self, name: str) -> str:
        return self.code(text(self.values, name))

    def path(self, name: str) -> str:
        return code_of(text(self.values, name), self.imports, root=self.root)

    def status(self, name: str = "status") -> str:
        return status_code(self.number(name), self.imports)

    def access(self) -> str:
        return access_code(self.number("granted_access"), self.imports)

    def member(self, kind: type[Base | Subject | InnerCall | PreviousMode], name: str) -> str:
        found = kind(self.number(name))
        return f"{self.imports.add('harness.probe', kind.__name__)}.{found.name}"

    def conditions(self) -> Iterator[str]:
        """The arguments of ``on``."""
        yield from map(self.code, self.classes)
        match = Match(self.number("match"))
        for flag, name, write in _CONDITIONS:
            if flag in match:
                yield f"{name}={write(self)}"
        for name, field in (("nth", "nth_first"), ("count", "nth_count")):
            if self.number(field):
                yield f"{name}={self.number(field)}"

    def action(self) -> str:
        action = Action(self.number("action"))
        if action is Action.RETURN:
            return self._return()
        if action not in _ACTIONS:
            raise NotPlainError(action.name)
        method, pieces = _ACTIONS[action]
        return f"{method}({', '.join(part for piece in pieces for part in piece(self))})"

    def _return(self) -> str:
        """A status is returned by three methods, by what it does to the operation."""
        status = self.number("status") & 0xFFFF_FFFF
        if status < _NT_ERROR:
            return f"succeed({self.status() if status else ''})"
        classes = self.classes
        pre = all(each.is_pre for each in classes) and Pre.KeyHandleClose not in classes
        return f"{'block' if pre else 'return_'}({self.status()})"


_CONDITIONS: Final[tuple[tuple[Match, str, Callable[[_Rule], str]], ...]] = (
    (Match.KEY_EXACT, "key", lambda r: r.path("key")),
    (Match.KEY_PREFIX, "under", lambda r: r.path("key")),
    (Match.KEY_HANDLE, "under", lambda r: r.step),
    (Match.VALUE_NAME, "value", lambda r: r.text("value_name")),
    (Match.PROCESS, "process", lambda r: str(r.number("process_id"))),
    (Match.THREAD, "thread", lambda r: str(r.number("thread_id"))),
    (Match.STATUS, "status", lambda r: r.status("match_status")),
    (Match.PREVIOUS_MODE, "previous_mode", lambda r: r.member(PreviousMode, "previous_mode")),
)

#: Arguments of an action's method: none, one or several.
_Piece = Callable[[_Rule], Iterable[str]]


def _always(write: Callable[[_Rule], str]) -> _Piece:
    return lambda r: [write(r)]


def _unless(default: int, field: str, name: str, write: Callable[[_Rule], str] | None = None) -> _Piece:
    """``name=...`` where a number isn't the method's default; the number itself without `write`."""
    return lambda r: (
        [] if r.number(field) == default else [f"{name}={write(r) if write else r.number(field)}"]
    )


def _flag(flag: ActionFlag, write: Callable[[_Rule], str]) -> _Piece:
    return lambda r: [write(r)] if flag in r.flags else []


def _flags(r: _Rule) -> Iterator[str]:
    """``flag=True`` for flags that parameters are named after."""
    return (f"{str(flag.name).lower()}=True" for flag in _NAMED_FLAGS if flag in r.flags)


def _named_data(r: _Rule) -> Iterator[str]:
    if data(r.values):
        yield f"data={r.code(data(r.values))}"


def _text_unless_empty(field: str, name: str) -> _Piece:
    return lambda r: [f"{name}={r.text(field)}"] if text(r.values, field) else []


def _access(r: _Rule) -> Iterator[str]:
    if ActionFlag.NO_GRANTED_ACCESS in r.flags:
        yield "access=None"
    elif r.number("granted_access") != KEY_ALL_ACCESS:
        yield f"access={r.access()}"


_NAMED_FLAGS: Final = (
    ActionFlag.CREATE,
    ActionFlag.WORK_ITEM,
    ActionFlag.FAIL_INNER,
    ActionFlag.NO_ID,
    ActionFlag.NO_NAME,
    ActionFlag.BAD_COOKIE,
    ActionFlag.BAD_OBJECT,
    ActionFlag.BAD_FLAGS,
    ActionFlag.AT_APC_LEVEL,
)
_STATUS: Final = _always(lambda r: r.status())
_TARGET: Final = _always(lambda r: r.path("target"))
_DATA: Final = _always(lambda r: r.code(data(r.values)))
_CONTEXT: Final = _always(lambda r: f"{r.number('value'):#x}")
_BASE: Final = _unless(Base.ABSOLUTE, "base", "base", lambda r: r.member(Base, "base"))
_SUBJECT: Final = _unless(Subject.DEFAULT, "subject", "subject", lambda r: r.member(Subject, "subject"))
_KEY: Final[tuple[_Piece, ...]] = (
    _TARGET,
    _BASE,
    _access,
    _unless(REG_OPENED_EXISTING_KEY, "disposition", "disposition"),
    _flag(ActionFlag.CREATE, lambda r: "create=True"),
)

#: The method of each action, and where its arguments come from.
_ACTIONS: Final[dict[Action, tuple[str, tuple[_Piece, ...]]]] = {
    Action.PASS: ("pass_", ()),
    Action.BYPASS: ("bypass", ()),
    Action.BYPASS_KEY: ("bypass_with_key", _KEY),
    Action.OVERRIDE_KEY: ("override_with_key", (*_KEY, _unless(0, "status", "status", lambda r: r.status()))),
    Action.BYPASS_OUTPUT: ("bypass_output", (_DATA,)),
    Action.REDIRECT: ("redirect", (_always(lambda r: r.text("target")),)),
    Action.OVERRIDE: ("override", (_STATUS,)),
    Action.RAISE: ("raise_", (lambda r: [r.status()] if r.number("status") else [],)),
    Action.WRITE_RETURN_STATUS: ("write_return_status", (_STATUS,)),
    Action.EDIT_OUTPUT: (
        "edit_output",
        (
            _DATA,
            lambda r: [str(r.number("offset"))] if r.number("offset") else [],
            _flag(ActionFlag.SET_RESULT_LENGTH, lambda r: f"result_length={r.number('value')}"),
        ),
    ),
    Action.EDIT_INPUT: (
        "edit_input",
        (
            _text_unless_empty("target", "name"),
            _unless(0, "granted_access", "access", _Rule.access),
            _named_data,
        ),
    ),
    Action.SET_CALL_CONTEXT: ("set_call_context", (_CONTEXT,)),
    Action.SET_OBJECT_CONTEXT: ("set_object_context", (_CONTEXT, _SUBJECT, _flags)),
    Action.FETCH_NAME: (
        "fetch_name",
        (_flag(ActionFlag.USE_EX, lambda r: "ex=True"), _SUBJECT, _flags),
    ),
    Action.FETCH_TRANSACTION: ("fetch_transaction", (_SUBJECT, _flags)),
    Action.OPEN_OBJECT: ("open_object", (_SUBJECT,)),
    Action.CALL: (
        "call",
        (
            _always(lambda r: r.member(InnerCall, "call")),
            _TARGET,
            _BASE,
            _SUBJECT,
            _text_unless_empty("call_value_name", "value"),
            _named_data,
            _unless(ValueType.BINARY, "value_type", "value_type"),
            _unless(0, "offset", "index"),
            _unless(KEY_ALL_ACCESS, "granted_access", "access", _Rule.access),
            _flags,
        ),
    ),
    Action.DELAY: ("delay", (_always(lambda r: str(r.number("value"))),)),
    Action.UNDO: ("undo", ()),
}
