"""How a machine stops: its bugchecks and hangs, and whom they blame.

What a fault or an exception becomes is judged in `harness.reference.crash`. Sources: the pages "Bug Check
0x..." of the Bug Check Code Reference, each named where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from harness.errors import GuestCrashed, GuestHung
from harness.guest.bugcheck import Bugcheck
from harness.reference.crash import Fault, FaultPolicy
from harness.reference.faults import ExceptionRecord, GuestException, GuestFault
from harness.reference.translation import DISPATCH_LEVEL
from harness.registry.version import WIN8, WindowsVersion

if TYPE_CHECKING:
    from harness.reference.cpu import Cpu
    from harness.reference.memory import Memory
    from harness.reference.modules import Driver, Modules
    from harness.reference.registers import Registers
    from harness.reference.stackwalk import StackWalker
    from harness.reference.symbols import Symboliser
    from harness.reference.watchdog import Watchdog

__all__ = ["Crashable"]

MANUALLY_INITIATED_CRASH: Final = 0xE2
DPC_WATCHDOG_VIOLATION: Final = 0x133
UNEXPECTED_KERNEL_MODE_TRAP: Final = 0x7F
IRQL_GT_ZERO_AT_SYSTEM_SERVICE: Final = 0x4A
_DOUBLE_FAULT: Final = 8


class Crashable:
    """The part of `Machine` that ends its life."""

    version: WindowsVersion
    memory: Memory
    cpu: Cpu
    modules: Modules
    symbols: Symboliser
    stacks: StackWalker
    faults: FaultPolicy
    watchdog: Watchdog

    def __init__(self) -> None:
        #: The bugcheck the machine died of; set once, and every later call into the guest raises it again.
        self.crash: Bugcheck | None = None
        self._hangs = False
        self._suspect: Driver | None = None

    def require_alive(self) -> None:
        """Raises `GuestCrashed` or `GuestHung`, whichever the machine ended with before."""
        if self.crash is not None:
            raise (GuestHung if self._hangs else GuestCrashed)(self.crash)

    # --- bugchecks -------------------------------------------------------------------------------

    def bugcheck(
        self,
        code: int,
        p1: int = 0,
        p2: int = 0,
        p3: int = 0,
        p4: int = 0,
        *,
        reason: str = "",
        driver: Driver | None = None,
        registers: Registers | None = None,
        stack: tuple[int, ...] | None = None,
    ) -> NoReturn:
        """Crash the machine: raises `GuestCrashed` with the parameters, the driver and the symbolised stack.

        `driver` is the culprit where that is not the innermost driver on the stack. `registers` are those
        of a fault, `stack` the frame addresses where they are known already.
        """
        raise GuestCrashed(self._describe(code, (p1, p2, p3, p4), reason, driver, registers, stack))

    def _describe(
        self,
        code: int,
        parameters: tuple[int, int, int, int],
        reason: str,
        driver: Driver | None,
        registers: Registers | None,
        stack: tuple[int, ...] | None,
    ) -> Bugcheck:
        """What the machine stops with. The first one is what it died of, whatever follows on the way down."""
        addresses = list(stack) if stack is not None else self.stacks.addresses(registers)
        if driver is None:
            drivers = (self.modules.at(a if i == 0 else a - 1) for i, a in enumerate(addresses))
            driver = next((d for d in drivers if d is not None), self._suspect)
        mask = self.memory.map.address_mask
        p1, p2, p3, p4 = (p & mask for p in parameters)
        found = Bugcheck(
            code,
            (p1, p2, p3, p4),
            driver=driver.name if driver is not None else "",
            reason=reason,
            stack=self.stacks.symbolise(addresses),
        )
        self.crash = self.crash or found
        self.cpu.attention_at = 0.0
        return found

    @contextmanager
    def suspecting(self, driver: Driver | None) -> Iterator[None]:
        """A bugcheck inside the block that finds no driver on the stack names this one, if any."""
        before, self._suspect = self._suspect, driver or self._suspect
        try:
            yield
        finally:
            self._suspect = before

    # --- what ends in one ------------------------------------------------------------------------

    def fault_record(self, fault: GuestFault) -> ExceptionRecord:
        """The exception of a bad address met by an export, or its bugcheck."""
        level = self.cpu.levels[-1]
        pc = self.cpu.code.slot_of(level.trap) if level.trap else 0
        return self.faults.settle(Fault(fault.address, fault.access, pc, None))

    def unhandled(self, error: GuestException) -> NoReturn:
        """Bugcheck of an exception that nothing handled."""
        self.faults.unhandled(error)

    @contextmanager
    def kernel_work(self) -> Iterator[None]:
        """What the kernel does by itself inside the block, for nobody's call.

        Where it stumbles over what a driver left it (a list entry, an object in freed pool), that is a
        bugcheck.
        """
        try:
            yield
        except GuestFault as fault:
            record = self.faults.settle(Fault(fault.address, fault.access, 0, None))
            self.unhandled(GuestException(record, pc=0))

    def double_fault(self, address: int, registers: Registers | None = None) -> NoReturn:
        """The kernel stack is used up. Page "Bug Check 0x7F": trap 8 (double fault)."""
        self.bugcheck(
            UNEXPECTED_KERNEL_MODE_TRAP,
            _DOUBLE_FAULT,
            address,
            reason="the kernel stack is used up",
            registers=registers,
        )

    def irql_changed(self, function: int, before: int) -> NoReturn:
        """Bugcheck of a routine that returned at another IRQL than it was called at.

        Page "Bug Check 0x4A": address of the system service, current IRQL, 0, 0.
        """
        name = str(self.symbols.frame(function, exact=True))
        driver = self.modules.at(function)
        self.bugcheck(
            IRQL_GT_ZERO_AT_SYSTEM_SERVICE,
            function,
            self.cpu.irql,
            reason=f"{name} was called at IRQL {before} and returned at IRQL {self.cpu.irql}",
            driver=driver,
            stack=(function, *self.stacks.addresses()),
        )

    # --- hangs -----------------------------------------------------------------------------------

    def hung(self) -> NoReturn:
        """The deadline passed. Page "Bug Check 0x133" at DISPATCH_LEVEL or above: 1, period in ticks.

        Below it, and before Windows 8, Windows has no watch-dog and just stops: `GuestHung` with the
        code of a crash that a person asks for to see where a machine hangs (page "Bug Check 0xE2").
        """
        reason = f"guest code has been running for more than {self.watchdog.deadline:g} s"
        if self.cpu.irql >= DISPATCH_LEVEL and self.version >= WIN8:
            ticks = round(self.watchdog.deadline * 64)
            self.bugcheck(DPC_WATCHDOG_VIOLATION, 1, ticks, reason=f"{reason} at IRQL {self.cpu.irql}")
        raise GuestHung(self.describe_hang(reason))

    def describe_hang(self, reason: str) -> Bugcheck:
        """What to put into a `GuestHung`: the reason and the stack of the code that goes on no more."""
        self._hangs = self._hangs or self.crash is None
        return self._describe(MANUALLY_INITIATED_CRASH, (0, 0, 0, 0), reason, None, None, None)
