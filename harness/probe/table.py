"""Traces as tables for people."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.probe.event import Event, class_name
from harness.registry.status import status_name

if TYPE_CHECKING:
    from harness.probe.trace import Trace

__all__ = ["MAX_ROWS", "as_table", "as_text"]

#: Rows of a printed trace; the rest is counted.
MAX_ROWS: Final = 200
_WIDTH: Final = 200
_COLUMNS: Final = ("#", "time", "filter", "notification", "key", "name", "status", "returned", "thread")


def as_table(trace: Trace) -> Table:
    """A rich table of at most `MAX_ROWS` events, actions indented below their notification."""
    left = len(trace) - MAX_ROWS
    title = f"{len(trace)} events" + (f", the first {MAX_ROWS} shown" if left > 0 else "")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(
            name, overflow="fold", justify="right" if name in ("#", "time", "thread") else "left"
        )
    start = int(trace.records["time"][0]) if len(trace) else 0
    for event in trace[:MAX_ROWS].with_actions:
        # Text: what a driver sends must not be taken as markup.
        table.add_row(*(Text(cell) for cell in _cells(event, start)))
    if left > 0:
        table.caption = f"... and {left} more"
    return table


def as_text(trace: Trace) -> str:
    """The table as plain text, `_WIDTH` columns wide at most."""
    out = StringIO()
    Console(file=out, width=_WIDTH, color_system=None).print(as_table(trace))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def printable(text: str) -> str:
    """Text from a guest with control characters, surrogates and the like escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _cells(event: Event, start: int) -> tuple[str, ...]:
    what = class_name(event.notify_class)
    if event.action is not None:
        action = getattr(event.action, "name", None) or f"action {event.action}"
        what = f"  {action.lower()} (rule {event.rule_id})"
    done = event.is_post or event.action is not None
    return (
        str(event.sequence),
        f"+{event.time - start}",
        event.filter_name,
        what,
        printable(event.key_name),
        printable(event.name),
        status_name(event.status) if done else "",
        "" if event.action is not None else status_name(event.returned),
        str(event.thread_id),
    )
