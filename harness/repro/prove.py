"""Running a written test with pytest: it must fail as the failure did, and pass on the control."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.keep.scratch import scratch
from harness.pytest_command import pytest_command
from harness.repro.bundle import Bundle
from harness.repro.failure import Failure
from harness.repro.render import TEST
from harness.repro.rerun import find_test
from harness.results.folder import RunReader
from harness.results.outcome import Outcome

__all__ = ["outcome_on", "proof"]

_TAIL: Final = 15


def proof(bundle: Bundle, file: Path, target: str, failure: Failure, claim: str) -> str:
    """Run the test of `file` on `target`; how it fails to prove the failure, empty when it proves it.

    `claim` is the source that must fail, empty for a crash, a hang or an expectation.
    """
    outcome, found = _run(bundle, file, target)
    if outcome is not failure.outcome or found is None:
        return f"the written test ends with {outcome}, not {failure.outcome}"
    if failure.crash is not None:
        return failure.differs(found)
    if claim and " ".join(found.statement.split()) not in " ".join(claim.split()):
        return f"the written test fails at {found.statement!r}, which is not what it claims"
    return ""


def outcome_on(bundle: Bundle, file: Path, target: str) -> Outcome:
    """How the test of `file` ends on another target."""
    return _run(bundle, file, target)[0]


def _run(bundle: Bundle, file: Path, target: str) -> tuple[Outcome, Failure | None]:
    record = bundle.manifest.test
    test = find_test(bundle)
    root = Path.cwd() if test is None else test.root
    with scratch() as folder:
        run = folder / "run"
        command = [*pytest_command(), "-q", "-p", "no:cacheprovider", f"--run-folder={run}"]
        command += ["--target", target, "--isolation", "test", "--evidence", "never"]
        if (root / "pyproject.toml").is_file():
            command += ["-c", str(root / "pyproject.toml")]
        for plugin in record.plugins:
            command += ["-p", plugin]
        command += [f"--recipes={each}" for each in record.recipes if Path(each).is_dir()]
        if record.channel:
            command += ["--channel", record.channel]
        done = subprocess.run(
            [*command, str(file.absolute())],
            cwd=root,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        rows = list(RunReader(run)) if (run / "run.json").is_file() else []
        row = next((each for each in rows if each.test.endswith(f"::{TEST}")), None)
        if row is None:
            tail = "\n".join((done.stdout + done.stderr).strip().split("\n")[-_TAIL:])
            raise InfrastructureError(f"pytest ended with {done.returncode} on the written test:\n{tail}")
        if row.outcome is Outcome.INFRA:
            raise InfrastructureError(f"the written test on {target}: {row.message}")
        if not row.bundle:
            return row.outcome, None
        with Bundle.open(run / row.bundle) as again:
            return row.outcome, again.manifest.failure
