"""Asking a claim of a replay: the same statements, about what the replay did."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.between import Between
from harness.guest.base import Guest
from harness.probe.client import Probe
from harness.probe.event import Event, class_name
from harness.probe.filters import Filter
from harness.probe.kernel import KernelCallResult
from harness.probe.trace import Trace
from harness.registry.status import nt_success, status_name
from harness.repro.claim import Binding, BindingKind, Claim
from harness.repro.failure import Failure, comparable
from harness.results.model import MAX_RECORDED, clip
from harness.results.outcome import Outcome
from harness.workload.registry import Registry
from harness.workload.step import Step

__all__ = ["Live", "evaluate", "shown"]

_MAX_ITEMS: Final = 200


class _DifferenceError(Exception):
    """An assertion of a claim failed; `left` and `right` are what it compared."""

    def __init__(self, left: object, right: object = None, *, compared: bool = True) -> None:
        super().__init__()
        self.left, self.right, self.compared = left, right, compared


@dataclass(frozen=True, slots=True)
class Live:
    """The objects of a replay under the places they have in the journal."""

    guest: Guest
    probe: Probe | None
    registry: Registry
    steps: Mapping[tuple[int, int], Step]
    filters: Mapping[int, Filter]
    kernel_calls: Mapping[int, KernelCallResult]

    def value(self, binding: Binding, imported: Mapping[str, Any]) -> Any:
        """What a name stands for. Raises KeyError where the replay has no such thing."""
        match binding.kind:
            case BindingKind.STEP:
                return self.steps[binding.call, binding.operation]
            case BindingKind.FILTER:
                return self.filters[binding.call]
            case BindingKind.KERNEL_CALL:
                return self.kernel_calls[binding.call]
            case BindingKind.FIXTURE:
                return self._fixture(binding.code)
            case BindingKind.CODE:
                return eval(binding.code, {**imported, "registry": self.registry})
            case BindingKind.BETWEEN:
                above, below = (self.value(item, imported) for item in binding.items)
                assert self.probe is not None
                return Between(self.guest, self.probe, binding.service, 0, above, below)
            case _:
                parts = [self.value(item, imported) for item in binding.items]
                if binding.kind is BindingKind.DICT:
                    return dict(zip(binding.keys, parts, strict=True))
                return parts if binding.kind is BindingKind.LIST else tuple(parts)

    def _fixture(self, name: str) -> Any:
        match name:
            case "probe":
                if self.probe is None:
                    raise KeyError("probe")
                return self.probe
            case "registry":
                return self.registry
            case "guest":
                return self.guest
            case _:
                from harness.targets import parse_target

                return parse_target(self.guest.info.name)


def evaluate(claim: Claim, live: Live) -> Failure | None:
    """The failure when the claim does not hold, None when it does.

    A claim that can't be asked, because what it speaks of is not there, is another failure.
    """
    if claim.expectations:
        return _expected(claim, live)
    namespace: dict[str, Any] = {}
    tree = _Marked().visit(ast.parse(claim.source))
    statement = ast.unparse(ast.parse(claim.source).body[-1])
    try:
        exec("\n".join(claim.imports), namespace)
        imported = dict(namespace)
        namespace |= {name: live.value(each, imported) for name, each in claim.bindings.items()}
        namespace["_Difference"] = _DifferenceError
        exec(compile(ast.fix_missing_locations(tree), "<claim>", "exec"), namespace)
    except _DifferenceError as error:
        seen = {"left": shown(error.left), "right": shown(error.right)} if error.compared else {}
        seen["value"] = shown(error.left)
        seen |= _statuses(claim, live, statement)
        message = f"{statement}: {seen.get('left', seen['value'])}"
        return Failure(Outcome.FAIL, "AssertionError", message=clip(message, MAX_RECORDED), seen=seen)
    except AssertionError as error:  # of a helper of the test's own
        seen = {"message": comparable(str(error)), **_statuses(claim, live, statement)}
        return Failure(Outcome.FAIL, "AssertionError", message=clip(str(error), MAX_RECORDED), seen=seen)
    except Exception as error:  # anything may happen where an operation it needs has failed
        text = f"{type(error).__name__}: {error}"
        return Failure(Outcome.FAIL, type(error).__name__, message=clip(text, MAX_RECORDED))
    return None


def _expected(claim: Claim, live: Live) -> Failure | None:
    seen: dict[str, str] = {}
    lines = []
    for each in claim.expectations:
        step = live.steps[each.call, each.operation]
        right = step.status in each.statuses if each.statuses else nt_success(step.status)
        if right:
            continue
        names = " or ".join(status_name(status) for status in each.statuses) or "success"
        name = step.operation.opcode.name.lower()
        seen[f"status of operation {each.operation} of call {each.call}"] = status_name(step.status)
        lines.append(f"{name} returned {status_name(step.status)}, expected {names}")
    if not lines:
        return None
    return Failure(Outcome.FAIL, "UnexpectedStatusError", message="; ".join(lines), seen=seen)


def _statuses(claim: Claim, live: Live, statement: str) -> dict[str, str]:
    """The statuses of the operations that the claim speaks of: they tell one failure from another."""
    found = {}
    for name, binding in claim.bindings.items():
        for leaf in binding.leaves():
            if leaf.kind is BindingKind.STEP:
                step = live.steps[leaf.call, leaf.operation]
                key = f"{name}.status" if binding is leaf else f"{name}[{leaf.operation}].status"
                found[key] = status_name(step.status)
    return found


class _Marked(ast.NodeTransformer):
    """Turns each assertion into one that tells what it compared."""

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            left, right = ast.Name("_left", ast.Load()), ast.Name("_right", ast.Load())
            return [
                _assigned("_left", test.left),
                _assigned("_right", test.comparators[0]),
                _raising(ast.Compare(left, test.ops, [right]), left, right),
            ]
        value = ast.Name("_left", ast.Load())
        return [_assigned("_left", test), _raising(value, value)]


def _assigned(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _raising(test: ast.expr, *values: ast.expr) -> ast.stmt:
    compared = [ast.keyword("compared", ast.Constant(len(values) > 1))]
    call = ast.Call(ast.Name("_Difference", ast.Load()), list(values), compared)
    return ast.If(ast.UnaryOp(ast.Not(), test), [ast.Raise(call, None)], [])


def shown(value: object) -> str:
    """A value in the form in which two runs of the same thing agree."""
    match value:
        case Trace():
            return _listed(_event(event) for event in value[:_MAX_ITEMS])
        case Event():
            return _event(value)
        case Step():
            return f"{value.operation.opcode.name.lower()} {value.status_name}"
        case Filter():
            return value.name
        case bytes():
            return value[:_MAX_ITEMS].hex()
        case list() | tuple():
            return _listed(shown(item) for item in value[:_MAX_ITEMS])
        case set() | frozenset():
            return _listed(sorted(map(shown, value))[:_MAX_ITEMS])
        case dict():
            return _listed(f"{key}: {shown(item)}" for key, item in list(value.items())[:_MAX_ITEMS])
        case None | bool() | int() | str():
            return clip(str(value), MAX_RECORDED)
        case _:
            return type(value).__name__


def _listed(items: Iterable[str]) -> str:
    return clip(f"[{', '.join(items)}]", MAX_RECORDED)


def _event(event: Event) -> str:
    status = f" {status_name(event.status)}" if event.is_post else ""
    returned = f" -> {status_name(event.returned)}" if event.returned else ""
    return f"{event.filter_name} {class_name(event.notify_class)}{status}{returned}"
