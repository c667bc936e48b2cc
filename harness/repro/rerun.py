"""Running a bundle's test again with pytest, on a fresh guest, and comparing how it ends."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.pytest_command import pytest_command
from harness.repro.bundle import Bundle
from harness.repro.failure import Failure
from harness.repro.unpacked import Unpacked
from harness.repro.verdict import Attempt, Verdict
from harness.results.folder import RunReader
from harness.results.model import RunResult
from harness.results.outcome import Outcome

__all__ = ["TestFile", "find_test", "rerun"]

#: Lines of pytest's output that are shown when it ended without a row.
_TAIL: Final = 15


@dataclass(frozen=True, slots=True)
class TestFile:
    """The bundle's test file here: the folder pytest runs in, and whether it is the same text."""

    __test__ = False  # not a test class, whatever its name says

    root: Path
    file: Path
    same: bool


def find_test(bundle: Bundle) -> TestFile | None:
    """The file below the working directory, or where it was recorded; None where it is in neither."""
    record = bundle.manifest.test
    for root in dict.fromkeys([Path.cwd(), *Path.cwd().parents, Path(record.root)]):
        file = root / record.file
        if record.file and file.is_file():
            same = hashlib.sha256(file.read_bytes()).hexdigest() == record.sha256
            return TestFile(root, file, same)
    return None


def rerun(
    bundle: Bundle,
    unpacked: Unpacked,
    test: TestFile,
    *,
    target: str = "",
    driver: Path | None = None,
    earlier: bool = False,
    extra: Sequence[str] = (),
) -> Attempt:
    """Run the test once, on `target` or the bundle's, with `driver` instead of the recorded one.

    `earlier` runs the tests before it on the same guest. `extra` goes to pytest as it is. Raises
    `InfrastructureError` when pytest ends without the test's row.
    """
    manifest = bundle.manifest
    where = target or manifest.target
    with tempfile.TemporaryDirectory(prefix="run-", dir=unpacked.folder) as folder:
        run = Path(folder) / "run"
        command = _command(bundle, unpacked, where, run, driver, earlier)
        done = subprocess.run(
            [*command, *extra], cwd=test.root, capture_output=True, text=True, errors="replace", check=False
        )
        rows = list(RunReader(run)) if (run / "run.json").is_file() else []
        row = next((row for row in reversed(rows) if row.test == manifest.test.name), None)
        if row is None:
            tail = "\n".join((done.stdout + done.stderr).strip().split("\n")[-_TAIL:])
            raise InfrastructureError(
                f"pytest ended with {done.returncode} and no result of the test:\n{tail}"
            )
        return _judge(manifest.failure, row, run)


def _command(
    bundle: Bundle, unpacked: Unpacked, target: str, run: Path, driver: Path | None, earlier: bool
) -> list[str]:
    record, manifest = bundle.manifest.test, bundle.manifest
    command = [*pytest_command(), "-q", "-p", "no:cacheprovider", f"--run-folder={run}", "--target", target]
    command += ["--isolation", record.isolation if earlier else "test", "--evidence", "never"]
    command += [f"--seed={record.seed}"]
    for plugin in record.plugins:
        command += ["-p", plugin]
    command += [f"--recipes={folder}" for folder in record.recipes if Path(folder).is_dir()]
    if record.channel:
        command += ["--channel", record.channel]
    own = manifest.own_driver
    if driver is not None:
        command.append(f"--driver={driver}")
    elif own is not None:
        command.append(f"--driver={unpacked.driver(own)}")
    for text in record.driver_parameters:
        command += ["--driver-parameter", text]
    nodes = [*record.earlier, record.node] if earlier else [record.node]
    return [*command, *(_on_target(node, manifest.target, target) for node in nodes)]


def _on_target(node: str, recorded: str, target: str) -> str:
    """A node id with another target in its brackets."""
    stem, bracket, parameters = node.partition("[")
    if not bracket:
        return node
    inside = parameters.removesuffix("]")
    for before, after in ((f"{recorded}-", f"{target}-"), (f"-{recorded}", f"-{target}")):
        if inside.startswith(before) and before.endswith("-"):
            return f"{stem}[{after}{inside[len(before) :]}]"
        if inside.endswith(before) and before.startswith("-"):
            return f"{stem}[{inside[: -len(before)]}{after}]"
    return f"{stem}[{target if inside == recorded else inside}]"


def _judge(recorded: Failure, row: RunResult, run: Path) -> Attempt:
    """Compare the row, and the bundle of the new failure, with the recorded failure."""
    match row.outcome:
        case Outcome.INFRA:
            return Attempt(Verdict.INFRA, row.message, seconds=row.duration)
        case Outcome.PASS | Outcome.KNOWN:
            return Attempt(Verdict.NOT_REPRODUCED, f"the test ended with {row.outcome}", seconds=row.duration)
        case Outcome.SKIP:
            return Attempt(Verdict.SKIPPED, row.message)
        case _:
            pass
    if not row.bundle:
        failure = replace(recorded, outcome=row.outcome, message=row.message, crash=None)
    else:
        with Bundle.open(run / row.bundle) as again:
            failure = again.manifest.failure
    difference = recorded.differs(failure)
    if difference:
        return Attempt(Verdict.DIFFERENT, difference, failure, row.duration)
    return Attempt(Verdict.REPRODUCED, failure.message, failure, row.duration)
