"""Rules of call that Driver Verifier enforces: at which IRQL a routine may be called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = [
    "APC_LEVEL",
    "DISPATCH_LEVEL",
    "HIGH_LEVEL",
    "INTERNAL",
    "PASSIVE_LEVEL",
    "irql_name",
    "need_irql",
    "need_zw",
]

PASSIVE_LEVEL: Final = 0
APC_LEVEL: Final = 1
DISPATCH_LEVEL: Final = 2
HIGH_LEVEL: Final = 15

#: Module of routines that only the kernel's own structures point at; no driver can import them.
INTERNAL: Final = ("kernel-internal",)

_IRQL_NAMES: Final = {0: "PASSIVE_LEVEL", 1: "APC_LEVEL", 2: "DISPATCH_LEVEL", 15: "HIGH_LEVEL"}


def irql_name(irql: int) -> str:
    return _IRQL_NAMES.get(irql, f"IRQL {irql}")


def need_irql(m: Machine, highest: int, routine: str, page: str) -> None:
    """Bugcheck 0xC4 (0xE5: "a kernel API was called at the incorrect IRQL") above the IRQL `page` allows.

    A page that allows PASSIVE_LEVEL only says that the routine is pageable. Paging works at APC_LEVEL just as
    well, and drivers in the field do call such routines with a fast mutex held: that is noted, not punished.
    """
    irql = m.cpu.irql
    if irql <= highest:
        return
    if highest == PASSIVE_LEVEL and irql == APC_LEVEL:
        remark = f"{routine} was called at APC_LEVEL; {page} allows PASSIVE_LEVEL"
        if remark not in m.kernel.debug.notes:
            m.kernel.debug.note(remark)
        return
    m.bugcheck(
        0xC4,
        0xE5,
        irql,
        0,
        0,
        reason=f"{routine} was called at {irql_name(irql)}; {page} allows {irql_name(highest)} at most",
    )


def need_zw(m: Machine, routine: str) -> None:
    """Zw routines need PASSIVE_LEVEL: bugcheck 0xC4 (0xE6) otherwise."""
    if m.cpu.irql > PASSIVE_LEVEL:
        m.bugcheck(
            0xC4,
            0xE6,
            m.cpu.current_pc(),
            m.cpu.irql,
            0,
            reason=f"{routine} was called at {irql_name(m.cpu.irql)}; Zw routines need PASSIVE_LEVEL",
        )
