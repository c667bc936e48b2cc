"""Registrations of filters, and registry calls of the probe's own, as source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntFlag
from typing import Final, TypeVar

from harness.probe.enums import CallFlag, FilterFlag, InnerCall
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.paths import RegistryPath
from harness.registry.valuetypes import ValueType
from harness.repro.literal import Imports, access_code, code_of
from harness.repro.record_fields import data, number, text
from harness.repro.scenario import AddFilter, KernelCall

__all__ = ["filter_source", "kernel_call_source"]

Flag = TypeVar("Flag", bound=IntFlag)

# Without an altitude it is a legacy filter on a Windows that has no other; say it all the same.
_FILTER_FLAGS: Final = {
    FilterFlag.LEGACY: "legacy=True",
    FilterFlag.AT_APC_LEVEL: "at_apc_level=True",
    FilterFlag.SILENT: "silent=True",
    FilterFlag.NO_NAMES: "names=False",
    FilterFlag.NO_RAW: "raw=False",
    FilterFlag.SHARED_ROUTINE: "shared_routine=True",
}
_CALL_FLAGS: Final = {
    CallFlag.WORK_ITEM: "work_item=True",
    CallFlag.FORCE_ACCESS_CHECK: "force_access_check=True",
    CallFlag.OPEN_LINK: "open_link=True",
}


def filter_source(action: AddFilter, imports: Imports) -> str:
    """``probe.add(...)``."""
    flags = FilterFlag(number(action.values, "flags"))
    parts = [] if not action.altitude else [code_of(action.altitude, imports)]
    context = number(action.values, "context")
    if context and FilterFlag.SHARED_ROUTINE not in flags:
        parts.append(f"context={context:#x}")
    parts += _said(flags, _FILTER_FLAGS)
    return f"probe.{'try_add' if action.refused else 'add'}({', '.join(parts)})"


def kernel_call_source(action: KernelCall, imports: Imports, root: RegistryPath | None) -> str:
    """``probe.kernel_call.NAME(...)``."""
    values = action.values
    call = InnerCall(number(values, "call"))
    parts = [code_of(text(values, "target"), imports, root=root)]
    name = code_of(text(values, "value_name"), imports)
    match call:
        case InnerCall.SET_VALUE:
            parts += [name, code_of(data(values), imports)]
            if number(values, "value_type") != ValueType.BINARY:
                parts.append(f"type={number(values, 'value_type')}")
        case InnerCall.QUERY_VALUE | InnerCall.DELETE_VALUE:
            parts.append(name)
        case InnerCall.ENUMERATE_KEY:
            parts.append(str(number(values, "index")))
        case _:
            pass
    if number(values, "access") != KEY_ALL_ACCESS:
        parts.append(f"access={access_code(number(values, 'access'), imports)}")
    parts += _said(CallFlag(number(values, "flags")), _CALL_FLAGS)
    return f"probe.kernel_call.{call.name.lower()}({', '.join(parts)})"


def _said(flags: Flag, texts: Mapping[Flag, str]) -> Iterator[str]:
    return (said for flag, said in texts.items() if flag in flags)
