"""The filter stack inside a machine: how a registry operation reaches the callbacks of drivers.

One `FilterEngine` per machine holds the stack, the key objects and the configuration manager, calls the
routines of drivers and turns what goes wrong in them into the bugcheck Windows documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from harness.errors import GuestHung
from harness.reference.cm.manager import Caller
from harness.reference.faults import GuestException
from harness.reference.filtering.contract import FilterStack
from harness.reference.filtering.keyobject import KeyObject, KeyObjects
from harness.reference.filtering.marshal import GuestNotice, Template, cleanup_structure, templates
from harness.reference.filtering.notice import CallbackRaisedError
from harness.reference.filtering.registration import ContextHolder, Registration
from harness.reference.filtering.remarks import Remarks
from harness.reference.filtering.runner_state import Runners
from harness.reference.filtering.services_object import (
    check_open,
    query_name_string,
    query_security,
    set_security,
)
from harness.reference.filtering.transactions import Transactions
from harness.reference.kernel.balance import balance, check_service_exit
from harness.reference.kernel.security import token_of
from harness.registry.notify import NotifyClass, Operation

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.cm.hive import Hive
    from harness.reference.cm.manager import ConfigurationManager
    from harness.reference.kernel.objects import KernelObject
    from harness.reference.machine import Machine

__all__ = ["FilterEngine", "engine_of"]

_CLEANUP: Final = int(NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP)
_CLEANUP_WORDS: Final = f"the structure of {NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP.documented_name}"

#: REGISTRY_FILTER_DRIVER_EXCEPTION: code, context record, callback, reserved (debugger/bug-check-0x135).
_REGISTRY_FILTER_DRIVER_EXCEPTION: Final = 0x135


class FilterEngine:
    """Everything about registry filtering that belongs to one machine."""

    def __init__(self, machine: Machine, cm: ConfigurationManager) -> None:
        self.machine = machine
        self.memory = machine.memory
        self.objects = machine.objects
        self.namespace = machine.kernel.namespace
        self.cm = cm
        self.version = machine.version
        self.stack = FilterStack(machine.version, self)
        self.templates = templates(machine.version, machine.memory.pointer_size)
        #: What Object holds where it is undefined (B-OBJ-02): a kernel address that is never mapped.
        self.undefined_object = 0xFFFF_DEAD_BEEF_0010 if machine.memory.pointer_size == 8 else 0xDEAD_0010
        self.remarks = Remarks(machine)
        self.keys = KeyObjects(self)
        self.transactions = Transactions(self)
        #: The processes that execute workload programs.
        self.runners = Runners(machine)
        self._unload_events: dict[Hive, KernelObject] = {}
        #: Thread id -> the callback that last changed what the thread must give back.
        self._unbalanced: dict[int, int] = {}
        self._connect()

    def _connect(self) -> None:
        """Give the object manager the procedures of key objects, and the registry its name."""
        kind = self.keys.type
        kind.query_name = lambda obj: self.keys.path(obj.body)
        kind.query_name_string = lambda *args: query_name_string(self, *args)
        kind.query_security = lambda *args: query_security(self, *args)
        kind.set_security = lambda *args: set_security(self, *args)
        kind.open_check = lambda *args: check_open(self, *args)
        assert self.keys.root.object is not None
        self.namespace.insert("\\REGISTRY", self.keys.root.object)

    def caller(self, *, checked: bool, user: bool) -> Caller:
        """The current thread as the configuration manager sees it."""
        process = self.machine.current.process
        return Caller(token_of(self.machine), checked=checked, user_mode=user, process=process.pid)

    def watch_unload(self, hive: Hive, event: KernelObject) -> None:
        """Signal an event when the hive is unloaded (ns-wdm-_reg_load_key_information: UserEvent)."""
        self.objects.reference(event)
        former = self._unload_events.pop(hive, None)
        if former is not None:
            self.objects.dereference(former)
        self._unload_events[hive] = event

    def unloaded(self, hive: Hive) -> None:
        """A hive is gone: its event, if any, is signalled."""
        event = self._unload_events.pop(hive, None)
        if event is not None:
            self.machine.kernel.scheduler.signal(event.address)
            self.objects.dereference(event)

    # -- operations --------------------------------------------------------------------------------------

    def template(self, operation: Operation) -> Template | None:
        """The template when this version notifies about `operation` and somebody is there to be told."""
        if not self.stack.ordered or not self.stack.watchers(self.machine.current.tid):
            return None
        return self.templates.get(operation)

    def run(
        self,
        operation: Operation,
        key: KeyObject | None,
        head: Callable[[Scratch], tuple[int, ...]],
        perform: Callable[[], int],
        *,
        post_object: bool = True,
    ) -> int:
        """Perform an operation on one key object with its notifications; returns the requester's status.

        `head` makes the structure's members before CallContext, in scratch memory where they are captured
        copies; it is called only when a callback is there to see them.
        """
        template = self.template(operation)
        if template is None:
            return perform()
        with self.memory.scratch() as scratch:
            shown = key.address if key is not None and post_object else 0
            notice = GuestNotice(self, template, key, head(scratch), scratch=scratch, post_object=shown)
            passage = self.stack.begin(self.machine.current.tid, notice)
            status = perform() if passage.proceeds else passage.status
            return self.stack.finish(passage, status)

    # -- calls into drivers ------------------------------------------------------------------------------

    def invoke(self, registration: Registration, notify_class: int, information: int) -> int:
        """Call one callback. Raises `CallbackRaisedError`; the machine bugchecks when it returns at another
        IRQL than it was called at."""
        machine = self.machine
        irql = machine.cpu.irql
        thread = machine.current
        before = balance(thread)
        try:
            status = machine.call_guarded(
                registration.routine, registration.context, notify_class, information
            )
        except GuestException as error:
            machine.cpu.irql = irql
            if self.version.swallows_callback_exceptions:
                self.remarks.exception_swallowed(registration, notify_class, error)
            raise CallbackRaisedError(error.code, error.context, registration.routine) from error
        if balance(thread) != before:
            self._unbalanced[thread.tid] = registration.routine
        return status & 0xFFFF_FFFF

    def leave_service(self) -> None:
        """A system service returns to user mode: what callbacks took on its thread must be given back.

        One may enter a critical region before the operation and leave it afterwards, so nothing is wrong
        earlier than that.
        """
        if self._unbalanced:
            routine = self._unbalanced.pop(self.machine.current.tid, 0)
            if routine:
                check_service_exit(self.machine, routine)

    # -- StackHooks --------------------------------------------------------------------------------------

    def deliver_cleanup(self, registration: Registration, holder: ContextHolder, object_context: int) -> None:
        """RegNtCallbackObjectContextCleanup (B-CTX-13)."""
        assert isinstance(holder, KeyObject)
        raw = cleanup_structure(holder.address, object_context, self.version, self.memory.pointer_size)
        with self.memory.scratch() as scratch:
            self.invoke(registration, _CLEANUP, scratch.show(raw, _CLEANUP_WORDS))

    def unhandled_exception(self, registration: Registration, error: CallbackRaisedError) -> NoReturn:
        """Bugcheck 0x135 from callback version 1.1 on, an unhandled exception before Vista (B-NOT-39)."""
        cause = error.__cause__
        assert isinstance(cause, GuestException)
        if not self.version.has_layering:
            self.machine.unhandled(cause)
        self.machine.bugcheck(
            _REGISTRY_FILTER_DRIVER_EXCEPTION,
            error.code,
            error.context_record,
            error.callback,
            reason=f"in a registry callback: {cause.describe()}",
            driver=self.machine.driver_at(error.callback),
            stack=cause.stack,
        )

    def wait_until_idle(self, registration: Registration) -> None:
        """CmUnRegisterCallback waits for the callback: for ever where it is called from it (B-REG-21, 22)."""
        scheduler = self.machine.kernel.scheduler

        def hang() -> NoReturn:
            raise GuestHung(
                self.machine.describe_hang(
                    f"CmUnRegisterCallback waits for the callback at {registration.routine:#x}, "
                    "which is running and can't end before it returns"
                )
            )

        if self.machine.current.tid in registration.callers:
            hang()
        scheduler.run_until(lambda: not registration.callers, hang)


def engine_of(machine: Machine) -> FilterEngine:
    """The filter engine of a machine that was booted with one."""
    return machine.registry
