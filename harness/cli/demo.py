"""`harness demo`: from driver source to verdict on every modelled Windows."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from harness.cli.output import short_path

__all__ = ["demo"]


def demo(
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Processes to run tests in.")
    ] = os.cpu_count() or 1,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Target or pattern; repeatable.", show_default=False),
    ] = None,
) -> None:
    """Build the drivers, run the demo suite, show the matrix.

    On every Windows version that the reference guest models; the matrix is also written as an HTML page.

    Example: harness demo -t 'reference:10.0.*'
    """
    from rich.console import Console

    from harness.driver import ARCHITECTURES, build_signed, find_project_root, project_drivers
    from harness.pytest_command import pytest_command
    from harness.report import write_report
    from harness.results.folder import RunReader, new_run_folder
    from harness.results.matrix import Matrix
    from harness.results.terminal import print_matrix

    console = Console()
    root = find_project_root()
    with console.status("building and signing the probe"):
        probe = project_drivers(root)["regprobe"]
        products = [build_signed(probe, arch) for arch in ARCHITECTURES]
    for product in products:
        state = "built and signed" if product.rebuilt or product.resigned else "up to date"
        console.print(f"{short_path(product.image)}: {state}", highlight=False)

    folder = new_run_folder(root / "results")
    command = [
        *pytest_command(),
        "-p",
        "harness.plugin.progress",
        "-p",
        "no:hypothesispytest",  # the demo uses none of it, and it takes a second to import
        "--run-folder",
        str(folder),
    ]
    for name in target or ["reference:*"]:
        command += ["--target", name]
    if jobs > 1:
        command += ["-n", str(jobs), "--dist", "worksteal"]
    sys.stdout.flush()
    code = subprocess.run([*command, "suites/demo"], cwd=root, check=False).returncode
    if not (folder / "run.json").is_file():
        raise typer.Exit(code or 1)

    reader = RunReader(folder)
    matrix = Matrix(reader)
    print_matrix(matrix, console)
    console.print(f"report: {short_path(write_report(folder))}", soft_wrap=True)
    raise typer.Exit(code)
