"""The callback contract: which callback is told what, in which order, and what its answer does.

Nothing here knows about guest memory. `FilterStack` decides who gets an operation's `Notice`, keeps what each
callback stored, and turns the answers into the fate of the operation. The reference guest's notices are
structures in guest memory (`marshal`), those of the tests are plain Python objects.

Sources: kernel/handling-notifications, kernel/supporting-layered-registry-filtering-drivers,
ns-wdm-_reg_post_operation_information, regfltr; per rule the behaviour id. Where no page decides, the
choice is listed in `unspecified`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Final

from harness.reference.filtering.notice import CallbackRaisedError, Notice, StackHooks
from harness.reference.filtering.registration import (
    LEGACY_ALTITUDE,
    ContextHolder,
    Registration,
    RegistrationResult,
)
from harness.registry.altitude import Altitude, is_altitude
from harness.registry.status import NTSTATUS
from harness.registry.version import WindowsVersion

__all__ = ["Fate", "FilterStack", "Passage"]

_SUCCESS: Final = int(NTSTATUS.SUCCESS)
_BYPASS: Final = int(NTSTATUS.CALLBACK_BYPASS)
_FAILURE_BIT: Final = 0x80000000  # NT_SUCCESS is "not negative": errors and warnings have it (B-NOT-06)

_FIRST_COOKIE: Final = 0x01D0_5EED_0000_1000
_COOKIE_STEP: Final = 0x10


class Fate(Enum):
    """What became of an operation after its pre notifications."""

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
        self.fate = Fate.PROCEED
        self.status = _SUCCESS

    @property
    def proceeds(self) -> bool:
        """The operation itself is to be performed."""
        return self.fate is Fate.PROCEED

    @property
    def bypassed(self) -> bool:
        """A callback completed the operation: its outputs are the callback's (B-NOT-09, 12)."""
        return self.fate is Fate.BYPASSED


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
                passage.fate = Fate.BYPASSED
            else:
                passage.fate = Fate.BLOCKED
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
        settled = passage.fate is not Fate.PROCEED
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
