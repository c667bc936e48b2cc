"""What `harness driver try` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
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
        console.print(_operations(look.operations), soft_wrap=True)
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
        devices = look.has.devices + look.has.links if look.has is not None else ()
        callbacks = look.has.callbacks if look.has is not None else ()
        yield "devices", ", ".join(devices) or "none"
        yield "filters", ", ".join(_filter(each.altitude, each.legacy) for each in callbacks) or "none"
    if look.unload:
        yield "unload", look.unload


def _filter(altitude: str, legacy: bool) -> str:
    return f"{altitude} (CmRegisterCallback)" if legacy else altitude


def _operations(operations: tuple[Operation, ...]) -> RenderableType:
    """The operations that came out differently, and how many did not."""
    changed = [operation for operation in operations if not operation.unchanged]
    unchanged = len(operations) - len(changed)
    same = f"\n{unchanged} of {len(operations)} operations of the workload went through unchanged"
    if not changed:
        return Text(same)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("operation", "without the driver", "with it"):
        table.add_column(column, overflow="fold")
    details: list[Text] = []
    for operation in changed:
        table.add_row(Text(operation.name), Text(operation.without), Text(operation.with_driver, "yellow"))
        details += [Text(f"  {operation.name}: {change}") for change in operation.changes]
        if operation.output_differs:
            details.append(Text(f"  {operation.name}: the caller gets other data"))
    return Group(Text(same + ", these didn't:"), table, Text("\nwhat the driver did", "bold"), *details)
