"""`harness shrink`: the smallest test that fails like a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.cli.output import AsJson, print_json, say, short_path
from harness.cli.repro import BundleFile

if TYPE_CHECKING:
    from harness.repro.bundle import Bundle
    from harness.repro.shrink import Shrunk

__all__ = ["shrink"]

#: As a shell has it for SIGINT.
_INTERRUPTED: Final = 130


def shrink(
    bundle: BundleFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Test file to write; default: reproduced/.", show_default=False),
    ] = None,
    target: Annotated[
        str, typer.Option("--target", "-t", help="Fail there instead of on its own.", show_default=False)
    ] = "",
    control: Annotated[
        str, typer.Option(help="A target where the same steps are right.", show_default=False)
    ] = "",
    without_driver: Annotated[
        bool, typer.Option("--without-driver", help="Right is what happens without the driver under test.")
    ] = False,
    keep_filters: Annotated[
        bool, typer.Option("--keep-filters", help="Leave filters and rules in: the failure is about them.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, help="Guests at a time; 0: as many as sensible.")
    ] = 0,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the bundle's assertion though its test isn't here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the smallest pytest test that still fails in the same way.

    Program, rules and filters are reduced to what the failure needs. The written test is run before it
    counts: it must fail like the bundle, and pass on the control. Ctrl-C ends the search; the smallest test
    so far is written then.

    Example: harness shrink results/20261121-150000-000000-1/bundles/test_it.zip

    Example: harness shrink failure.zip --control reference:6.1 -o tests/test_regression.py
    """
    from rich.console import Console
    from rich.text import Text

    from harness.errors import UsageError
    from harness.repro.bundle import Bundle
    from harness.repro.missing import check
    from harness.repro.shrink import shrink as reduce
    from harness.repro.trust import check_claim
    from harness.repro.unpacked import Unpacked
    from harness.repro.workers import Workers, default_jobs
    from harness.results.words import printable

    file = output or Path("reproduced") / f"{_stem(bundle)}.py"
    if file.suffix != ".py" or not file.name.startswith("test_"):
        raise UsageError(f"--output: pytest doesn't look into {file.name}; call it test_SOMETHING.py")
    console = Console(stderr=True)
    with Bundle.open(bundle) as opened, Unpacked(opened) as unpacked:
        chosen = target or opened.manifest.target
        for note in check(opened, chosen):
            say(f"note: {note}", err=True)
        if not trust:
            check_claim(opened)
        with (
            console.status(
                Text(printable(f"{opened.manifest.test.name} on {chosen}: performing its steps"))
            ) as status,
            Workers(opened, unpacked, chosen, jobs or default_jobs(chosen)) as workers,
        ):
            shrunk = reduce(
                opened,
                workers,
                chosen,
                control=control,
                without_driver=without_driver,
                keep_filters=keep_filters,
                told=lambda what, size: status.update(f"{what}: {size}"),
            )
            performed = workers.performed
        with console.status(f"running {file}"):
            trouble = _written(shrunk, opened, file, chosen, control)
    if as_json:
        print_json(
            {
                "bundle": str(bundle),
                "test": str(file),
                "proven": not trouble,
                "trouble": trouble,
                "oracle": shrunk.oracle,
                "before": str(shrunk.before),
                "after": str(shrunk.after),
                "performed": performed,
            }
        )
    else:
        typer.echo(f"{shrunk.before} -> {shrunk.after}, {performed} performances on {chosen}")
        say(f"judged by: {shrunk.oracle}")
        say(f"{short_path(file)}: {trouble or 'run, and fails in the same way'}")
        right_is_known = control or without_driver or shrunk.failure.crash is not None
        if shrunk.before.rules and not shrunk.after.rules and not right_is_known:
            typer.echo("it fails without rules too; if it is about them, give --control or --keep-filters")
    raise typer.Exit(_INTERRUPTED if shrunk.interrupted else 1 if trouble else 0)


def _stem(bundle: Path) -> str:
    import re

    stem = re.sub(r"\W+", "_", bundle.stem).strip("_")
    return stem if stem.startswith("test_") else f"test_{stem}"


def _written(shrunk: Shrunk, bundle: Bundle, file: Path, target: str, control: str) -> str:
    """Write the test and prove it; why it is none, empty when it is."""
    from harness.repro.prove import outcome_on, proof
    from harness.repro.provenance import provenance
    from harness.repro.shrink import write_test
    from harness.results.outcome import Outcome

    write_test(shrunk, bundle, file, provenance(bundle, shrunk, target))
    claim = shrunk.scenario.claim
    source = claim.source if claim is not None else ""
    trouble = "the search was interrupted: it is not the smallest, and was not run"
    if not shrunk.interrupted:
        for _ in range(shrunk.chance.trials):
            trouble = proof(bundle, file, target, shrunk.failure, source)
            if not trouble:
                break
    if not trouble and control:
        outcome = outcome_on(bundle, file, control)
        if outcome is not Outcome.PASS:
            trouble = f"the written test ends with {outcome} on {control}, where it must pass"
    if trouble:  # nobody must take it for a proof later
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace('"""', f'"""NOT PROVEN: {trouble!a}.\n\n', 1), encoding="utf-8")
    return trouble
