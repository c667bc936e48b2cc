"""Whether a line of source packs the rule it stands for: it is run with a filter that only packs records."""

from __future__ import annotations

from typing import Any, Final

from harness.probe import abi
from harness.probe.filters import Filter
from harness.registry.paths import RegistryPath
from harness.repro.literal import Imports
from harness.repro.scenario import Values

__all__ = ["packs"]

_RULE: Final = "REGPROBE_RULE"


class _Taking:
    """A probe, and a program, that keep the rules they are given."""

    def __init__(self) -> None:
        self.taken: list[Values] = []

    def set_rule(self, packed: Values) -> int:
        self.taken.append(packed)
        return 1

    def device_control(self, device: str, code: int, data: bytes = b"", **_: Any) -> Any:
        self.taken.append(abi.record(_RULE).unpack(data))


class _Handle:
    """The handle of a program that a rule is about."""

    slot = 0

    def __init__(self, program: Any) -> None:
        self.program = program


class _Root:
    def __init__(self, test_root: RegistryPath | None) -> None:
        self.test_root = test_root


def packs(chain: str, values: Values, step: str, imports: Imports, root: RegistryPath | None) -> bool:
    """Whether ``FILTER.<chain>`` packs `values`; `step` is the variable of a handle in it, or empty."""
    taking: Any = _Taking()
    namespace: dict[str, Any] = {"registry": _Root(root)}
    exec("\n".join(imports.lines()), namespace)
    if step:
        namespace[step] = _Handle(taking)
    namespace["filter"] = Filter(taking, 0, altitude="1", cookie=0, context=0, legacy=False, name="filter")
    eval(f"filter.{chain}", namespace)
    return len(taking.taken) == 1 and _packed(taking.taken[0]) == _packed(values)


def _packed(values: Values) -> bytes:
    fields = {
        name: value & 0xFFFF_FFFF if name in ("status", "match_status") and isinstance(value, int) else value
        for name, value in values.items()
        if name not in ("filter_id", "abi_version", "size", "handle")
    }
    return abi.record(_RULE).pack(**fields)
