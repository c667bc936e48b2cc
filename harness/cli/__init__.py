"""The `harness` command. Thin: every command calls one function of the library.

Commands import what they need when they run, so that help and completion answer at once.
"""

from __future__ import annotations

import io
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from harness.cli import (
    bisect,
    clean,
    cluster,
    demo,
    doctor,
    driver,
    guest,
    image,
    matrix,
    repro,
    results,
    run,
    shrink,
    target,
)
from harness.errors import HarnessError, InfrastructureError, UsageError
from harness.results.words import printable

__all__ = ["app", "main"]

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run.run)
app.command("repro")(repro.repro)
app.command("shrink")(shrink.shrink)
app.command("bisect")(bisect.bisect)
app.command("clean")(clean.clean)
app.add_typer(cluster.app, name="cluster")
app.add_typer(driver.app, name="driver")
app.add_typer(image.app, name="image")
app.add_typer(target.app, name="target")
app.add_typer(guest.app, name="guest")
app.add_typer(results.app, name="results")
app.add_typer(matrix.app, name="matrix")

#: Exit codes for errors that are told without a traceback; the rest are 1.
_USAGE, _INFRA = 2, 3


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        typer.echo(f"harness {version('regfilter-harness')}")
    except PackageNotFoundError:
        typer.echo("harness, from a source tree that isn't installed")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tests registry filter drivers on Windows and on a reference guest that needs no Windows.

    Exit codes: 0 done; 1 something failed, or is not as it should be; 2 the command can't be meant like that;
    3 the harness or its host failed (INFRA). Where a command has more, its own help says so.
    """


def main() -> None:
    """Entry point. An error of the harness is one message on stderr; a bug is a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A locale that isn't UTF-8 has no tick: "?" is better than no report.
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except HarnessError as error:
        sys.stderr.write(f"harness: {printable(str(error))}\n")
        match error:
            case UsageError():
                sys.exit(_USAGE)
            case InfrastructureError():
                sys.exit(_INFRA)
            case _:
                sys.exit(1)
