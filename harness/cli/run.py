"""`harness run`: pytest with the harness's options spelled out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UsageError
from harness.pytest_command import pytest_command

__all__ = ["run"]


def run(
    context: typer.Context,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Test files and folders; default: suites", show_default=False)
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Target or pattern; repeatable.", show_default=False),
    ] = None,
    driver: Annotated[
        Path | None, typer.Option(help="Your own driver, for the own-driver suite.", show_default=False)
    ] = None,
    driver_parameter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of its Parameters key; repeatable.", show_default=False),
    ] = None,
    isolation: Annotated[
        str | None, typer.Option(help="session, module or test.", show_default=False)
    ] = None,
    recipes: Annotated[
        list[Path] | None,
        typer.Option(help="Further folder of recipes for targets vm:NAME; repeatable.", show_default=False),
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Of machines: serial, ssh or winrm.", show_default=False)
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option(help="File of known issues: failures it expects are KNOWN.", show_default=False),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder that holds the runs; default: results/", show_default=False)
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes to run tests in.")] = 1,
) -> None:
    """Run suites on targets, with pytest.

    Anything else on the line goes to pytest as it is; `pytest --help` lists what it takes under "harness".
    Exit codes are pytest's; 3 also stands for INFRA, a failure of the harness or its host.

    Example: harness run suites/layering -t 'reference:10.0.*' -j 2 -k block

    Example: harness run suites/own-driver --driver my.sys -t reference:10.0.26100

    Example: harness run suites/layering -t vm:my-machine --recipes ~/machines
    """
    if driver is not None and not driver.is_file():
        raise UsageError(f"--driver: there is no file {driver}")
    command = pytest_command()
    # Files and folders with "=": pytest, which doesn't know these options yet when it looks for its own
    # configuration, would look beside them.
    for name in target or ():
        command += ["--target", name]
    if driver is not None:
        command.append(f"--driver={driver}")
    for text in driver_parameter or ():
        command += ["--driver-parameter", text]
    if isolation is not None:
        command += ["--isolation", isolation]
    for folder in recipes or ():
        command.append(f"--recipes={folder}")
    if channel is not None:
        command += ["--channel", channel]
    if known is not None:
        command.append(f"--known={known}")
    if results is not None:
        command.append(f"--results={results}")
    if jobs > 1:
        command += ["-n", str(jobs), "--dist", "worksteal"]
    # What this command doesn't know arrives among the paths, options of pytest and their values included.
    given = [*context.args, *(paths or [])]
    if not any(Path(argument.split("::")[0]).exists() for argument in given):
        if not Path("suites").is_dir():
            raise UsageError(
                "there is no folder suites/ here: name test files or folders, or run in a checkout"
            )
        command.append("suites")
    command += given
    sys.stdout.flush()
    os.execv(command[0], command)
