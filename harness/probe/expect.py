"""What a failed comparison of a trace shows: expected and seen events side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

from harness.probe.event import Event, class_name
from harness.probe.table import printable
from harness.probe.trace import Trace

__all__ = ["MAX_LINES", "explain", "one_line", "side_by_side"]

#: Lines of a comparison; what is left out is counted.
MAX_LINES: Final = 60
_NAMES_IN_LINE: Final = 8

Expected = Sequence[object]


def explain(op: str, left: object, right: object) -> list[str] | None:
    """Lines for pytest's assertrepr hook; None when this is no comparison of a trace.

    The trace may stand on either side; the other side is a list of notify classes, of events, or a trace.
    """
    if op != "==":
        return None
    seen, expected = (left, right) if isinstance(left, Trace) else (right, left)
    if not isinstance(seen, Trace) or not isinstance(expected, Trace | list | tuple):
        return None
    return [f"the trace has {_count(len(seen))}, expected {len(expected)}", *side_by_side(expected, seen)]


def side_by_side(expected: Expected, seen: Trace) -> list[str]:
    """Expected classes on the left, seen events on the right; `<` marks what is missing, `>` the extra."""
    wanted = [_expected_name(item) for item in expected]
    events = list(seen[:MAX_LINES])
    got = [class_name(event.notify_class) for event in events]
    width = max([len("expected"), *(len(name) for name in wanted)])
    lines = [f"  {'expected':<{width}}   seen"]
    lines += [
        f"{'' if mark == ' ' else mark:<1} {left:<{width}}   {right}".rstrip()
        for mark, left, right in _rows(wanted, got, events)
    ]
    if not wanted and not events:
        lines.append(f"  {'(nothing)':<{width}}   (nothing)")
    hidden = len(lines) - MAX_LINES - 1 + max(0, len(seen) - MAX_LINES)
    if hidden > 0:
        lines = [*lines[: MAX_LINES + 1], f"  ... and {hidden} more"]
    return lines


def one_line(trace: Trace) -> str:
    """What repr() of a trace says."""
    names = [class_name(number) for number in trace.classes[:_NAMES_IN_LINE]]
    if len(trace) > _NAMES_IN_LINE:
        names.append("...")
    return f"<trace of {_count(len(trace))}: {', '.join(names)}>" if names else "<trace of 0 events>"


def _rows(wanted: list[str], got: list[str], events: list[Event]) -> Iterator[tuple[str, str, str]]:
    matcher = SequenceMatcher(a=wanted, b=got, autojunk=False)
    for tag, left_from, left_to, right_from, right_to in matcher.get_opcodes():
        if tag == "equal":
            for left, event in zip(wanted[left_from:left_to], events[right_from:right_to], strict=True):
                yield " ", left, printable(str(event))
            continue
        for left in wanted[left_from:left_to]:
            yield "<", left, ""
        for event in events[right_from:right_to]:
            yield ">", "", printable(str(event))


def _expected_name(item: object) -> str:
    if isinstance(item, Event):
        return class_name(item.notify_class)
    return class_name(item) if isinstance(item, int) else repr(item)


def _count(number: int) -> str:
    return f"{number} event" if number == 1 else f"{number} events"
