"""Rule records: made in the driver one by one for the same conditions, and taken back together."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from harness.cleanup import after
from harness.errors import UsageError
from harness.probe import abi
from harness.probe.conditions import Conditions
from harness.probe.enums import Action
from harness.registry.notify import NotifyClass, Pre
from harness.registry.status import status_name

if TYPE_CHECKING:
    from harness.probe.filters import Filter

__all__ = ["Rule", "RuleChain"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule record in the driver. `step` is set when a program sets the rule."""

    filter: Filter
    action: Action
    assigned_id: int = 0
    step: Any = None

    @property
    def id(self) -> int:
        """The driver's number. Raises `UsageError` while the program that sets the rule has not run."""
        if self.step is None:
            return self.assigned_id
        if self.step.status >= 0x8000_0000:
            raise UsageError(f"the program could not set the rule: {status_name(self.step.status)}")
        return int(abi.record("REGPROBE_RULE_REPLY").unpack(self.step.output)["rule_id"])

    def remove(self) -> None:
        """Clear this rule."""
        self.filter.probe.clear_rules(self.filter, self.id)


class RuleChain:
    """The rules made for one set of conditions, in their order; base of `RuleBuilder`.

    As a context manager it removes its rules at the end of the block.
    """

    def __init__(self, filter: Filter, conditions: Conditions) -> None:
        self._filter = filter
        self._conditions = conditions
        self._ended: Action | None = None
        #: The rules made so far, in the order in which they are looked at.
        self.rules: list[Rule] = []

    def __repr__(self) -> str:
        names = ", ".join(sorted(each.documented_name for each in self._conditions.classes))
        actions = ", ".join(rule.action.name.lower() for rule in self.rules) or "no action yet"
        return f"<rule of {self._filter} on {names}: {actions}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        with after(error):
            self.remove()

    def remove(self) -> None:
        """Clear the rules made by this builder; nothing to do when the filter is gone."""
        rules, self.rules = self.rules, []
        self._ended = None
        for rule in rules:
            if not self._filter.removed:
                rule.remove()

    # -- adding ---------------------------------------------------------------------------------------

    def _add(self, action: Action, flags: int = 0, /, **fields: int | bytes) -> Self:
        """Add one rule by the members of its record. Raises `UsageError` behind one that ends the chain."""
        if self._ended is not None:
            raise UsageError(
                f"{self._ended.name.lower()} ends the chain; {action.name.lower()} would never run"
            )
        values: dict[str, int | bytes] = {
            **self._conditions.fields,
            **fields,
            "filter_id": self._filter.id,
            "action": int(action),
            "action_flags": flags,
        }
        if "status" in values:
            values["status"] = int(values["status"]) & 0xFFFF_FFFF
        self.rules.append(self._send(action, values))
        if action.is_terminal:
            self._ended = action
        return self

    def _send(self, action: Action, values: dict[str, int | bytes]) -> Rule:
        step = self._conditions.step
        if step is None:
            return Rule(self._filter, action, self._filter.probe.set_rule(values))
        record = abi.record("REGPROBE_RULE")
        sent = step.program.device_control(
            abi.DEVICE,
            abi.constant("IOCTL_REGPROBE_SET_RULE"),
            record.pack(**values),
            output=abi.record("REGPROBE_RULE_REPLY").size,
            handles={record.offset("handle"): step},
        )
        return Rule(self._filter, action, step=sent)

    # -- where an action makes sense ------------------------------------------------------------------

    def _needs_pre(self, what: str) -> None:
        if not self._conditions.only_pre:
            raise UsageError(f"{what} is for pre notifications; in post use override() or return_()")

    def _needs_post(self, what: str) -> None:
        if not self._conditions.only_post:
            raise UsageError(f"{what} is for post notifications; in pre use block(), bypass() or return_()")

    def _modifiable(self, what: str) -> None:
        if Pre.KeyHandleClose in self._conditions.classes:
            raise UsageError(
                f"a handle close can't be changed, {what} has no effect (B-NOT-36); return_() sends it"
            )

    def _only(self, allowed: frozenset[Any] | set[NotifyClass], what: str, where: str) -> None:
        others = self._conditions.classes - allowed
        if others:
            names = ", ".join(sorted(each.documented_name for each in others))
            raise UsageError(f"{what} is for {where}, not for {names}")
