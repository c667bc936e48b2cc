"""`harness bisect`: since when a bundle fails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.cli.output import AsJson, print_json, print_table, say
from harness.cli.repro import BundleFile

if TYPE_CHECKING:
    from harness.repro.bisect import Bisection

__all__ = ["bisect"]

_STYLES: Final = {"good": "green", "bad": "red", "other": "yellow", "unknown": "magenta"}


def bisect(
    bundle: BundleFile,
    targets: Annotated[
        list[str] | None,
        typer.Option(help="Targets or patterns, oldest first; repeatable.", show_default=False),
    ] = None,
    drivers: Annotated[
        list[Path] | None,
        typer.Option(help="Builds of the driver, oldest first; repeatable.", show_default=False),
    ] = None,
    drivers_from: Annotated[
        Path | None,
        typer.Option(help="A folder of builds, ordered as git describe names them.", show_default=False),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Ask every one; finds out where good and bad aren't in order.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the first bad target, or build of a driver, by a bundle.

    The list is taken to be good at first and bad from some place on; both ends are tried before anything.
    Exit codes: 0 found, 1 not.

    Example: harness bisect failure.zip --targets 'reference:*'

    Example: harness bisect failure.zip --drivers-from builds/
    """
    from harness.errors import UsageError
    from harness.repro.again import Again
    from harness.repro.bisect import bisect as search
    from harness.repro.bundle import Bundle
    from harness.repro.missing import missing
    from harness.repro.verdict import Attempt, Verdict

    if sum(bool(given) for given in (targets, drivers, drivers_from)) != 1:
        raise UsageError("give one list: --targets, --drivers or --drivers-from")
    with Bundle.open(bundle) as opened:
        names = _targets(opened, targets) if targets else _builds(drivers, drivers_from)

        def ask(name: str) -> Attempt:
            say(f"trying {name}", err=True)
            where = name if targets else opened.manifest.target
            if trouble := missing(opened, where)[1]:
                return Attempt(Verdict.SKIPPED, "can't be run here: " + "; ".join(trouble))
            with Again(opened, target=where, driver=None if targets else Path(name)) as again:
                return again.run()

        found = search(names, ask, every=every)
    _tell(found, as_json)
    raise typer.Exit(0 if found.conclusive else 1)


def _builds(drivers: list[Path] | None, folder: Path | None) -> list[str]:
    from harness.repro.bisect import builds_in

    return [str(path) for path in (drivers or (builds_in(folder) if folder is not None else []))]


def _targets(bundle: object, patterns: list[str]) -> list[str]:
    """The targets that have the driver's architecture, where there is a driver under test."""
    from harness.repro.bundle import Bundle
    from harness.repro.missing import recipe_folders
    from harness.targets import resolve_targets

    assert isinstance(bundle, Bundle)
    chosen = resolve_targets(patterns, recipe_folders(bundle, ()))
    arch = bundle.manifest.guest.arch
    return [target.name for target in chosen if target.arch.value == arch]


def _tell(found: Bisection, as_json: bool) -> None:
    rows = [
        {"candidate": each.candidate, "found": each.judgement.value, "message": each.message}
        for each in found.answers
    ]
    if as_json:
        print_json(
            {"first_bad": found.first_bad, "last_good": found.last_good, "said": found.said, "tried": rows}
        )
        return
    print_table(("candidate", "found", "message"), rows, styles=_STYLES)
    say(found.said)
