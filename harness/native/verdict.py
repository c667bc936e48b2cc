"""What an exit code and the output of a case amount to. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harness.registry.status import status_name

__all__ = ["Judgement", "Rule", "Rules", "Verdict", "exit_words"]

#: Exit codes that are no program's own: the code of the exception that ended the process, 0xE06D7363 of C++
#: among them. Above are the negative numbers that programs return.
_EXCEPTIONS: Final = range(0xC000_0000, 0xF000_0000)
_LAST_LINE: Final = 200


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    TODO = "todo"  # failed, as its authors expect


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict and why, in one line."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds for an exit code among `codes`, where there is a `pattern` only with output that it is found in.

    One without codes never holds.
    """

    codes: tuple[int, ...] = ()
    pattern: re.Pattern[str] | None = None

    def reason(self, code: int, output: str) -> str:
        """The line that the pattern was found in, or the exit code; empty when the rule does not hold."""
        if code not in self.codes:
            return ""
        if self.pattern is None:
            return _ended(code, output)
        found = self.pattern.search(output)
        if found is None:
            return ""
        start, end = output.rfind("\n", 0, found.start()) + 1, output.find("\n", found.start())
        return output[start : len(output) if end < 0 else end].strip() or _ended(code, output)


@dataclass(frozen=True, slots=True)
class Rules:
    """How cases of a suite are judged. Exit codes are unsigned 32-bit numbers."""

    pass_codes: tuple[int, ...] = (0,)
    skip: Rule = Rule()
    todo: Rule = Rule()
    fail_pattern: re.Pattern[str] | None = None

    def judge(self, code: int, output: str) -> Judgement:
        """The verdict on a case that ended with `code`; lines of `output` end with a line feed alone.

        What tells a failure comes first: output that says so is not outweighed by a skip.
        """
        if self.fail_pattern is not None:
            said = Rule((code,), self.fail_pattern).reason(code, output)
            if said:
                return Judgement(Verdict.FAILED, said)
        for rule, verdict in ((self.skip, Verdict.SKIPPED), (self.todo, Verdict.TODO)):
            if reason := rule.reason(code, output):
                return Judgement(verdict, reason)
        verdict = Verdict.PASSED if code in self.pass_codes else Verdict.FAILED
        return Judgement(verdict, _ended(code, output))


def _ended(code: int, output: str) -> str:
    """The exit code and the last thing the program wrote, which often says why.

    Not of a process that an exception ended: what it wrote before is no reason.
    """
    if code in _EXCEPTIONS:
        return exit_words(code)
    last = output.rstrip().rpartition("\n")[2].strip()
    return f"{exit_words(code)}: {last[:_LAST_LINE]}" if last else exit_words(code)


def exit_words(code: int) -> str:
    """An exit code in words; where an exception ended the process, by its name."""
    if code in _EXCEPTIONS:
        return f"ended by {status_name(code)}"
    return f"exit code {code - (1 << 32) if code >= _EXCEPTIONS.stop else code}"
