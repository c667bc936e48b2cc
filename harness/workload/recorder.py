"""What every builder of a program shares: recording, slots, where operations run, running, expectations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, cast

from harness.errors import InfrastructureError, UsageError
from harness.registry.paths import RegistryPath, is_absolute
from harness.registry.status import nt_success, status_name
from harness.workload.fields import MAX_HANDLES
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation, Program
from harness.workload.result import ProgramResult
from harness.workload.step import Slot, Step, Under

__all__ = [
    "PROCESSES",
    "Expected",
    "Handle",
    "Key",
    "Recorder",
    "SupportsRun",
    "UnexpectedStatusError",
    "process_index",
]


class SupportsRun(Protocol):
    """Whoever executes programs: every guest."""

    def run(self, program: Program) -> ProgramResult: ...


#: Names of the processes a program can run in.
PROCESSES = {"runner": 0, "second": 1, "third": 2, "fourth": 3}

#: What stands for a handle: the step that yields it, or a bare slot.
Handle = Step | Slot
#: What names a key: an absolute path, `key / "sub"`, or with `root=` a relative path. None: no name at all.
Key = str | Under | None
#: Statuses an operation is expected to return.
Expected = int | Iterable[int] | None


class UnexpectedStatusError(AssertionError):
    """Operations returned other statuses than they were expected to; `steps` are these operations."""

    def __init__(self, message: str, steps: Iterable[Step] = ()) -> None:
        super().__init__(message)
        self.steps = tuple(steps)


class Recorder:
    """Records operations; leaving the `with` block runs them. Base of `ProgramBuilder`.

    When the block raises, nothing runs. After the run, a status that was not expected (`expect=`, or any
    failure after `check_all`) raises `UnexpectedStatusError` naming the operation and both statuses.
    """

    def __init__(self, guest: SupportsRun) -> None:
        self._guest = guest
        self._operations: list[Operation] = []
        self._slots = 0
        self._process = 0
        self._thread = 0
        self._background = False
        self._check_all = False
        self._result: ProgramResult | None = None
        self.steps: list[Step] = []

    # -- life -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind is None and not self.has_run:
            self.run()

    def build(self) -> Program:
        """The program as recorded so far."""
        return Program(tuple(self._operations), self._slots)

    def run(self) -> ProgramResult:
        """Run on the guest and check what was expected. A program runs once."""
        if self.has_run:
            raise UsageError("this program has run; make another with registry.program()")
        program = self.build()
        result = self._guest.run(program)
        if len(result) != len(program):
            raise InfrastructureError(f"{len(result)} results for a program of {len(program)} operations")
        self._result = result
        self._check()
        return result

    @property
    def has_run(self) -> bool:
        """Whether results are there; nothing can be recorded any more then."""
        return self._result is not None

    @property
    def result(self) -> ProgramResult:
        """The whole result. Raises `UsageError` before the run."""
        if self._result is None:
            raise UsageError("the program has not run yet: results are there after its with block (or run())")
        return self._result

    def check_all(self) -> None:
        """Operations without `expect=` must succeed (NT_SUCCESS); after the run they are checked at once."""
        self._check_all = True
        if self.has_run:
            self._check()

    def _check(self) -> None:
        wrong = []
        for step in self.steps:
            status = step.status
            if step.expected is not None:
                if status not in step.expected:
                    names = " or ".join(sorted(status_name(item) for item in step.expected))
                    wrong.append((step, names))
            elif self._check_all and not nt_success(status):
                wrong.append((step, "success"))
        if wrong:
            lines = [
                f"operation {step.index} {step.operation} returned {step.status_name}, expected {expected}"
                for step, expected in wrong
            ]
            raise UnexpectedStatusError("\n".join(lines), [step for step, _ in wrong])

    # -- where ----------------------------------------------------------------------------------------

    @contextmanager
    def on(
        self,
        *,
        process: str | int | None = None,
        thread: int | None = None,
        background: bool | None = None,
    ) -> Iterator[Self]:
        """Run the operations recorded inside the block in another process ("second", ...) or thread.

        In the `background` the program goes on without waiting for them; `wait_for` waits.
        """
        before = self._process, self._thread, self._background
        if process is not None:
            self._process = process_index(process)
        if thread is not None:
            self._thread = thread
        if background is not None:
            self._background = background
        try:
            yield self
        finally:
            self._process, self._thread, self._background = before

    def wait_for(self, step: Step) -> Step:
        """Wait until an operation in the background has ended: a mark on its thread."""
        with self.on(process=step.operation.process, thread=step.operation.thread, background=False):
            return self.record(Opcode.MARK)

    # -- recording ------------------------------------------------------------------------------------

    def new_slot(self) -> int:
        """A slot for what an operation yields. Raises `UsageError` when the program has all it can have."""
        if self._slots >= MAX_HANDLES:
            raise UsageError(f"a program has at most {MAX_HANDLES} handles; split it")
        self._slots += 1
        return self._slots - 1

    def null_handle(self) -> Slot:
        """A handle that is NULL: for passing a bad handle on purpose."""
        return Slot(self.new_slot())

    def record(
        self, opcode: Opcode, *, expect: Expected = None, path: RegistryPath | None = None, **fields: object
    ) -> Step:
        """Append one operation by its fields (`harness.workload.FIELDS`); None leaves a field out."""
        if self.has_run:
            raise UsageError("this program has run; make another with registry.program()")
        given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        if self._process or self._thread:
            given.update(process=self._process, thread=self._thread)
        if self._background:
            given["background"] = True
        operation = Operation(opcode=opcode, **given)
        step = Step(cast(Any, self), len(self.steps), operation, _statuses(expect), path)
        self._operations.append(operation)
        self.steps.append(step)
        return step

    def slot_of(self, handle: Handle) -> int:
        """Slot of a handle. Raises `UsageError` for a step of another program or one that yields none."""
        if isinstance(handle, Slot):
            return handle.index
        if not isinstance(handle, Step):
            raise UsageError(f"{handle!r} is no handle; pass what create_key, open_key, ... returned")
        if handle.program is not self:
            raise UsageError("that handle belongs to another program; handles live as long as their program")
        return handle.slot

    def buffer_of(self, buffer: Handle | None) -> int | None:
        """Slot of memory that is passed as a buffer; None for none."""
        return None if buffer is None else self.slot_of(buffer)

    def name_of(self, key: Key, root: Handle | None) -> tuple[int | None, str | None, RegistryPath | None]:
        """Root slot, name and, where it can be known, the absolute path of a key argument."""
        if isinstance(key, Under):
            if root is not None:
                raise UsageError('give either key / "sub" or root=, not both')
            root, key = key.root, key.name
        if key is not None and not isinstance(key, str):
            raise UsageError(f"{key!r} names no key; use a path, key / 'sub', or a name with root=")
        slot = None if root is None else self.slot_of(root)
        if root is None:
            path = RegistryPath(key) if key is not None and is_absolute(key) else None
        else:
            base = root.path if isinstance(root, Step) else None
            path = base if not key else (base / key if base is not None else None)
        return slot, None if key is None else str(key), path


def process_index(process: str | int) -> int:
    """Number of a process role given by name or number."""
    if isinstance(process, int):
        return process
    if process not in PROCESSES:
        raise UsageError(f"no process {process!r}; there are {', '.join(PROCESSES)}")
    return PROCESSES[process]


def _statuses(expect: Expected) -> frozenset[int] | None:
    if expect is None:
        return None
    listed = (expect,) if isinstance(expect, int) else tuple(expect)
    return frozenset(int(status) & 0xFFFF_FFFF for status in listed)
