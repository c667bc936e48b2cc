"""`harness clean`: end and remove what killed runs left behind."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.output import AsJson, print_json

__all__ = ["clean"]


def clean(
    everything: Annotated[
        bool,
        typer.Option("--all", help="Templates that nobody uses as well; they are made again when needed."),
    ] = False,
    keep: Annotated[
        int, typer.Option(help="With --all: keep this many templates, those used last.", min=0)
    ] = 0,
    images: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS",
            help="Built images that no command asked for in so many days as well; installed ones stay.",
            min=1,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would go, remove nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End machines and remove files that killed runs left behind.

    Nothing of a running process is touched. The next run does the same by itself when it starts.

    Example: harness clean --dry-run

    Example: harness clean --all --keep 2

    Example: harness clean --images 7
    """
    from harness.image.store import ImageStore
    from harness.machine.keep.clean import Leftover, LeftoverKind, find_leftovers, remove, size_of

    found = find_leftovers(everything=everything, keep=keep)
    store, seconds = ImageStore(), (images or 0) * 86400.0
    if images is not None:
        reason = f"not used for {images} days; it is made again when it is needed"
        unused = store.unused(seconds)
        found += tuple(Leftover(LeftoverKind.IMAGE, (path,), reason, size_of(path)) for path in unused)
    if as_json:
        print_json(
            [
                {
                    "kind": leftover.kind.value,
                    "paths": [str(path) for path in leftover.paths],
                    "reason": leftover.reason,
                    "size": leftover.size,
                }
                for leftover in found
            ]
        )
    else:
        for leftover in found:
            typer.echo(f"{'would remove' if dry_run else 'removing'} {leftover}")
        if not found:
            typer.echo("nothing is left behind")
    if not dry_run:
        remove(leftover for leftover in found if leftover.kind is not LeftoverKind.IMAGE)
        if images is not None:
            store.remove_unused(seconds)
