"""The callback contract: which callback is told what, in which order, and what its answer does.

Nothing here knows about guest memory. An operation that may be filtered is presented as a `Notice`: an
object that can hand itself to one callback, before and after the operation. `FilterStack` decides who gets
it, keeps what each callback stored, and turns the answers into the fate of the operation. The reference
guest's notices are structures in guest memory (`marshal`), those of the tests are plain Python objects.

Sources: kernel/handling-notifications, kernel/supporting-layered-registry-filtering-drivers,
ns-wdm-_reg_post_operation_information, regfltr; per rule the behaviour id. Where no page decides, the
choice is listed in `unspecified`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn, Protocol

from harness.registry.altitude import Altitude, is_altitude
from harness.registry.status import NTSTATUS
from harness.registry.version import WindowsVersion

__all__ = [
    "LEGACY_ALTITUDE",
    "CallbackRaisedError",
    "ContextHolder",
    "FilterStack",
    "Notice",
    "Passage",
    "Registration",
    "RegistrationResult",
    "StackHooks",
]

_SUCCESS: Final = int(NTSTATUS.SUCCESS)
_BYPASS: Final = int(NTSTATUS.CALLBACK_BYPASS)
_FAILURE_BIT: Final = 0x80000000  # NT_SUCCESS is "not negative": errors and warnings have it (B-NOT-06)

#: Where CmRegisterCallback puts a callback on Vista and later. The page says "near the top" only (B-REG-31);
#: the value lies in the group that ends the documented load order ("FSFilter Top" and "Filter").
LEGACY_ALTITUDE: Final = Altitude("425000")

_FIRST_COOKIE: Final = 0x01D0_5EED_0000_1000
_COOKIE_STEP: Final = 0x10


class ContextHolder(Protocol):
    """A key object as the contract sees it: something callbacks bind contexts to (B-CTX-03, 04)."""

    contexts: dict[Registration, int] | None


class CallbackRaisedError(Exception):
    """An exception left a callback unhandled. The three numbers are the bugcheck's parameters."""

    def __init__(self, code: int, context_record: int, callback: int) -> None:
        super().__init__(f"exception {code:#x} left the callback at {callback:#x}")
        self.code = code
        self.context_record = context_record
        self.callback = callback


class Registration:
    """One callback in the stack. Compared and hashed by identity: two registrations are never equal."""

    __slots__ = (
        "altitude",
        "below",
        "callers",
        "context",
        "cookie",
        "holders",
        "legacy",
        "live",
        "name",
        "order",
        "owner",
        "routine",
    )

    def __init__(
        self,
        *,
        cookie: int,
        altitude: Altitude | None,
        legacy: bool,
        routine: int,
        context: int,
        order: int,
        owner: Hashable,
    ) -> None:
        self.cookie = cookie
        self.altitude = altitude
        self.legacy = legacy
        self.routine = routine
        self.context = context
        self.order = order
        self.owner = owner
        self.live = True
        #: The threads that are inside the callback; one that calls the registry there may be twice.
        self.callers: list[Hashable] = []
        #: What registry calls made inside this callback are shown to (B-LAY-11..14); kept by the stack.
        self.below: tuple[Registration, ...] = ()
        #: Key objects that carry a context of this registration, in the order of binding.
        self.holders: dict[ContextHolder, None] = {}

    def __repr__(self) -> str:
        where = "legacy" if self.legacy else str(self.altitude)
        return f"<Registration {where} cookie={self.cookie:#x} routine={self.routine:#x}>"


@dataclass(frozen=True, slots=True)
class RegistrationResult:
    """What registering answered: a registration exists exactly when `status` is STATUS_SUCCESS."""

    status: int
    registration: Registration | None = None


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


class _Fate(Enum):
    PROCEED = 1
    BLOCKED = 2
    BYPASSED = 3


class Passage:
    """The way of one operation through the stack, between its pre and its post notifications."""

    __slots__ = ("entered", "fate", "notice", "status", "thread")

    def __init__(self, notice: Notice, thread: Hashable) -> None:
        self.notice = notice
        self.thread = thread
        #: Callbacks that saw the pre and let it pass, with what they stored in CallContext.
        self.entered: list[tuple[Registration, int]] = []
        self.fate = _Fate.PROCEED
        self.status = _SUCCESS

    @property
    def proceeds(self) -> bool:
        """The operation itself is to be performed."""
        return self.fate is _Fate.PROCEED

    @property
    def bypassed(self) -> bool:
        """A callback completed the operation: its outputs are the callback's (B-NOT-09, 12)."""
        return self.fate is _Fate.BYPASSED


class FilterStack:
    """All registrations of a system and the order in which they are called.

    `thread` arguments are any hashable identity: what a callback does to the registry is shown only below it,
    and the only thing that can tell is the thread it runs in (B-LAY-13).
    """

    __slots__ = (
        "_by_cookie",
        "_has_bypass",
        "_hooks",
        "_inside",
        "_layered",
        "_order",
        "_override_after_block",
        "_pairs_after_block",
        "_swallows_exceptions",
        "ordered",
    )

    def __init__(self, version: WindowsVersion, hooks: StackHooks) -> None:
        self._hooks = hooks
        self._layered = version.has_layering
        self._has_bypass = version.has_bypass
        self._pairs_after_block = version.has_layering
        self._override_after_block = version.status_override_after_lower_block_counts
        self._swallows_exceptions = version.swallows_callback_exceptions
        self._by_cookie: dict[int, Registration] = {}
        self._inside: dict[Hashable, Registration] = {}
        self._order = 0
        #: Every registration in the order of pre notifications; replaced, never changed.
        self.ordered: tuple[Registration, ...] = ()

    # -- registration ------------------------------------------------------------------------------------

    def register(
        self, altitude: str | None, routine: int, context: int, owner: Hashable
    ) -> RegistrationResult:
        """CmRegisterCallbackEx with `altitude` text, CmRegisterCallback with None.

        Statuses: STATUS_SUCCESS, STATUS_FLT_INSTANCE_ALTITUDE_COLLISION (B-REG-04); an altitude that is no
        decimal number gets STATUS_INVALID_PARAMETER (B-REG-09, the model's choice).
        """
        place: Altitude | None = None
        if altitude is not None:
            if not is_altitude(altitude):
                return RegistrationResult(NTSTATUS.INVALID_PARAMETER)
            place = Altitude(altitude)
            if any(not other.legacy and other.altitude == place for other in self.ordered):
                return RegistrationResult(NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION)
        elif self._layered:
            place = LEGACY_ALTITUDE
        self._order += 1
        registration = Registration(
            cookie=_FIRST_COOKIE + _COOKIE_STEP * self._order,
            altitude=place,
            legacy=altitude is None,
            routine=routine,
            context=context,
            order=self._order,
            owner=owner,
        )
        self._by_cookie[registration.cookie] = registration
        self._arrange((*self.ordered, registration))
        return RegistrationResult(_SUCCESS, registration)

    def unregister(self, thread: Hashable, cookie: int) -> int:
        """CmUnRegisterCallback: waits for running calls, then cleans up every bound context (B-REG-25).

        No call begins while it waits, be it the post of an operation that the callback let pass (B-LAY-21).
        """
        registration = self._by_cookie.get(cookie)
        if registration is None or not registration.live:
            return NTSTATUS.INVALID_PARAMETER  # B-REG-20
        registration.live = False
        self._arrange(tuple(other for other in self.ordered if other is not registration))
        if registration.callers:
            self._hooks.wait_until_idle(registration)
        for holder in list(registration.holders):
            self._unbind(thread, registration, holder)
        self._by_cookie.pop(cookie, None)
        return _SUCCESS

    def find(self, cookie: int) -> Registration | None:
        """The registration of a cookie, live or just being unregistered (its cleanups may still ask)."""
        return self._by_cookie.get(cookie)

    def owned_by(self, owner: Hashable) -> list[Registration]:
        """Registrations a driver has not given back (B-REG-24)."""
        return [each for each in self.ordered if each.owner == owner]

    def abandon(self, owner: Hashable) -> None:
        """Forget a driver's registrations without telling it: its code is gone."""
        for registration in self.owned_by(owner):
            registration.live = False
            self._by_cookie.pop(registration.cookie, None)
            for holder in registration.holders:
                if holder.contexts is not None:
                    holder.contexts.pop(registration, None)
        self._arrange(tuple(each for each in self.ordered if each.live))

    def _arrange(self, registrations: tuple[Registration, ...]) -> None:
        if self._layered:
            # Highest altitude first (B-LAY-01); at one altitude (legacy only) the earlier registration first.
            by_age = sorted(registrations, key=lambda each: each.order)
            by_age.sort(key=lambda each: each.altitude or LEGACY_ALTITUDE, reverse=True)
            self.ordered = tuple(by_age)
            for index, registration in enumerate(self.ordered):
                registration.below = self.ordered[index + 1 :]
        else:
            # Order of registration; nothing hides a callback's own calls from it (B-LAY-15).
            self.ordered = registrations
            for registration in registrations:
                registration.below = registrations

    # -- notifications -----------------------------------------------------------------------------------

    def watchers(self, thread: Hashable) -> tuple[Registration, ...]:
        """Who would see an operation of this thread now; empty where nothing needs to be prepared."""
        inside = self._inside.get(thread)
        return self.ordered if inside is None else inside.below

    def begin(self, thread: Hashable, notice: Notice) -> Passage:
        """Deliver the pre notifications. The caller performs the operation when the passage proceeds."""
        passage = Passage(notice, thread)
        watchers = self.watchers(thread)
        if not watchers:
            return passage
        notice.open_pre()
        contexts = notice.holder.contexts if notice.holder is not None else None
        for registration in watchers:
            if not registration.live:
                continue
            bound = contexts.get(registration, 0) if contexts else 0
            returned = self._enter(thread, registration, notice.deliver_pre, bound)
            if returned is None:  # swallowed: the operation goes on as if nothing had happened (B-NOT-40)
                returned = _SUCCESS
            if not returned & _FAILURE_BIT or notice.observe_only:
                passage.entered.append((registration, notice.call_context()))
                continue
            if returned == _BYPASS and self._has_bypass:
                passage.fate = _Fate.BYPASSED
            else:
                passage.fate = _Fate.BLOCKED
                passage.status = returned
            if not self._pairs_after_block:
                passage.entered.clear()
            break
        return passage

    def finish(self, passage: Passage, status: int) -> int:
        """Deliver the post notifications, lowest first (B-LAY-02); returns what the requester gets.

        `status` is the operation's; where a callback settled the operation, pass `passage.status`.
        """
        entered = passage.entered
        if not entered:
            return status
        notice = passage.notice
        settled = passage.fate is not _Fate.PROCEED
        may_override = self._has_bypass and (self._override_after_block or not settled)
        holder = notice.open_post(status, settled_by_callback=settled)
        for registration, call_context in reversed(entered):
            if not registration.live:
                continue  # unregistered in between: its post is dropped (B-LAY-21)
            contexts = holder.contexts if holder is not None else None
            bound = contexts.get(registration, 0) if contexts else 0
            returned = self._enter(passage.thread, registration, notice.deliver_post, call_context, bound)
            if returned == _BYPASS and may_override:
                status = notice.return_status()
                notice.put_status(status)
        return status

    def _enter(
        self, thread: Hashable, registration: Registration, deliver: Callable[..., int], *args: object
    ) -> int | None:
        """One call of one callback; None when an exception in it was swallowed."""
        inside = self._inside
        outer = inside.get(thread)
        inside[thread] = registration
        registration.callers.append(thread)
        try:
            return deliver(registration, *args)
        except CallbackRaisedError as error:
            if self._swallows_exceptions:
                return None
            self._hooks.unhandled_exception(registration, error)
        finally:
            registration.callers.remove(thread)
            if outer is None:
                del inside[thread]
            else:
                inside[thread] = outer

    # -- object contexts ---------------------------------------------------------------------------------

    def bind(self, registration: Registration, holder: ContextHolder, value: int) -> int:
        """CmSetCallbackObjectContext: returns the value bound before, 0 when none (B-CTX-10).

        Binding NULL removes the binding (B-CTX-18, the model's choice).
        """
        contexts = holder.contexts
        if contexts is None:
            contexts = holder.contexts = {}
        old = contexts.pop(registration, 0)
        if value:
            contexts[registration] = value
            registration.holders[holder] = None
        else:
            registration.holders.pop(holder, None)
        return old

    def release(self, thread: Hashable, holder: ContextHolder) -> None:
        """The key object is going away: a cleanup for each callback that bound a context (B-CTX-13, 15).

        Delivered whatever the altitude of the closing callback is: otherwise the context would be lost.
        """
        if not holder.contexts:
            return
        for registration in sorted(holder.contexts, key=_stack_position):
            self._unbind(thread, registration, holder)

    def _unbind(self, thread: Hashable, registration: Registration, holder: ContextHolder) -> None:
        registration.holders.pop(holder, None)
        value = holder.contexts.pop(registration, 0) if holder.contexts else 0
        if value:
            self._enter(thread, registration, self._deliver_cleanup, holder, value)

    def _deliver_cleanup(self, registration: Registration, holder: ContextHolder, value: int) -> int:
        self._hooks.deliver_cleanup(registration, holder, value)
        return _SUCCESS


def _stack_position(registration: Registration) -> int:
    """Cleanups of one object go in the order of registration; no page gives one."""
    return registration.order
