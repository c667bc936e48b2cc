"""Folders of runs, as the plugin and the conductor leave them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.results.folder import RunWriter, write_evidence
from harness.results.model import Attestation, RunResult
from harness.results.outcome import Outcome

REFERENCE = "reference:10.0.26100"
OLD = "reference:6.1"


def row(
    test: str = "suites/a/test_a.py::test_one",
    target: str = REFERENCE,
    outcome: Outcome = Outcome.PASS,
    *behaviours: str,
    **more: Any,
) -> RunResult:
    seen = Attestation(target, "reference", target.partition(":")[2], "x64", drivers={"regprobe": "ab" * 32})
    return replace(RunResult(test, target, outcome, behaviours or ("B-LAY-01",), attestation=seen), **more)


def run_folder(
    results: Path,
    rows: Iterable[RunResult] = (),
    *,
    name: str = "20260101-020000-000000-1",
    day: int = 1,
    plan: str = "",
    finished: bool = True,
    arguments: tuple[str, ...] = (),
) -> Path:
    """A run that began at two o'clock on that day of January 2026."""
    if name == "20260101-020000-000000-1":
        name = f"202601{day:02}-020000-000000-1"
    folder = results / name
    with RunWriter(folder, arguments=arguments) as writer:
        for each in rows:
            writer.add(each)
        if finished:
            writer.finish(0)
    if plan:
        (folder / "plan.json").write_text(json.dumps({"plan": {"name": plan}, "jobs": []}))
    say(folder, started=f"2026-01-{day:02}T02:00:00+00:00")
    return folder


def say(folder: Path, **values: object) -> None:
    """Change what run.json says."""
    file = folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def append(folder: Path, *rows: RunResult | dict[str, Any]) -> None:
    """Let a run grow."""
    with (folder / "rows.jsonl").open("a") as file:
        for each in rows:
            file.write(json.dumps(each.to_json() if isinstance(each, RunResult) else each) + "\n")


def with_evidence(folder: Path, name: str, content: bytes, **more: Any) -> RunResult:
    """A failure with one file of evidence, which is written."""
    outcome = more.pop("outcome", Outcome.FAIL)
    return row(
        f"suites/a/test_a.py::{name}",
        outcome=outcome,
        evidence=(write_evidence(folder, name, content),),
        **more,
    )
