"""What a failed comparison of a trace shows: expected and seen events side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

from harness.probe.comparison import Comparison, Line, Verdict
from harness.probe.event import Event, class_name
from harness.probe.table import printable
from harness.probe.trace import Trace

__all__ = ["MAX_LINES", "as_lines", "compare", "explain", "one_line", "side_by_side"]

#: Lines of a comparison; what is left out is counted.
MAX_LINES: Final = 60
#: Events of a side that are compared at all.
_MAX_EVENTS: Final = 500
_NAMES_IN_LINE: Final = 8
#: Characters shown of an expected item that is neither a class nor an event.
_LONGEST: Final = 200

Expected = Sequence[object]


def compare(op: str, left: object, right: object) -> Comparison | None:
    """The comparison behind ``left == right``; None when this is no comparison of a trace.

    The trace may stand on either side; the other side is a list of notify classes, of events, or a trace.
    """
    if op != "==":
        return None
    seen, expected = (left, right) if isinstance(left, Trace) else (right, left)
    if not isinstance(seen, Trace) or not isinstance(expected, Trace | list | tuple):
        return None
    return _align(expected, seen)


def explain(op: str, left: object, right: object) -> list[str] | None:
    """Lines for pytest's assertrepr hook; None when this is no comparison of a trace."""
    found = compare(op, left, right)
    return None if found is None else [found.headline, *as_lines(found)]


def side_by_side(expected: Expected, seen: Trace) -> list[str]:
    """Expected classes on the left, seen events on the right; `<` marks what is missing, `>` the extra."""
    return as_lines(_align(expected, seen))


def as_lines(comparison: Comparison) -> list[str]:
    """A comparison for the terminal, at most `MAX_LINES` lines and a heading."""
    shown = comparison.lines[:MAX_LINES]
    width = max([len("expected"), *(len(line.expected) for line in shown)])
    lines = [f"  {'expected':<{width}}   seen"]
    lines += [f"{_MARKS[line.verdict]:<1} {line.expected:<{width}}   {line.event}".rstrip() for line in shown]
    if not shown:
        lines.append(f"  {'(nothing)':<{width}}   (nothing)")
    left = len(comparison.lines) - len(shown) + comparison.left_out
    if left > 0:
        lines.append(f"  ... and {left} more")
    return lines


def one_line(trace: Trace) -> str:
    """What repr() of a trace says."""
    names = [class_name(number) for number in trace.classes[:_NAMES_IN_LINE]]
    if len(trace) > _NAMES_IN_LINE:
        names.append("...")
    return f"<trace of {_count(len(trace))}: {', '.join(names)}>" if names else "<trace of 0 events>"


_MARKS: Final = {Verdict.SAME: "", Verdict.MISSING: "<", Verdict.EXTRA: ">"}


def _align(expected: Expected, seen: Trace) -> Comparison:
    wanted = [_expected_name(item) for item in expected[:_MAX_EVENTS]]
    events = list(seen[:_MAX_EVENTS])
    return Comparison(len(expected), len(seen), tuple(_lines(wanted, events)))


def _lines(wanted: list[str], events: list[Event]) -> Iterator[Line]:
    got = [class_name(event.notify_class) for event in events]
    matcher = SequenceMatcher(a=wanted, b=got, autojunk=False)
    for tag, left_from, left_to, right_from, right_to in matcher.get_opcodes():
        if tag == "equal":
            for left, event in zip(wanted[left_from:left_to], events[right_from:right_to], strict=True):
                yield Line(Verdict.SAME, left, class_name(event.notify_class), printable(str(event)))
            continue
        for left in wanted[left_from:left_to]:
            yield Line(Verdict.MISSING, expected=left)
        for event, name in zip(events[right_from:right_to], got[right_from:right_to], strict=True):
            yield Line(Verdict.EXTRA, seen=name, event=printable(str(event)))


def _expected_name(item: object) -> str:
    if isinstance(item, Event):
        return class_name(item.notify_class)
    return class_name(item) if isinstance(item, int) else printable(repr(item)[:_LONGEST])


def _count(number: int) -> str:
    return f"{number} event" if number == 1 else f"{number} events"
