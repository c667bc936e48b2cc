"""Bugchecks in the text that a kernel writes to its debug port.

A pure function of the output, told piece by piece. What is recognised, and where it is written down:
- Windows and ReactOS with a debugger enabled: ``*** Fatal System Error: 0x000000d1`` and the four parameters
  in parentheses on the next line, then ``Driver at fault: NAME.`` (ke/bugcheck of ReactOS; the texts of "Bug
  check: reading bug check data" in the Windows debugger documentation are the same);
- the stop screen's line ``*** STOP: 0x0000007E (0x..,0x..,0x..,0x..)``, where a port shows the screen;
- ReactOS' own debugger: ``Entered debugger on ...`` and its prompt ``kdb:>``, at which everything stands;
- a failed assertion of a checked kernel, which asks what to do and stands;
- Linux: ``Kernel panic - not syncing: ...`` and the first line of an oops (kernel/panic.c, ``die`` of
  arch/x86/kernel/dumpstack.c).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from harness.guest.bugcheck import Bugcheck
from harness.machine.watch.lines import LineCutter

__all__ = ["CrashText"]

_NUMBER = r"0[xX][0-9A-Fa-f]{1,16}"
_FOUR = rf"\(\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)"

_STOP: Final = re.compile(rf"\*\*\* (?:STOP|Fatal System Error): ({_NUMBER})(?:\s*{_FOUR})?")
_PARAMETERS: Final = re.compile(rf"\s*{_FOUR}")
_DRIVER: Final = (
    re.compile(r"Driver at fault: (\S{1,260}?)\.?\s*$"),
    re.compile(r"The (\S{1,260}) driver may be at fault"),
    re.compile(r"\*\*\*\s+(\S{1,260}) - Address \S+ base at "),
)
_ENTERED: Final = re.compile(r"Entered debugger on (.{1,200})")
_ASSERTION: Final = re.compile(r"\*\*\* Assertion failed: (.{1,200})")

_STAMP = r"^(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[[^\]]{1,16}\])? )?"
_PANIC: Final = re.compile(_STAMP + r"(Kernel panic - not syncing.{0,200})")
_OOPS: Final = re.compile(_STAMP + r"([A-Za-z][\w ,:/-]{2,80}: [0-9a-f]{4} \[#\d+\])")
_BUG: Final = re.compile(_STAMP + r"(BUG: (?:unable to handle|kernel NULL pointer).{0,200})")

_DEBUGGER_PROMPTS: Final = (b"kdb:>",)
_QUESTIONS: Final = (b"Break repeatedly, break Once", b"Break, Ignore, Terminate")
#: Lines after a stop code in which its parameters and driver are looked for.
_PATIENCE: Final = 12


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A bugcheck whose text may not be complete yet."""

    bugcheck: Bugcheck
    lines_left: int

    @property
    def complete(self) -> bool:
        found = self.bugcheck
        return self.lines_left <= 0 or bool(found.code is not None and found.parameters and found.driver)


class CrashText:
    """Recognises the first bugcheck in a debug port's output.

    `feed` takes the bytes as they come, split anywhere; it returns the bugcheck once, when its text is
    complete. `settle` is for when nothing more comes for a while: it returns what there is.
    """

    def __init__(self) -> None:
        self._cutter = LineCutter()
        self._sighting: _Sighting | None = None
        self._context = ""
        self._told = False

    @property
    def pending(self) -> bool:
        """Something was seen, and more of it may come."""
        return self._sighting is not None and not self._told

    def feed(self, data: bytes) -> Bugcheck | None:
        if self._told:
            return None
        for line in self._cutter.feed(data):
            if self._line(line):
                return self._tell()
        return self._tell() if self._stands() else None

    def settle(self) -> Bugcheck | None:
        """What was seen so far. The unfinished line counts: a machine may stop in the middle of one."""
        if self._told:
            return None
        self._line(self._cutter.unfinished)
        return self._tell() if self._sighting is not None else None

    def _tell(self) -> Bugcheck | None:
        assert self._sighting is not None
        self._told = True
        return self._sighting.bugcheck

    def _see(self, bugcheck: Bugcheck, *, lines: int = _PATIENCE) -> bool:
        if self._sighting is None:
            self._sighting = _Sighting(bugcheck, lines)
        return self._sighting.complete

    def _stands(self) -> bool:
        """Whether the kernel waits at a prompt: nothing more will come."""
        if self._cutter.starts_with(_DEBUGGER_PROMPTS):
            self._see(Bugcheck.unknown("the guest stopped in its kernel debugger (prompt kdb:>)"))
            return True
        if self._cutter.starts_with(_QUESTIONS):
            self._see(Bugcheck.unknown(self._context or "an assertion of the guest's kernel failed"))
            return True
        return False

    def _line(self, line: str) -> bool:
        """Take one line in; True when the bugcheck is complete."""
        if self._sighting is None:
            return self._first(line)
        found = self._sighting.bugcheck
        if (stop := _STOP.search(line)) and found.code is None:
            found = _stopped(stop)
        elif not found.parameters and (four := _PARAMETERS.match(line)):
            found = replace(found, parameters=_numbers(four, 1))
        elif not found.driver:
            for pattern in _DRIVER:
                if named := pattern.search(line):
                    found = replace(found, driver=named[1])
        self._sighting = _Sighting(found, self._sighting.lines_left - 1)
        return self._sighting.complete

    def _first(self, line: str) -> bool:
        if stop := _STOP.search(line):
            return self._see(_stopped(stop))
        if entered := _ENTERED.search(line):
            return self._see(
                Bugcheck.unknown(f"the guest entered its kernel debugger on {_clean(entered[1])}")
            )
        if panic := _PANIC.match(line):
            return self._see(Bugcheck.unknown(_clean(panic[1])), lines=0)
        if oops := _OOPS.match(line):
            text = f"{self._context}; {oops[1]}" if self._context else oops[1]
            return self._see(Bugcheck.unknown(_clean(text)), lines=0)
        if assertion := _ASSERTION.search(line):
            self._context = f"an assertion of the guest's kernel failed: {_clean(assertion[1])}"
        elif bug := _BUG.match(line):
            self._context = _clean(bug[1])
        return False


def _stopped(stop: re.Match[str]) -> Bugcheck:
    return Bugcheck(int(stop[1], 16), _numbers(stop, 2) if stop[2] else ())


def _numbers(found: re.Match[str], group: int) -> tuple[int, int, int, int]:
    first, second, third, fourth = (int(found[group + index], 16) for index in range(4))
    return first, second, third, fourth


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text).strip()
