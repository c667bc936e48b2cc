"""What `harness driver try` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.firstlook import FirstLook, Operation
from harness.results.matrix import kind_note

__all__ = ["print_look"]


def print_look(look: FirstLook) -> None:
    """The whole look, for people. Nothing in it is taken as markup: a driver chose some of the words."""
    console = Console(highlight=False)
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(look):
        facts.add_row(name, Text(value))
    console.print(facts)
    if look.operations:
        console.print(_operations(look.operations))
    for title, lines in (("debug output", look.debug), ("crash", tuple(look.crash.splitlines()))):
        if lines:
            console.print(Text(f"\n{title}", "bold"))
            for line in lines:
                console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text(f"\n{kind_note(look.kind)}", "italic"))


def _facts(look: FirstLook) -> Iterator[tuple[str, str]]:
    yield "driver", f"{look.file} ({look.arch}, SHA-256 {look.sha256[:16]}...)"
    yield "guest", look.target
    yield "signature", look.signature
    if look.unmodelled:
        yield "not modelled", ", ".join(look.unmodelled)
    if look.refused:
        yield "refused", look.refused
    if look.entry_status:
        yield "DriverEntry", look.entry_status
    if look.entry_status and not look.refused:
        yield "devices", ", ".join(look.devices) or "none"
        yield "filters", ", ".join(_filter(f.altitude, f.legacy) for f in look.filters) or "none"
    if look.unload:
        yield "unload", look.unload


def _filter(altitude: str, legacy: bool) -> str:
    return f"{altitude} (CmRegisterCallback)" if legacy else altitude


def _operations(operations: tuple[Operation, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="\nworkload", title_justify="left")
    for column in ("operation", "without the driver", "with it", "what the driver did"):
        table.add_column(column, overflow="fold")
    for operation in operations:
        done = list(operation.changes)
        if operation.output_differs:
            done.append("the caller gets other data")
        style = "" if operation.unchanged else "yellow"
        same = operation.with_driver == operation.without
        table.add_row(
            Text(operation.name),
            Text(operation.without),
            Text("same" if same else operation.with_driver, style),
            Text("\n".join(done) or "-", style),
        )
    return table
