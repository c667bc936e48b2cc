"""The command line of a job's pytest process."""

from __future__ import annotations

import os
from pathlib import Path

from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Plan
from harness.pytest_command import pytest_command
from harness.results.folder import ROWS_FILE

__all__ = ["job_command", "job_environment"]


def job_command(plan: Plan, job: Job, folder: Path, *, again: bool = False) -> list[str]:
    """Run the tests of `job` that have no row in `folder` yet; with `again` those to be tried once more.

    Files and folders with "=": pytest, which doesn't know these options yet when it looks for its own
    configuration, would look beside them.
    """
    command = [*pytest_command(), f"--rootdir={plan.root}", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", f"--run-folder={folder}"]
    command += [f"--target={job.target}", f"--isolation={job.isolation}"]
    command += [f"--clones={plan.clones}", f"--evidence={plan.evidence}"]
    command.append(f"--memory-dump={plan.memory_dump_mib}")
    if plan.bundle_machine:
        command.append("--bundle-machine")
    command += [f"--recipes={recipes}" for recipes in plan.recipes]
    if plan.channel:
        command.append(f"--channel={plan.channel}")
    if plan.known_issues is not None:
        command.append(f"--known={plan.known_issues}")
    if job.driver:
        command += [f"--driver={job.driver}", f"--build={job.build}"]
    command += [f"--driver-parameter={text}" for text in job.parameters]
    if (folder / ROWS_FILE).exists():
        command.append(f"--finished={folder / ROWS_FILE}")
        if again:
            command.append(f"--again={job.retries}")
    return [*command, *(str(plan.root / path) for path in job.paths)]


def job_environment() -> dict[str, str]:
    """What the process is to know of this one's environment; options of pytest come from the plan alone."""
    return {**os.environ, "PYTEST_ADDOPTS": "", "PYTHONUNBUFFERED": "1"}
