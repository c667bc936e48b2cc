"""A recorded program as source: the builder's methods, one line an operation.

Every line is proven: it is run against a builder, and the operation it records must be the recorded one. What
the methods can't say is written with `record` and its fields.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from harness.errors import HarnessError
from harness.registry.paths import MACHINE, USER, RegistryPath
from harness.repro.forms import FORMS, Argument, Form, Kind
from harness.repro.literal import Imports, NotPlainError, access_code, code_of, status_code
from harness.repro.names import Names
from harness.repro.recording_proof import HANDLE_FIELDS, Proof
from harness.repro.scenario import RunProgram, Slotted
from harness.workload.builder import ProgramBuilder
from harness.workload.files import REG_PROCESS_APPKEY
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation
from harness.workload.recorder import PROCESSES
from harness.workload.registry import HARNESS_KEY
from harness.workload.values import TypedValue, encode_value, python_value
from harness.workload.win32 import HKEY_LOCAL_MACHINE, Win32Operations

__all__ = ["ProgramSource"]

_INDENT: Final = "    "
_ROLES: Final = {number: name for name, number in PROCESSES.items()}
#: Fields that say where an operation runs, which stands around it.
_PLACES: Final = ("process", "thread", "background")


class ProgramSource:
    """Writes one program. `names` are variables that operations must have, by their index."""

    def __init__(
        self,
        program: RunProgram,
        root: str,
        names: Mapping[int, str],
        expected: Mapping[int, tuple[int, ...]],
        variables: Names,
        imports: Imports,
    ) -> None:
        self._program = program
        self._names = dict(names)
        self._expected = expected
        self._variables = variables
        self._imports = imports
        self._proof = Proof(RegistryPath(root) if root else HARNESS_KEY / "test", imports)
        #: Slot of the recorded program -> the variable that stands for it.
        self._slots: dict[int, str] = {}

    def lines(self, instead: Callable[[Slotted], list[str] | None]) -> Iterator[str]:
        """The statements of the ``with`` block; `instead` gives those of operations about filters."""
        used = self._used()
        place = ""
        for each in self._program.operations:
            here = _where(each.operation)
            if here and here != place:
                yield f"with p.on({here}):"
            place = here
            indent = _INDENT if here else ""
            for line in self._operation(each, used, instead):
                yield indent + line

    def handle(self, slot: int) -> str:
        """The variable of a slot."""
        return self._slots[slot]

    def _used(self) -> set[int]:
        """Slots that some operation reads after they were filled."""
        used: set[int] = set()
        for each in self._program.operations:
            slots = list(each.operation.slots())
            if each.operation.out is not None:
                slots.remove(each.operation.out)
            used.update(slots)
        return used

    def _operation(
        self, each: Slotted, used: set[int], instead: Callable[[Slotted], list[str] | None]
    ) -> Iterator[str]:
        operation = each.operation
        yield from self._null_handles(operation)
        if (rule := instead(each)) is not None:
            yield from rule
            return
        name = self._names.get(each.index)
        if name is None and operation.out is not None and operation.out in used:
            name = self._new_name(operation)
        call = self._proven(each)
        expected = self._expected.get(each.index)
        if expected:
            codes = [status_code(status, self._imports) for status in expected]
            listed = codes[0] if len(codes) == 1 else f"({', '.join(codes)})"
            call = f"{call[:-1]}{'' if call.endswith('(') or call[-2] == '(' else ', '}expect={listed})"
        if operation.out is not None and name is not None:
            self._slots[operation.out] = name
            self._proof.name_last(name)
        yield f"{name} = {call}" if name is not None else call

    def _null_handles(self, operation: Operation) -> Iterator[str]:
        """A slot that nothing fills is NULL on purpose."""
        slots = list(operation.slots())
        if operation.out is not None:
            slots.remove(operation.out)
        for slot in slots:
            if slot not in self._slots:
                name = self._variables.free("null")
                self._slots[slot] = name
                self._proof.name_null(name)
                yield f"{name} = p.null_handle()"

    def _proven(self, each: Slotted) -> str:
        """The call that records the operation, and records it in the proof."""
        for write in (self._by_method, self._by_fields):
            try:
                with self._imports.tentative():
                    call = write(each.operation)
                    if self._proof.records(call, each.operation, self._slots):
                        return call
            except (NotPlainError, HarnessError):
                continue
        raise NotPlainError(f"{each.operation.opcode.name.lower()} can't be written")

    # -- by methods -----------------------------------------------------------------------------------

    def _by_method(self, operation: Operation) -> str:
        form = FORMS.get(operation.opcode)
        if form is None:
            raise NotPlainError("no method")
        parameters = _signature(form)
        arguments = [self._argument(argument, operation) for argument in form.positional]
        arguments += self._root_keyword(form, operation)
        for argument in form.keywords:
            text = self._keyword(argument, operation, parameters)
            if text is not None:
                arguments.append(f"{argument.parameter}={text}")
        arguments += self._type_keyword(form, operation)
        return f"p.{form.method}({', '.join(arguments)})"

    def _argument(self, argument: Argument, operation: Operation) -> str:
        value = getattr(operation, argument.field)
        match argument.kind:
            case Kind.HANDLE:
                return self._slots[value]
            case Kind.KEY:
                return self._key(operation)
            case Kind.WIN32_KEY:
                return self._win32_key(operation)
            case Kind.VALUE:
                return self._value(operation)[0]
            case Kind.FILE:
                return self._plain(self._proof.own_name(value))
            case Kind.TEXTS:
                return self._plain(list(value))
            case Kind.ACCESS:
                return access_code(value, self._imports)
            case Kind.EXCLUSIVE:
                return repr(value == REG_PROCESS_APPKEY)
            case Kind.HANDLES:
                pairs = ", ".join(f"{offset}: {self._slots[slot]}" for offset, slot in value)
                return f"{{{pairs}}}"
            case Kind.PROCESS:
                return f'"{_ROLES[value]}"'
            case _:
                return self._plain(value)

    def _keyword(self, argument: Argument, operation: Operation, parameters: Mapping[str, Any]) -> str | None:
        """The argument's text; None where the method's default gives the same."""
        value = getattr(operation, argument.field)
        default = parameters[argument.parameter].default
        if argument.kind is Kind.HANDLE and value is None:
            return None
        if argument.kind in (Kind.HANDLES, Kind.DATA) and not value:
            return None
        if argument.kind is Kind.EXCLUSIVE:
            return None if value is None else "True"
        if argument.kind is not Kind.HANDLE and value == default:
            return None
        if argument.parameter == "form" and operation.opcode in (Opcode.LOAD_KEY, Opcode.UNLOAD_KEY):
            return None if value == self._implied_form(operation) else str(value)
        return self._argument(argument, operation)

    @staticmethod
    def _implied_form(operation: Operation) -> int:
        if operation.event is not None or operation.trust is not None or operation.access:
            return 3
        return 2 if operation.flags else 1

    def _key(self, operation: Operation) -> str:
        if operation.root is None:
            if operation.name is None:
                return "None"
            return self._path(operation.name)
        if operation.name and not operation.name.startswith("\\"):
            return f"{self._slots[operation.root]} / {self._plain(operation.name)}"
        return self._plain(operation.name)

    def _root_keyword(self, form: Form, operation: Operation) -> list[str]:
        """`root=` where ``key / "sub"`` can't say it."""
        kinds = {argument.kind for argument in form.positional}
        if operation.root is None or not kinds & {Kind.KEY, Kind.WIN32_KEY}:
            return []
        if operation.name and not operation.name.startswith("\\"):
            return []
        return [f"root={self._slots[operation.root]}"]

    def _win32_key(self, operation: Operation) -> str:
        if operation.root is not None:
            return self._key(operation)
        base = MACHINE if operation.predefined == HKEY_LOCAL_MACHINE else USER
        return self._path(str(base / operation.name) if operation.name else str(base))

    def _path(self, path: str) -> str:
        return self._plain(path).replace("registry.test_root", "p.test_root", 1)

    def _value(self, operation: Operation) -> tuple[str, str]:
        """The value, and the type where the value doesn't imply it."""
        data, kind = operation.data, operation.type
        if data is None:
            return "None", "" if kind == 0 else str(kind)
        value = python_value(kind, data)
        listed = list(value) if isinstance(value, tuple) else value
        for given, text in ((None, ""), (kind, str(kind))):
            typed = encode_value(listed, given)
            if (typed.type, typed.data) == (kind, data):
                return self._plain(listed), text
        self._imports.add("harness.workload", TypedValue.__name__)
        return f"TypedValue({kind}, {self._plain(data)})", ""

    def _type_keyword(self, form: Form, operation: Operation) -> list[str]:
        if not any(argument.kind is Kind.VALUE for argument in form.positional):
            return []
        text = self._value(operation)[1]
        return [f"type={text}"] if text else []

    # -- by fields ------------------------------------------------------------------------------------

    def _by_fields(self, operation: Operation) -> str:
        parts = [f"Opcode.{operation.opcode.name}"]
        self._imports.add("harness.workload", "Opcode")
        for name, value in operation.given().items():
            if name in _PLACES:
                continue
            if name == "out":
                parts.append("out=p.new_slot()")
            elif name in HANDLE_FIELDS:
                parts.append(f"{name}=p.slot_of({self._slots[int(str(value))]})")
            elif name == "patches":
                pairs = [f"({offset}, p.slot_of({self._slots[slot]}))" for offset, slot in operation.patches]
                parts.append(f"patches=({', '.join(pairs)},)")
            else:
                parts.append(f"{name}={self._plain(value)}")
        return f"p.record({', '.join(parts)})"

    # -- names ----------------------------------------------------------------------------------------

    def _plain(self, value: object) -> str:
        return code_of(value, self._imports, root=self._proof.test_root)

    def _new_name(self, operation: Operation) -> str:
        match operation.opcode:
            case Opcode.LOAD_APP_KEY | Opcode.WIN32_LOAD_APP_KEY | Opcode.LOAD_KEY:
                return self._variables.free("hive")
            case Opcode.CREATE_TRANSACTION:
                return self._variables.free("transaction")
            case Opcode.CREATE_EVENT:
                return self._variables.free("event")
            case Opcode.ALLOCATE_MEMORY:
                return self._variables.free("memory")
            case Opcode.DUPLICATE_HANDLE:
                return self._variables.free("duplicate")
            case _:
                return self._variables.free("key")


def _where(operation: Operation) -> str:
    """The arguments of ``p.on(...)`` around an operation; empty where it needs none."""
    if operation.opcode is Opcode.TERMINATE_PROCESS:  # it says itself which process
        return ""
    parts = []
    if operation.process:
        parts.append(f'process="{_ROLES.get(operation.process, operation.process)}"')
    if operation.thread:
        parts.append(f"thread={operation.thread}")
    if operation.background:
        parts.append("background=True")
    return ", ".join(parts)


def _signature(form: Form) -> Mapping[str, Any]:
    owner, name = (
        (Win32Operations, form.method.removeprefix("win32."))
        if form.method.startswith("win32.")
        else (ProgramBuilder, form.method)
    )
    return inspect.signature(getattr(owner, name)).parameters
