"""What the callback contract asks of the system it runs in.

An operation that may be filtered is presented as a `Notice`: an object that can hand itself to one callback,
before and after the operation. `StackHooks` is the rest: what only the machine can do.
"""

from __future__ import annotations

from typing import NoReturn, Protocol

from harness.reference.filtering.registration import ContextHolder, Registration

__all__ = ["CallbackRaisedError", "Notice", "StackHooks"]


class CallbackRaisedError(Exception):
    """An exception left a callback unhandled. The three numbers are the bugcheck's parameters."""

    def __init__(self, code: int, context_record: int, callback: int) -> None:
        super().__init__(f"exception {code:#x} left the callback at {callback:#x}")
        self.code = code
        self.context_record = context_record
        self.callback = callback


class Notice(Protocol):
    """One operation, ready to be shown to callbacks; one instance serves its pre and post notifications."""

    #: Whose contexts the pre notification shows: the operation's key object, or the root object of a path.
    holder: ContextHolder | None
    #: Neither block nor bypass applies (RegNtPreKeyHandleClose, B-NOT-36).
    observe_only: bool

    def open_pre(self) -> None:
        """Make the pre structure. Called once, and only when somebody will see it."""

    def deliver_pre(self, registration: Registration, object_context: int) -> int:
        """Call the callback; returns its status. Raises `CallbackRaisedError`."""

    def call_context(self) -> int:
        """The CallContext the last callback left in the pre structure (B-CTX-01)."""

    def open_post(self, status: int, *, settled_by_callback: bool) -> ContextHolder | None:
        """Make the post structure with `status`; returns whose contexts it shows.

        `settled_by_callback`: a callback blocked or bypassed, the operation itself did not run (B-LAY-10).
        """

    def deliver_post(self, registration: Registration, call_context: int, object_context: int) -> int:
        """Call the callback; returns its status. Raises `CallbackRaisedError`."""

    def return_status(self) -> int:
        """ReturnStatus as the last callback left it."""

    def put_status(self, status: int) -> None:
        """Write Status of the post structure (B-NOT-21)."""


class StackHooks(Protocol):
    """What the contract leaves to the machine it runs in."""

    def deliver_cleanup(self, registration: Registration, holder: ContextHolder, object_context: int) -> None:
        """RegNtCallbackObjectContextCleanup for one key object; the callback's status means nothing."""

    def unhandled_exception(self, registration: Registration, error: CallbackRaisedError) -> NoReturn:
        """Stop the machine: bugcheck 0x135, or an unhandled exception before Vista (B-NOT-39)."""

    def wait_until_idle(self, registration: Registration) -> None:
        """A caller of CmUnRegisterCallback waits for a running callback (B-REG-21). Returns with
        `registration.callers` empty, or raises when that can never be (B-REG-22)."""
