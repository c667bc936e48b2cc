"""Remarks about answers of callbacks that nobody else tells of, most without a documented meaning.

Once for each callback and kind, in the debug output, where a driver's developer looks. What the model does
then is in `unspecified`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.registry.notify import NotifyClass
from harness.registry.status import status_name

if TYPE_CHECKING:
    from harness.reference.faults import GuestException
    from harness.reference.filtering.registration import Registration
    from harness.reference.machine import Machine

__all__ = ["Remarks"]


class Remarks:
    """What was remarked on one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def input_edited(self, registration: Registration, notify_class: int) -> None:
        """B-NOT-28."""
        self._remark(
            registration,
            notify_class,
            "changed input members of the structure: no page says that the system uses what is left there",
        )

    def status_edited(self, registration: Registration, notify_class: int) -> None:
        """B-NOT-23."""
        self._remark(
            registration,
            notify_class,
            "wrote Status: what that does isn't documented; set ReturnStatus and return "
            "STATUS_CALLBACK_BYPASS",
        )

    def override_ignored(self, registration: Registration, notify_class: int, returned: int) -> None:
        """B-NOT-22."""
        self._remark(
            registration,
            notify_class,
            f"set ReturnStatus and returned {status_name(returned)}: it is ignored unless "
            "STATUS_CALLBACK_BYPASS is returned",
        )

    def post_failed(self, registration: Registration, notify_class: int, returned: int) -> None:
        """B-NOT-24."""
        self._remark(
            registration,
            notify_class,
            f"returned {status_name(returned)} from a post notification: what that does isn't documented",
        )

    def exception_swallowed(
        self, registration: Registration, notify_class: int, error: GuestException
    ) -> None:
        """B-NOT-40: nothing else tells of it."""
        place = self._machine.symbols.frame(error.address, exact=True)
        self._remark(
            registration,
            notify_class,
            f"ended in an exception, which this Windows swallows: {error.describe()}, at {place}",
        )

    def _remark(self, registration: Registration, notify_class: int, what: str) -> None:
        machine = self._machine
        driver = machine.driver_at(registration.routine)
        who = f"{driver.name if driver else 'a driver'}, {NotifyClass(notify_class).documented_name}"
        where = "" if registration.altitude is None else f" at {registration.altitude}"
        text = f"{who}: the callback{where} {what}"
        debug = machine.kernel.debug
        if text not in debug.notes:
            debug.note(text)
