"""A filter stack whose callbacks are Python functions: the contract alone, no guest is involved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from harness.reference.filtering.contract import FilterStack
from harness.reference.filtering.notice import CallbackRaisedError
from harness.reference.filtering.registration import ContextHolder, Registration
from harness.registry.status import NTSTATUS
from harness.registry.version import WIN11_24H2, WindowsVersion

SUCCESS = NTSTATUS.SUCCESS
BYPASS = NTSTATUS.CALLBACK_BYPASS
DENIED = NTSTATUS.ACCESS_DENIED
THREAD = 77


@dataclass
class Call:
    """What a callback sees and may change in one notification."""

    name: str
    phase: str
    operation: str
    status: int = 0
    return_status: int = 0
    call_context: int = 0
    object_context: int = 0


class Key:
    def __init__(self) -> None:
        self.contexts: dict[Registration, int] | None = None


class DeadlockError(Exception):
    pass


class StoppedError(Exception):
    pass


Callback = Callable[[Call], int]


@dataclass
class System:
    """A filter stack whose callbacks are Python functions, named by the test."""

    version: WindowsVersion = WIN11_24H2
    seen: list[tuple[str, str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stack = FilterStack(self.version, self)
        self._callbacks: list[tuple[str, Callback]] = []

    # StackHooks
    def deliver_cleanup(self, registration: Registration, holder: ContextHolder, object_context: int) -> None:
        self.call(registration, Call("", "cleanup", "cleanup", object_context=object_context))

    def unhandled_exception(self, registration: Registration, error: CallbackRaisedError) -> NoReturn:
        raise StoppedError from error

    def wait_until_idle(self, registration: Registration) -> None:
        raise DeadlockError

    # tests
    def add(self, name: str, altitude: str | None, callback: Callback | None = None) -> Registration:
        self._callbacks.append((name, callback or (lambda call: SUCCESS)))
        result = self.stack.register(altitude, len(self._callbacks) - 1, 0, "driver")
        assert result.status == SUCCESS, hex(result.status)
        assert result.registration is not None
        return result.registration

    def call(self, registration: Registration, call: Call) -> int:
        call.name, callback = self._callbacks[registration.routine]
        value = call.object_context if call.phase == "cleanup" else call.status
        self.seen.append((call.name, call.phase, call.operation, value))
        return callback(call)

    def run(
        self,
        operation: str = "set",
        *,
        status: int = 0,
        key: Key | None = None,
        thread: int = THREAD,
        observe_only: bool = False,
        perform: Callable[[], None] = lambda: None,
    ) -> int:
        notice = PyNotice(self, operation, key, observe_only)
        passage = self.stack.begin(thread, notice)
        if passage.proceeds:
            perform()
            self.seen.append(("", "performed", operation, status))
        else:
            status = passage.status
        return self.stack.finish(passage, status)

    def sees(self, name: str) -> list[str]:
        return [phase for who, phase, _, _ in self.seen if who == name]

    def order(self, phase: str) -> list[str]:
        return [who for who, what, _, _ in self.seen if what == phase]

    @property
    def performed(self) -> bool:
        return any(phase == "performed" for _, phase, _, _ in self.seen)


class PyNotice:
    def __init__(self, system: System, operation: str, key: Key | None, observe_only: bool) -> None:
        self.holder: ContextHolder | None = key
        self.observe_only = observe_only
        self._system = system
        self._operation = operation
        self._pre = self._post = Call("", "", "")

    def open_pre(self) -> None:
        pass

    def deliver_pre(self, registration: Registration, object_context: int) -> int:
        self._pre = Call("", "pre", self._operation, object_context=object_context)
        return self._system.call(registration, self._pre)

    def call_context(self) -> int:
        return self._pre.call_context

    def open_post(self, status: int, *, settled_by_callback: bool) -> ContextHolder | None:
        self._status = status
        return self.holder

    def deliver_post(self, registration: Registration, call_context: int, object_context: int) -> int:
        self._post = Call(
            "", "post", self._operation, self._status, self._status, call_context, object_context
        )
        return self._system.call(registration, self._post)

    def return_status(self) -> int:
        return self._post.return_status

    def put_status(self, status: int) -> None:
        self._status = status


def answer(*, pre: int = SUCCESS, post: int = SUCCESS, return_status: int | None = None) -> Callback:
    def callback(call: Call) -> int:
        if call.phase == "pre":
            return pre
        if call.phase == "post" and return_status is not None:
            call.return_status = return_status
        return post

    return callback
