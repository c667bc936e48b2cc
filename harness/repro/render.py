"""A scenario as a pytest test that anybody can read, run and keep."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from harness.probe import abi
from harness.repro.claim import Binding, BindingKind, Claim
from harness.repro.journal import CallKind
from harness.repro.literal import Imports, code_of, status_code
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

_INDENT: Final = "    "
_WIDTH: Final = 110


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
        self._fixtures: set[str] = set()
        self._beside: dict[str, str] = {}
        self._taken = {"p", "probe", "registry", "guest", "target"}
        self._names: dict[tuple[int, int], str] = {}
        self._aliases: dict[str, str] = {}
        self._devices: dict[int, str] = {}
        self._lines: list[str] = []
        # A probe that only answers requests is a driver like any other, also where there are no callbacks.
        self._uses_probe = _uses_probe(scenario)
        self._bind(scenario.claim)

    def render(self, docstring: str) -> TestSource:
        body = [line for action in self._scenario.actions for line in self._action(action)]
        body += list(self._claim())
        body += list(self._unload())
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
                *_sorted_imports([*imports, *(["from pathlib import Path"] if self._beside else [])]),
                "",
                "",
                f"def {TEST}({fixtures}) -> None:",
                textwrap.indent("\n".join(body), _INDENT, lambda line: bool(line.strip())),
                "",
            ]
        )
        return TestSource(_wrapped(text), self._beside)

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
            self._taken.add(name)
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
                    self._names[place] = self._free(f"{_stem(name)}_{len(self._names)}")

    def _free(self, stem: str) -> str:
        number = 1
        while (name := stem if number == 1 else f"{stem}_{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name

    # -- actions --------------------------------------------------------------------------------------

    def _action(self, action: Action) -> Iterator[str]:
        match action:
            case AddFilter():
                self._fixtures.add("probe")
                place = action.call, -1
                if place not in self._names and not action.refused and self._needs_name(action.call):
                    self._names[place] = self._free(_filter_name(action.altitude))
                name = self._names.get(place)
                line = self._rules.filter(action)
                yield f"{name} = {line}" if name is not None else line
            case SetRule():
                yield self._rules.rule(self._filter(action.filter), action.values)
            case RemoveFilter():
                yield self._removal(action)
            case KernelCall():
                self._fixtures.add("probe")
                line = self._rules.kernel_call(action)
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
                yield from self._other(action)

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
        source = ProgramSource(action, self._scenario.test_root, names, expected, self._taken, self._imports)
        yield ""
        yield "with registry.program() as p:"
        if any(not statuses for statuses in expected.values()):
            yield f"{_INDENT}p.check_all()"
        for line in source.lines(lambda each: self._in_program(each, source)):
            yield _INDENT + line
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

    # -- drivers, files, devices ----------------------------------------------------------------------

    def _other(self, action: Other) -> Iterator[str]:
        record = action.record
        if self._uses_probe and _is_probe(action):
            self._fixtures.add("probe")
            return
        self._fixtures.add("guest")
        code = self._code
        match record.kind:
            case CallKind.INSTALL:
                file = f"{re.sub(r'[^A-Za-z0-9_-]+', '_', record.service)}.sys"
                self._beside[file] = record.member
                image = f'Path(__file__).with_name("{file}").read_bytes()'
                more = f", parameters={code(dict(action.parameters))}" if action.parameters else ""
                yield f"guest.install_driver({code(record.service)}, {image}{more})"
            case CallKind.START:
                started = f"guest.start_driver({code(record.service)})"
                status = record.status
                yield (
                    started if status is None else f"assert {started} == {status_code(status, self._imports)}"
                )
            case CallKind.STOP:
                yield f"guest.stop_driver({code(record.service)})"
            case CallKind.REMOVE:
                yield f"guest.remove_driver({code(record.service)})"
            case CallKind.OPEN:
                name = self._devices[record.held] = self._free("device")
                yield f"{name} = guest.open_device({code(record.device)})"
            case CallKind.CLOSE:
                if record.held in self._devices:
                    yield f"{self._devices[record.held]}.close()"
            case CallKind.REQUEST:
                held = self._devices.get(record.held)
                to = f"{held}.ioctl(" if held else f"guest.ioctl({code(record.device)}, "
                data = f", {code(action.data)}" if action.data else ""
                output = f", output={record.output}" if record.output else ""
                yield f"{to}{record.code:#x}{data}{output})"
            case CallKind.PUT:
                yield f"guest.put({code(record.path)}, {code(action.data)})"
            case CallKind.EXECUTE:
                folder = f", folder={code(record.path)}" if record.path else ""
                timeout = f", timeout={record.timeout:g}" if record.timeout != 60.0 else ""
                yield f"guest.execute({code(list(record.argv))}{timeout}{folder})"
            case CallKind.READ:
                yield f"guest.read_device({code(record.device)}, {record.length})"
            case CallKind.WRITE:
                yield f"guest.write_device({code(record.device)}, {code(action.data)})"
            case CallKind.PROGRAM:
                raise AssertionError("programs are no other calls")

    def _code(self, value: object) -> str:
        return code_of(value, self._imports)

    def _unload(self) -> Iterator[str]:
        """Drivers that are still there, so that a test that passes leaves none."""
        left: dict[str, str] = {}
        for action in self._scenario.actions:
            if isinstance(action, Other) and not (self._uses_probe and _is_probe(action)):
                if action.record.kind is CallKind.INSTALL:
                    left[action.record.service.lower()] = action.record.service
                elif action.record.kind is CallKind.REMOVE:
                    left.pop(action.record.service.lower(), None)
        for service in reversed(list(left.values())):
            yield f"guest.remove_driver({self._code(service)})"

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
                return "{" + ", ".join(f"{self._code(key)}: {part}" for key, part in pairs) + "}"
            case _:
                self._fixtures |= {"guest", "probe"}
                self._imports.add("harness.between", "Between")
                return f"Between(guest, probe, {self._code(binding.service)}, 0, {', '.join(parts)})"


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


def _is_probe(action: Other) -> bool:
    from harness.probe.client import SERVICE

    record = action.record
    on_device = record.kind in (CallKind.OPEN, CallKind.CLOSE) and (
        record.device.lower() == abi.DEVICE.lower() or not record.device
    )
    return record.service.lower() == SERVICE or on_device


def _sorted_imports(lines: list[str]) -> list[str]:
    """Standard library first, one line a module."""
    merged: dict[str, set[str]] = {}
    plain: set[str] = set()
    for line in dict.fromkeys(lines):
        found = re.fullmatch(r"from (\S+) import (.+)", line)
        if found is None:
            plain.add(line)
        else:
            merged.setdefault(found[1], set()).update(found[2].split(", "))
    listed = sorted(plain) + [
        f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(merged.items())
    ]
    first = [line for line in listed if not re.match(r"(from|import) (harness|suites|tests)\b", line)]
    rest = [line for line in listed if line not in first]
    return [*first, *([""] if first and rest else []), *rest]


def _wrapped(text: str) -> str:
    """One blank line at a time inside the function, none at its ends; long lines broken where they may be."""
    lines: list[str] = []
    for line in text.split("\n"):
        if not line.strip() and lines and not lines[-1].strip() and len(lines) > 3 and line == "":
            if len(lines) > 1 and lines[-2].startswith(("from ", "import ")):
                lines.append("")
            continue
        if line.startswith(_INDENT) and lines and lines[-1] == "" and lines[-2].startswith("def "):
            lines.pop()
        lines.extend(_broken(line))
    return "\n".join(lines).rstrip() + "\n"


def _broken(line: str) -> list[str]:
    if len(line) <= _WIDTH:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    head, bracket, rest = line.partition("(")
    if not bracket or not rest.endswith(")"):
        return [line]
    inside = rest[:-1]
    candidate = [f"{head}(", f"{indent}{_INDENT}{inside}", f"{indent})"]
    try:
        ast.parse(textwrap.dedent("\n".join(candidate)))
    except SyntaxError:
        return [line]
    return candidate
