"""Routines that are there so that drivers load, and that the model does not carry out.

Each answers as its page lets it fail (or with nothing, where it returns nothing) and says so once in the
debug output; loading a driver that imports some names them all. What a driver can't go on without is not in
here: such an import stays missing, and the load fails.

A line of a table is the answer, the name, and the kinds of the arguments. ``status`` is STATUS_NOT_SUPPORTED,
``none`` is NULL, FALSE or 0, ``void`` nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.exports import Bound, export
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["decline"]

_ANSWERS: Final[dict[str, tuple[int | None, str]]] = {
    "status": (NTSTATUS.NOT_SUPPORTED, "STATUS_NOT_SUPPORTED"),
    "none": (0, "0"),
    "void": (None, "no effect"),
}


def decline(
    table: str, *, why: str, modules: tuple[str, ...] = ("ntoskrnl.exe",), since: Bound = (5, 1)
) -> None:
    """Declare every routine of `table`; `why` completes "not modelled: ..."."""
    for line in table.strip().splitlines():
        answer, name, *kinds = line.split()
        export(name, args=", ".join(kinds), modules=modules, since=since, declined=True)(
            _routine(name, *_ANSWERS[answer], why)
        )


def _routine(name: str, answer: int | None, shown: str, why: str) -> Callable[..., int | None]:
    def declined(m: Machine, *args: int) -> int | None:
        remark = f"{name} is not modelled ({why}): {shown}"
        if remark not in m.kernel.debug.notes:
            m.kernel.debug.note(remark)
        return answer

    declined.__module__ = __name__
    return declined
