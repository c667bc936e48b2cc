"""A scenario as a pytest test that anybody can read, run and keep."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from harness.probe import abi
from harness.registry.paths import RegistryPath
from harness.repro.claim import Binding, BindingKind, Claim
from harness.repro.layout import INDENT, sorted_imports, wrapped
from harness.repro.literal import Imports, code_of
from harness.repro.names import Names
from harness.repro.render_calls import CallSource, is_probe
from harness.repro.render_filters import filter_source, kernel_call_source
from harness.repro.render_program import ProgramSource
from harness.repro.render_rules import RuleSource
from harness.repro.scenario import (
    Action,
    AddFilter,
    KernelCall,
    Other,
    ProbeChange,
    RemoveFilter,
    RunProgram,
    Scenario,
    SetRule,
)
from harness.results.outcome import Outcome

__all__ = ["TEST", "TestSource", "render"]

#: What the written function is called.
TEST: Final = "test_reproduced"


@dataclass(frozen=True, slots=True)
class TestSource:
    """A test file's text, and the files that belong beside it: name -> member of the bundle."""

    __test__ = False  # not a test class, whatever its name says

    text: str
    beside: Mapping[str, str] = field(default_factory=dict)


def render(scenario: Scenario, docstring: str) -> TestSource:
    """The test of a scenario. Raises `NotPlainError` for what can't be put into source."""
    return _Renderer(scenario).render(docstring)


class _Renderer:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._imports = Imports()
        self._rules = RuleSource(scenario.test_root, self._imports)
        self._root = RegistryPath(scenario.test_root) if scenario.test_root else None
        self._fixtures: set[str] = set()
        self._variables = Names({"p", "probe", "registry", "guest", "target"})
        self._names: dict[tuple[int, int], str] = {}
        self._aliases: dict[str, str] = {}
        self._lines: list[str] = []
        self._calls = CallSource(self._variables, self._imports)
        # A probe that only answers requests is a driver like any other, also where there are no callbacks.
        uses_probe = _uses_probe(scenario)
        self._written = tuple(each for each in scenario.actions if not (uses_probe and is_probe(each)))
        if len(self._written) < len(scenario.actions):
            self._fixtures.add("probe")
        self._bind(scenario.claim)

    def render(self, docstring: str) -> TestSource:
        body = [line for action in self._written for line in self._action(action)]
        body += list(self._claim())
        body += list(self._calls.unload(self._written))
        if not body:
            body = ["pass"]
        fixtures = ", ".join(self._parameters())
        imports = [*self._imports.lines(), *self._lines]
        text = "\n".join(
            [
                f'"""{docstring.strip()}\n"""',
                "",
                "from __future__ import annotations",
                "",
                *sorted_imports([*imports, *(["from pathlib import Path"] if self._calls.beside else [])]),
                "",
                "",
                f"def {TEST}({fixtures}) -> None:",
                textwrap.indent("\n".join(body), INDENT, lambda line: bool(line.strip())),
                "",
            ]
        )
        return TestSource(wrapped(text), self._calls.beside)

    def _parameters(self) -> Iterator[str]:
        homes = {
            "guest": ("harness.guest", "Guest"),
            "probe": ("harness.probe", "Probe"),
            "registry": ("harness.workload", "Registry"),
            "target": ("harness.targets", "Target"),
        }
        for fixture, home in homes.items():
            if fixture in self._fixtures:
                yield f"{fixture}: {self._imports.add(*home)}"

    # -- names ----------------------------------------------------------------------------------------

    def _bind(self, claim: Claim | None) -> None:
        """The names that the claim knows things by."""
        if claim is None:
            return
        for name, binding in claim.bindings.items():
            self._variables.take(name)
            place = _place(binding)
            if place is None:
                continue
            if place in self._names:
                self._aliases[name] = self._names[place]
            else:
                self._names[place] = name
        for name, binding in claim.bindings.items():
            for leaf in binding.leaves():
                place = _place(leaf)
                if place is not None and place not in self._names:
                    self._names[place] = self._variables.free(f"{_stem(name)}_{len(self._names)}")

    # -- actions --------------------------------------------------------------------------------------

    def _action(self, action: Action) -> Iterator[str]:
        match action:
            case AddFilter():
                self._fixtures.add("probe")
                place = action.call, -1
                if place not in self._names and not action.refused and self._needs_name(action.call):
                    self._names[place] = self._variables.free(_filter_name(action.altitude))
                name = self._names.get(place)
                line = filter_source(action, self._imports)
                yield f"{name} = {line}" if name is not None else line
            case SetRule():
                yield self._rules.rule(self._filter(action.filter), action.values)
            case RemoveFilter():
                yield self._removal(action)
            case KernelCall():
                self._fixtures.add("probe")
                line = kernel_call_source(action, self._imports, self._root)
                name = self._names.get((action.call, -1))
                yield f"{name} = {line}" if name is not None else line
            case ProbeChange():
                self._fixtures.add("probe")
                if action.code == "IOCTL_REGPROBE_RESET":
                    yield "probe.reset()"
                else:
                    yield f"probe.clear_rules({self._names.get((action.filter, -1), '')})"
            case RunProgram():
                yield from self._program(action)
            case Other():
                self._fixtures.add("guest")
                yield from self._calls.lines(action)

    def _needs_name(self, call: int) -> bool:
        """Whether anything speaks of the filter."""
        for action in self._scenario.actions:
            if isinstance(action, SetRule | RemoveFilter | ProbeChange) and action.filter == call:
                return True
            if isinstance(action, RunProgram) and any(each.filter == call for each in action.operations):
                return True
        return False

    def _filter(self, call: int) -> str:
        return self._names.get((call, -1), "probe.filters[0]")

    def _removal(self, action: RemoveFilter) -> str:
        if action.filter >= 0:
            apc = int(action.values["flags"]) & 2
            return f"{self._filter(action.filter)}.remove({'at_apc_level=True' if apc else ''})"
        return f"probe.unregister_cookie({int(action.values['cookie']):#x})"

    def _program(self, action: RunProgram) -> Iterator[str]:
        self._fixtures.add("registry")
        claim = self._scenario.claim
        expected = {
            each.operation: each.statuses
            for each in (claim.expectations if claim is not None else ())
            if each.call == action.call
        }
        names = {operation: name for (call, operation), name in self._names.items() if call == action.call}
        names.pop(-1, None)
        source = ProgramSource(
            action, self._scenario.test_root, names, expected, self._variables, self._imports
        )
        yield ""
        yield "with registry.program() as p:"
        if any(not statuses for statuses in expected.values()):
            yield f"{INDENT}p.check_all()"
        for line in source.lines(lambda each: self._in_program(each, source)):
            yield INDENT + line
        yield ""

    def _in_program(self, each: Any, source: ProgramSource) -> list[str] | None:
        """What stands in a program for an operation that sets a rule or removes a filter."""
        operation = each.operation
        if each.filter < 0 or operation.data is None:
            return None
        name = self._filter(each.filter)
        if operation.code == abi.constant("IOCTL_REGPROBE_REMOVE_FILTER"):
            return [f"{name}.remove_in(p)"]
        values = abi.record("REGPROBE_RULE").unpack(operation.data)
        values = {key: value for key, value in values.items() if key not in ("abi_version", "size")}
        step = source.handle(operation.patches[0][1]) if operation.patches else ""
        return [self._rules.rule(name, values, step=step)] if step else None

    # -- the claim ------------------------------------------------------------------------------------

    def _claim(self) -> Iterator[str]:
        claim = self._scenario.claim
        if claim is None or claim.expectations:
            if self._scenario.failure.outcome is not Outcome.FAIL:
                yield f"# {self._scenario.failure.outcome}: the guest does not get as far as here."
            return
        yield ""
        for name, original in self._aliases.items():
            yield f"{name} = {original}"
        for name, binding in claim.bindings.items():
            text = self._bound(name, binding)
            if text:
                yield f"{name} = {text}"
        self._lines += claim.imports
        yield from claim.source.split("\n")

    def _bound(self, name: str, binding: Binding) -> str:
        """What a name of the claim is assigned; empty where it has its meaning already."""
        match binding.kind:
            case BindingKind.FIXTURE:
                self._fixtures.add(binding.code)
                return ""
            case BindingKind.CODE:
                if "registry." in binding.code:
                    self._fixtures.add("registry")
                return binding.code
            case BindingKind.LIST | BindingKind.TUPLE | BindingKind.DICT | BindingKind.BETWEEN:
                return self._container(binding)
            case _:
                return ""

    def _container(self, binding: Binding) -> str:
        place = _place(binding)
        if place is not None:
            return self._names[place]
        if binding.kind is BindingKind.CODE:
            return binding.code
        parts = [self._container(item) for item in binding.items]
        match binding.kind:
            case BindingKind.LIST:
                return f"[{', '.join(parts)}]"
            case BindingKind.TUPLE:
                return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
            case BindingKind.DICT:
                pairs = zip(binding.keys, parts, strict=True)
                return "{" + ", ".join(f"{code_of(key, self._imports)}: {part}" for key, part in pairs) + "}"
            case _:
                self._fixtures |= {"guest", "probe"}
                self._imports.add("harness.between", "Between")
                return (
                    f"Between(guest, probe, {code_of(binding.service, self._imports)}, 0, {', '.join(parts)})"
                )


def _place(binding: Binding) -> tuple[int, int] | None:
    if binding.kind is BindingKind.STEP:
        return binding.call, binding.operation
    if binding.kind in (BindingKind.FILTER, BindingKind.KERNEL_CALL):
        return binding.call, -1
    return None


def _uses_probe(scenario: Scenario) -> bool:
    """Whether filters, rules or traces are in it."""
    claim = scenario.claim
    leaves = claim.leaves() if claim is not None else ()
    asked = any(leaf.kind is BindingKind.FIXTURE and leaf.code == "probe" for leaf in leaves)
    return asked or any(
        any(each.filter >= 0 for each in action.operations)
        if isinstance(action, RunProgram)
        else not isinstance(action, Other)
        for action in scenario.actions
    )


def _stem(name: str) -> str:
    return name[:-1] if name.endswith("s") and len(name) > 2 else name


def _filter_name(altitude: str) -> str:
    digits = re.sub(r"\W+", "_", altitude, flags=re.ASCII).strip("_")
    return f"filter_{digits}" if digits else "legacy_filter"
