"""Steps: recorded operations of a program, and after the run their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.errors import UsageError
from harness.registry.paths import RegistryPath, is_absolute
from harness.registry.status import status_name
from harness.registry.valuetypes import ValueType
from harness.workload import views
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation
from harness.workload.result import OperationResult
from harness.workload.values import python_value
from harness.workload.views import KeyInformation, ObjectBasicInformation, ValueInformation

if TYPE_CHECKING:
    from harness.workload.builder import ProgramBuilder

__all__ = ["Slot", "Step", "Under"]

_VALUE_QUERIES: Final = (
    Opcode.QUERY_VALUE,
    Opcode.ENUMERATE_VALUE,
    Opcode.WIN32_QUERY_VALUE,
    Opcode.WIN32_GET_VALUE,
    Opcode.WIN32_ENUMERATE_VALUE,
)
_KEY_QUERIES: Final = (
    Opcode.QUERY_KEY,
    Opcode.ENUMERATE_KEY,
    Opcode.WIN32_QUERY_KEY,
    Opcode.WIN32_ENUMERATE_KEY,
)


@dataclass(frozen=True, slots=True)
class Slot:
    """A handle slot without an operation that fills it: the NULL handle, for passing a bad one on purpose."""

    index: int


@dataclass(frozen=True, slots=True)
class Under:
    """A name relative to a handle: what `key / "sub"` gives."""

    root: Step | Slot
    name: str

    def __truediv__(self, name: str) -> Under:
        return Under(self.root, f"{self.name}\\{name}")


class Step:
    """One operation of a program. Its results are there once the program has run.

    A step that yields a handle stands for it: `p.set_value(key, ...)`, `p.open_key(key / "sub")`.
    Reading a result before the run raises `UsageError`.
    """

    __slots__ = ("expected", "index", "operation", "path", "program")

    def __init__(
        self,
        program: ProgramBuilder,
        index: int,
        operation: Operation,
        expected: frozenset[int] | None,
        path: RegistryPath | None,
    ) -> None:
        self.program = program
        self.index = index
        self.operation = operation
        #: Statuses that `expect=` allows; None: any.
        self.expected = expected
        #: The key's path where the program knows it, else None (application hives).
        self.path = path

    def __repr__(self) -> str:
        state = status_name(self.status) if self.program.has_run else "not run yet"
        return f"<step {self.index} {self.operation}: {state}>"

    def __truediv__(self, name: str) -> Under:
        if is_absolute(name):
            raise UsageError(f"{name!r} is absolute; give it to open_key as it is")
        return Under(self, name)

    # -- the handle -----------------------------------------------------------------------------------

    @property
    def slot(self) -> int:
        """The handle slot this step fills. Raises `UsageError` for an operation without one."""
        if self.operation.out is None:
            raise UsageError(f"{self.operation.opcode.name.lower()} yields no handle")
        return self.operation.out

    @property
    def handle(self) -> int:
        """The raw handle value; 0 when there is none."""
        return self.result.handle

    # -- the outcome ----------------------------------------------------------------------------------

    @property
    def result(self) -> OperationResult:
        """What the runner reported. Raises `UsageError` before the program has run."""
        return self.program.result[self.index]

    @property
    def status(self) -> int:
        """NTSTATUS of the native call (unsigned)."""
        return self.result.status

    @property
    def succeeded(self) -> bool:
        """NT_SUCCESS."""
        return self.result.succeeded

    @property
    def status_name(self) -> str:
        """e.g. STATUS_ACCESS_DENIED."""
        return status_name(self.status)

    @property
    def win32_error(self) -> int | None:
        """The error a Win32 call returned, 0 for success; None where the status is none."""
        return self.result.win32_error

    @property
    def begin(self) -> int:
        """The guest's performance counter right before the call, in ticks (`ProgramResult.frequency`)."""
        return self.result.begin

    @property
    def end(self) -> int:
        """The same counter right after the call."""
        return self.result.end

    @property
    def process_id(self) -> int:
        """The process that called."""
        return self.result.process_id

    @property
    def thread_id(self) -> int:
        """The thread that called."""
        return self.result.thread_id

    @property
    def disposition(self) -> int | None:
        """REG_CREATED_NEW_KEY 1, REG_OPENED_EXISTING_KEY 2, or None."""
        return self.result.disposition

    @property
    def result_length(self) -> int | None:
        """What the call said of lengths in bytes (ResultLength and its like); None where it said nothing."""
        return self.result.result_length

    @property
    def input_address(self) -> int:
        """User address of the input data, as the call got it."""
        return self.result.input_address

    @property
    def output_address(self) -> int:
        """User address of the output buffer, as the call got it."""
        return self.result.output_address

    @property
    def name_address(self) -> int:
        """User address of the characters of the name, as the call got it."""
        return self.result.name_address

    # -- outputs --------------------------------------------------------------------------------------

    @property
    def buffer(self) -> bytes:
        """The whole output buffer after the call; bytes nobody wrote hold FILL_BYTE (0xA5)."""
        return views.full_buffer(self.operation, self.result)

    @property
    def output(self) -> bytes:
        """The bytes the call returned; empty when its status means none."""
        return views.returned(self.operation, self.result)

    @property
    def data(self) -> bytes:
        """The value's data for a value query, else `output`."""
        if self.operation.opcode in _VALUE_QUERIES and self.output:
            return self.value_information.data or b""
        return self.output

    @property
    def value_information(self) -> ValueInformation:
        """Decoded KEY_VALUE_*_INFORMATION of a value query."""
        self._needs("value_information", *_VALUE_QUERIES)
        return views.value_information(self.operation, self.result)

    @property
    def key_information(self) -> KeyInformation:
        """Decoded KEY_*_INFORMATION of a key query or enumeration."""
        self._needs("key_information", *_KEY_QUERIES)
        return views.key_information(self.operation, self.result)

    @property
    def object_information(self) -> ObjectBasicInformation:
        """Attributes, granted access and counts of a basic object query."""
        self._needs("object_information", Opcode.QUERY_OBJECT_BASIC)
        return views.object_basic(self.operation, self.result)

    @property
    def values(self) -> dict[str, ValueInformation]:
        """The values of a multiple query by name."""
        self._needs("values", Opcode.QUERY_MULTIPLE, Opcode.WIN32_QUERY_MULTIPLE)
        return views.multiple_values(self.operation, self.result)

    @property
    def name(self) -> str:
        """The name that a query or enumeration returned."""
        match self.operation.opcode:
            case Opcode.QUERY_OBJECT_NAME:
                return views.object_name(self.operation, self.result, self.program.result.pointer_size)
            case opcode if opcode in _KEY_QUERIES:
                found = self.key_information.name
            case _:
                found = self.value_information.name
        if found is None:
            raise UsageError(f"information class {self.operation.info_class} has no name")
        return found

    @property
    def type(self) -> int:
        """Type of the value a query returned (REG_xxx)."""
        return self.value_information.type

    @property
    def value(self) -> str | int | bytes | tuple[str, ...]:
        """The value a query returned, as a Python value of its type."""
        return python_value(self.type, self.data)

    @property
    def text(self) -> str:
        """A string value without its NUL. Raises `UsageError` for another type."""
        value = self.value
        if not isinstance(value, str):
            raise UsageError(f"the value is not text: type {self.type}, data {self.data[:32]!r}")
        return value

    @property
    def dword(self) -> int:
        """A REG_DWORD value. Raises `UsageError` for another type or size."""
        value = self.value
        if self.type not in (ValueType.DWORD, ValueType.DWORD_BIG_ENDIAN) or not isinstance(value, int):
            raise UsageError(f"the value is no REG_DWORD: type {self.type}, data {self.data[:32]!r}")
        return value

    def _needs(self, view: str, *opcodes: Opcode) -> None:
        if self.operation.opcode not in opcodes:
            names = " and ".join(opcode.name.lower() for opcode in opcodes)
            raise UsageError(f"{self.operation.opcode.name.lower()} has no {view}; {names} have")
