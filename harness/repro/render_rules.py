"""Filters, rules and kernel calls as source.

Every rule is proven: its line is run with a filter that only packs records, and they must be the recorded
one. A rule that the methods can't say is written as the record it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from harness.errors import HarnessError
from harness.probe import abi
from harness.probe.enums import (
    Action,
    ActionFlag,
    Base,
    CallFlag,
    FilterFlag,
    InnerCall,
    Match,
    PreviousMode,
    Subject,
)
from harness.probe.filters import Filter
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.notify import NotifyClass, Pre
from harness.registry.options import REG_OPENED_EXISTING_KEY
from harness.registry.paths import RegistryPath
from harness.registry.valuetypes import ValueType
from harness.repro.literal import Imports, NotPlainError, access_code, code_of, status_code
from harness.repro.scenario import AddFilter, KernelCall, Values

__all__ = ["RuleSource"]

_RULE: Final = "REGPROBE_RULE"
_NT_ERROR: Final = 0x8000_0000


class RuleSource:
    """Writes what the probe is asked. `root` is the test root's path, empty without one."""

    def __init__(self, root: str, imports: Imports) -> None:
        self._root = RegistryPath(root) if root else None
        self._imports = imports

    # -- filters --------------------------------------------------------------------------------------

    def filter(self, action: AddFilter) -> str:
        """``probe.add(...)``."""
        flags = FilterFlag(_number(action.values, "flags"))
        parts = [] if not action.altitude else [code_of(action.altitude, self._imports)]
        context = _number(action.values, "context")
        if context and FilterFlag.SHARED_ROUTINE not in flags:
            parts.append(f"context={context:#x}")
        # Without an altitude it is a legacy filter on a Windows that has no other; say it all the same.
        for flag, text in (
            (FilterFlag.LEGACY, "legacy=True"),
            (FilterFlag.AT_APC_LEVEL, "at_apc_level=True"),
            (FilterFlag.SILENT, "silent=True"),
            (FilterFlag.NO_NAMES, "names=False"),
            (FilterFlag.NO_RAW, "raw=False"),
            (FilterFlag.SHARED_ROUTINE, "shared_routine=True"),
        ):
            if flag in flags:
                parts.append(text)
        return f"probe.{'try_add' if action.refused else 'add'}({', '.join(parts)})"

    def kernel_call(self, action: KernelCall) -> str:
        """``probe.kernel_call.call(...)``, by the method of its name where there is one."""
        values = action.values
        call, flags = InnerCall(_number(values, "call")), CallFlag(_number(values, "flags"))
        parts = [self._path(_text(values, "target"))]
        name, data = _text(values, "value_name"), _data(values)
        if call is InnerCall.SET_VALUE:
            parts += [self._code(name), self._code(data)]
            if _number(values, "value_type") != ValueType.BINARY:
                parts.append(f"type={_number(values, 'value_type')}")
        elif call in (InnerCall.QUERY_VALUE, InnerCall.DELETE_VALUE):
            parts.append(self._code(name))
        elif call is InnerCall.ENUMERATE_KEY:
            parts.append(str(_number(values, "index")))
        if _number(values, "access") != KEY_ALL_ACCESS:
            parts.append(f"access={access_code(_number(values, 'access'), self._imports)}")
        for flag, text in (
            (CallFlag.WORK_ITEM, "work_item=True"),
            (CallFlag.FORCE_ACCESS_CHECK, "force_access_check=True"),
            (CallFlag.OPEN_LINK, "open_link=True"),
        ):
            if flag in flags:
                parts.append(text)
        return f"probe.kernel_call.{call.name.lower()}({', '.join(parts)})"

    # -- rules ----------------------------------------------------------------------------------------

    def rule(self, filter_name: str, values: Values, *, step: str = "") -> str:
        """``FILTER.on(...).ACTION(...)``; `step` is the handle that the rule is about, in its program."""
        plain = {name: value for name, value in values.items() if name != "filter_id"}
        try:
            with self._imports.tentative():
                chain = f"on({self._conditions(plain, step)}).{self._action(plain)}"
                if _proven(chain, plain, step, self._imports, self._root):
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

    def _conditions(self, values: Values, step: str) -> str:
        parts = [self._code(each) for each in _classes(_number(values, "classes"))]
        match = Match(_number(values, "match"))
        if Match.KEY_EXACT in match:
            parts.append(f"key={self._path(_text(values, 'key'))}")
        if Match.KEY_PREFIX in match:
            parts.append(f"under={self._path(_text(values, 'key'))}")
        if Match.KEY_HANDLE in match:
            parts.append(f"under={step}")
        if Match.VALUE_NAME in match:
            parts.append(f"value={self._code(_text(values, 'value_name'))}")
        if Match.PROCESS in match:
            parts.append(f"process={_number(values, 'process_id')}")
        if Match.THREAD in match:
            parts.append(f"thread={_number(values, 'thread_id')}")
        if Match.STATUS in match:
            parts.append(f"status={status_code(_number(values, 'match_status'), self._imports)}")
        if Match.PREVIOUS_MODE in match:
            mode = PreviousMode(_number(values, "previous_mode"))
            parts.append(f"previous_mode={self._imports.add('harness.probe', 'PreviousMode')}.{mode.name}")
        for name, field in (("nth", "nth_first"), ("count", "nth_count")):
            if _number(values, field):
                parts.append(f"{name}={_number(values, field)}")
        return ", ".join(parts)

    def _action(self, values: Values) -> str:
        action = Action(_number(values, "action"))
        write = getattr(self, f"_{action.name.lower()}", None)
        if write is None:
            raise NotPlainError(action.name)
        found: str = write(values, ActionFlag(_number(values, "action_flags")))
        return found

    # One method for each action.

    def _pass(self, values: Values, flags: ActionFlag) -> str:
        return "pass_()"

    def _return(self, values: Values, flags: ActionFlag) -> str:
        status = _number(values, "status") & 0xFFFF_FFFF
        classes = _classes(_number(values, "classes"))
        pre = all(each.is_pre for each in classes) and Pre.KeyHandleClose not in classes
        text = status_code(status, self._imports)
        if status < _NT_ERROR:
            return f"succeed({text if status else ''})"
        return f"block({text})" if pre else f"return_({text})"

    def _bypass(self, values: Values, flags: ActionFlag) -> str:
        return "bypass()"

    def _bypass_key(self, values: Values, flags: ActionFlag) -> str:
        return f"bypass_with_key({self._key_arguments(values, flags)})"

    def _override_key(self, values: Values, flags: ActionFlag) -> str:
        status = _number(values, "status") & 0xFFFF_FFFF
        more = f", status={status_code(status, self._imports)}" if status else ""
        return f"override_with_key({self._key_arguments(values, flags)}{more})"

    def _bypass_output(self, values: Values, flags: ActionFlag) -> str:
        return f"bypass_output({self._code(_data(values))})"

    def _redirect(self, values: Values, flags: ActionFlag) -> str:
        return f"redirect({self._code(_text(values, 'target'))})"

    def _override(self, values: Values, flags: ActionFlag) -> str:
        return f"override({status_code(_number(values, 'status'), self._imports)})"

    def _raise(self, values: Values, flags: ActionFlag) -> str:
        status = _number(values, "status")
        return f"raise_({status_code(status, self._imports) if status else ''})"

    def _write_return_status(self, values: Values, flags: ActionFlag) -> str:
        return f"write_return_status({status_code(_number(values, 'status'), self._imports)})"

    def _edit_output(self, values: Values, flags: ActionFlag) -> str:
        parts = [self._code(_data(values))]
        if _number(values, "offset"):
            parts.append(str(_number(values, "offset")))
        if ActionFlag.SET_RESULT_LENGTH in flags:
            parts.append(f"result_length={_number(values, 'value')}")
        return f"edit_output({', '.join(parts)})"

    def _edit_input(self, values: Values, flags: ActionFlag) -> str:
        parts = []
        if _text(values, "target"):
            parts.append(f"name={self._code(_text(values, 'target'))}")
        if _number(values, "granted_access"):
            parts.append(f"access={access_code(_number(values, 'granted_access'), self._imports)}")
        if _data(values):
            parts.append(f"data={self._code(_data(values))}")
        return f"edit_input({', '.join(parts)})"

    def _set_call_context(self, values: Values, flags: ActionFlag) -> str:
        return f"set_call_context({_number(values, 'value'):#x})"

    def _set_object_context(self, values: Values, flags: ActionFlag) -> str:
        parts = [f"{_number(values, 'value'):#x}", *self._subject(values), *_flagged(flags)]
        return f"set_object_context({', '.join(parts)})"

    def _fetch_name(self, values: Values, flags: ActionFlag) -> str:
        ex = ["ex=True"] if ActionFlag.USE_EX in flags else []
        parts = [*ex, *self._subject(values), *_flagged(flags & ~ActionFlag.USE_EX)]
        return f"fetch_name({', '.join(parts)})"

    def _fetch_transaction(self, values: Values, flags: ActionFlag) -> str:
        return f"fetch_transaction({', '.join([*self._subject(values), *_flagged(flags)])})"

    def _open_object(self, values: Values, flags: ActionFlag) -> str:
        return f"open_object({', '.join(self._subject(values))})"

    def _call(self, values: Values, flags: ActionFlag) -> str:
        call = InnerCall(_number(values, "call"))
        parts = [
            f"{self._imports.add('harness.probe', 'InnerCall')}.{call.name}",
            self._path(_text(values, "target")),
            *self._base(values),
            *self._subject(values),
        ]
        if _text(values, "call_value_name"):
            parts.append(f"value={self._code(_text(values, 'call_value_name'))}")
        if _data(values):
            parts.append(f"data={self._code(_data(values))}")
        if _number(values, "value_type") != ValueType.BINARY:
            parts.append(f"value_type={_number(values, 'value_type')}")
        if _number(values, "offset"):
            parts.append(f"index={_number(values, 'offset')}")
        if _number(values, "granted_access") != KEY_ALL_ACCESS:
            parts.append(f"access={access_code(_number(values, 'granted_access'), self._imports)}")
        return f"call({', '.join([*parts, *_flagged(flags)])})"

    def _delay(self, values: Values, flags: ActionFlag) -> str:
        return f"delay({_number(values, 'value')})"

    def _undo(self, values: Values, flags: ActionFlag) -> str:
        return "undo()"

    # -- pieces ---------------------------------------------------------------------------------------

    def _key_arguments(self, values: Values, flags: ActionFlag) -> str:
        parts = [self._path(_text(values, "target")), *self._base(values)]
        access = _number(values, "granted_access")
        if ActionFlag.NO_GRANTED_ACCESS in flags:
            parts.append("access=None")
        elif access != KEY_ALL_ACCESS:
            parts.append(f"access={access_code(access, self._imports)}")
        if _number(values, "disposition") != REG_OPENED_EXISTING_KEY:
            parts.append(f"disposition={_number(values, 'disposition')}")
        if ActionFlag.CREATE in flags:
            parts.append("create=True")
        return ", ".join(parts)

    def _base(self, values: Values) -> list[str]:
        base = Base(_number(values, "base"))
        if base is Base.ABSOLUTE:
            return []
        return [f"base={self._imports.add('harness.probe', 'Base')}.{base.name}"]

    def _subject(self, values: Values) -> list[str]:
        subject = Subject(_number(values, "subject"))
        if subject is Subject.DEFAULT:
            return []
        return [f"subject={self._imports.add('harness.probe', 'Subject')}.{subject.name}"]

    def _path(self, path: str) -> str:
        return code_of(path, self._imports, root=self._root)

    def _code(self, value: object) -> str:
        return code_of(value, self._imports)


def _proven(chain: str, values: Values, step: str, imports: Imports, root: RegistryPath | None) -> bool:
    """Whether the chain packs the recorded values."""
    sent: list[dict[str, int | bytes]] = []

    class Registered:
        def set_rule(self, packed: dict[str, int | bytes]) -> int:
            sent.append(packed)
            return 1

    class Recording:
        """A program that takes the rule."""

        def device_control(self, device: str, code: int, data: bytes = b"", **_: Any) -> Any:
            sent.append(abi.record(_RULE).unpack(data))

    class Handle:
        program = Recording()
        slot = 0

    class Root:
        test_root = root

    namespace: dict[str, Any] = {"registry": Root()}
    exec("\n".join(imports.lines()), namespace)
    if step:
        namespace[step] = Handle()
    probe: Any = Registered()
    namespace["filter"] = Filter(probe, 0, altitude="1", cookie=0, context=0, legacy=False, name="filter")
    eval(f"filter.{chain}", namespace)
    return len(sent) == 1 and _packed(sent[0]) == _packed(values)


def _packed(values: Values) -> bytes:
    fields = {
        name: value & 0xFFFF_FFFF if name in ("status", "match_status") and isinstance(value, int) else value
        for name, value in values.items()
        if name not in ("filter_id", "abi_version", "size", "handle")
    }
    return abi.record(_RULE).pack(**fields)


def _classes(mask: int) -> list[NotifyClass]:
    return [each for each in sorted(NotifyClass) if mask >> int(each) & 1]


def _flagged(flags: ActionFlag) -> Iterator[str]:
    for flag in (
        ActionFlag.CREATE,
        ActionFlag.WORK_ITEM,
        ActionFlag.FAIL_INNER,
        ActionFlag.NO_ID,
        ActionFlag.NO_NAME,
        ActionFlag.BAD_COOKIE,
        ActionFlag.BAD_OBJECT,
        ActionFlag.BAD_FLAGS,
        ActionFlag.AT_APC_LEVEL,
    ):
        if flag in flags:
            yield f"{str(flag.name).lower()}=True"


def _number(values: Values, name: str) -> int:
    value = values[name]
    assert isinstance(value, int)
    return value


def _text(values: Values, name: str) -> str:
    raw = values[name]
    assert isinstance(raw, bytes)
    return raw[: _number(values, f"{name}_length")].decode("utf-16-le", "surrogatepass")


def _data(values: Values) -> bytes:
    raw = values["data"]
    assert isinstance(raw, bytes)
    return raw[: _number(values, "data_length")]
