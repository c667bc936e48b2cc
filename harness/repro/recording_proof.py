"""Whether a line of source records the operation it stands for: it is run against a builder, and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from harness.errors import HarnessError
from harness.registry.paths import RegistryPath
from harness.repro.literal import Imports
from harness.workload.builder import ProgramBuilder
from harness.workload.fields import FIELDS, FieldKind
from harness.workload.program import Operation
from harness.workload.registry import HARNESS_FOLDER, HARNESS_KEY

__all__ = ["HANDLE_FIELDS", "Proof"]

#: Fields of an operation that name a slot, but for the one it fills.
HANDLE_FIELDS: Final = frozenset(
    name for name, field in FIELDS.items() if field.kind is FieldKind.HANDLE and name != "out"
)


class _Nowhere:
    """A guest and a clean-up that do nothing, for builders that only record."""

    def __init__(self, root: RegistryPath) -> None:
        self.test_root = root
        self._own = f"{HARNESS_FOLDER}\\{str(root).removeprefix(f'{HARNESS_KEY}{chr(92)}')}-"

    def run(self, program: Any) -> Any:
        raise AssertionError("only recorded")

    def file(self, name: str) -> str:
        return name if name[1:2] == ":" else self._own + name

    def own_name(self, path: str) -> str:
        """The name of a test's own file, without what makes it the test's."""
        if path.lower().startswith(self._own.lower()) and len(path) > len(self._own):
            return path[len(self._own) :]
        return path

    def note_key(self, path: RegistryPath) -> None: ...

    def note_mount(self, path: RegistryPath) -> None: ...


class _Forgetful(ProgramBuilder):
    """A builder that forgets again."""

    def position(self) -> tuple[int, int]:
        return len(self.steps), self._slots

    def back_to(self, position: tuple[int, int]) -> None:
        operations, self._slots = position
        del self.steps[operations:], self._operations[operations:]


class Proof:
    """A program as its source records it, line by line. `imports` are those of the source."""

    def __init__(self, root: RegistryPath, imports: Imports) -> None:
        self.test_root = root
        self._imports = imports
        self._nowhere = _Nowhere(root)
        self._builder = _Forgetful(self._nowhere, self._nowhere)
        #: What the variables of the source stand for here.
        self._objects: dict[str, Any] = {}

    def own_name(self, path: str) -> str:
        """The name of a test's own file, without what makes it the test's."""
        return self._nowhere.own_name(path)

    def name_last(self, name: str) -> None:
        """The last operation is known as the variable `name` from now on."""
        self._objects[name] = self._builder.steps[-1]

    def name_null(self, name: str) -> None:
        """The variable `name` is a NULL handle."""
        self._objects[name] = self._builder.null_handle()

    def records(self, call: str, operation: Operation, slots: Mapping[int, str]) -> bool:
        """Whether `call` records exactly this operation, which is part of the program then.

        `slots` are the variables of the recorded program's slots.
        """
        position = self._builder.position()
        namespace: dict[str, Any] = {}
        exec("\n".join(self._imports.lines()), namespace)
        namespace |= {**self._objects, "p": self._builder}
        where = operation.process, operation.thread, operation.background
        try:
            with self._builder.on(process=where[0], thread=where[1], background=where[2]):
                eval(call, namespace)
            made = self._builder.steps[-1].operation
            own = {_slot_of(thing): name for name, thing in self._objects.items()}
            same = _comparable(made, own) == _comparable(operation, slots)
        except HarnessError:
            same = False
        if not same:
            self._builder.back_to(position)
        return same


def _comparable(operation: Operation, names: Mapping[int, str]) -> dict[str, Any]:
    """The fields, with the names of slots instead of their numbers."""
    fields = operation.given() | {"opcode": operation.opcode}
    for name in HANDLE_FIELDS & fields.keys():
        if fields[name] is not None:
            fields[name] = names.get(int(str(fields[name])), "?")
    if "patches" in fields:
        fields["patches"] = [(offset, names.get(slot, "?")) for offset, slot in operation.patches]
    if fields.pop("out", None) is not None:
        fields["yields"] = True
    return fields


def _slot_of(thing: Any) -> int:
    return int(thing.slot if hasattr(thing, "slot") else thing.index)
