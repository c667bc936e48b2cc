"""Where in a journal the objects of a test come from: its steps, filters, results of kernel calls."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from harness.between import Between
from harness.errors import GuestCrashed
from harness.repro.claim import Binding, BindingKind
from harness.repro.journal import Journal, Ran, Requested
from harness.workload.recorder import UnexpectedStatusError
from harness.workload.registry import Registry
from harness.workload.step import Step

if TYPE_CHECKING:
    from harness.probe.filters import Filter
    from harness.probe.kernel import KernelCallResult
    from harness.registry.paths import RegistryPath
    from harness.workload.program import Operation

__all__ = ["Places"]


class Places:
    """An index over a journal, made when a test has failed."""

    def __init__(self, journal: Journal) -> None:
        self._calls = journal.calls
        self._operations = {
            id(operation): (index, number)
            for index, call in enumerate(self._calls)
            if isinstance(call, Ran)
            for number, operation in enumerate(call.program.operations)
        }

    def of_operation(self, operation: Operation) -> tuple[int, int] | None:
        """Call and operation of a recorded operation, which is told by its identity."""
        return self._operations.get(id(operation))

    def locate(self, value: object) -> Binding | None:
        """The binding of an object that a run made; None for everything else."""
        if isinstance(value, Step):
            place = self.of_operation(value.operation)
            return None if place is None else Binding(BindingKind.STEP, *place)
        if isinstance(value, Between):
            return self._between(value)
        if "harness.probe" not in sys.modules:
            return None
        from harness.probe.filters import Filter
        from harness.probe.kernel import KernelCallResult

        if isinstance(value, Filter):
            return self._filter(value)
        if isinstance(value, KernelCallResult):
            return self._kernel_call(value)
        return None

    def root(self, frame: FrameType) -> RegistryPath | None:
        """The test root of the `registry` that a test function has."""
        registry = frame.f_locals.get("registry")
        return registry.test_root if isinstance(registry, Registry) else None

    def failed_at(self, error: BaseException | None) -> tuple[int | None, int | None]:
        """The call that was not answered, and the operation of its program where that is known."""
        if isinstance(error, UnexpectedStatusError) and error.steps:
            return self.of_operation(error.steps[0].operation) or (None, None)
        if not isinstance(error, GuestCrashed) or not self._calls:
            return None, None
        # The first that was not answered; a dead guest answers none after it.
        for index, call in enumerate(self._calls):
            if isinstance(call, Ran) and call.result is None:
                return index, error.operation
            if isinstance(call, Requested) and call.status is None:
                return index, None
        return len(self._calls) - 1, None

    def _between(self, value: Between) -> Binding | None:
        above, below = self._filter(value.above), self._filter(value.below)
        if above is None or below is None:
            return None
        return Binding(BindingKind.BETWEEN, items=(above, below), service=value.service)

    def _filter(self, value: Filter) -> Binding | None:
        for index, reply in self._replies("IOCTL_REGPROBE_ADD_FILTER", "REGPROBE_ADD_FILTER_REPLY"):
            if reply["filter_id"] == value.id:
                return Binding(BindingKind.FILTER, call=index)
        return None

    def _kernel_call(self, value: KernelCallResult) -> Binding | None:
        for index, reply in self._replies("IOCTL_REGPROBE_KERNEL_CALL", "REGPROBE_KERNEL_CALL_REPLY"):
            if (reply["time_begin"], reply["time_end"]) == (value.begin, value.end):
                return Binding(BindingKind.KERNEL_CALL, call=index)
        return None

    def _replies(self, code: str, reply: str) -> list[tuple[int, dict[str, Any]]]:
        """Requests of one kind that were answered, the last first."""
        from harness.probe import abi

        record = abi.record(reply)
        return [
            (index, record.unpack(call.reply))
            for index, call in reversed(list(enumerate(self._calls)))
            if isinstance(call, Requested)
            and call.code == abi.constant(code)
            and len(call.reply) >= record.size
        ]
