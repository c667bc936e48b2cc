"""The drill on the stand-in: a real machine whose kernel panics, hangs, and loses its QEMU."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.drill import DrillReport, DrillResult, DrillStore, Fault, Verdict, admission_of
from harness.machine.describe.spec import Accelerator, SealedImage
from harness.results.outcome import Outcome
from tests.stand_in import stand_in_image


@pytest.fixture(scope="module")
def image() -> SealedImage:
    return stand_in_image()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drill") / "evidence"


@pytest.fixture(scope="module")
def report(image: SealedImage, evidence: Path) -> DrillReport:
    done = subprocess.run(
        [sys.executable, "-m", "tests.drill.stand_in_drill", str(evidence)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    raw: dict[str, Any] = json.loads(done.stdout)
    results = tuple(map(DrillResult.from_json, raw.pop("results")))
    return DrillReport(results=results, **raw)


def test_what_it_can_die_of_is_noticed_and_what_it_can_not_is_said(report: DrillReport) -> None:
    found = {result.fault: result for result in report.results}
    assert [result.problems for result in report.results] == [()] * len(Fault)
    assert {fault: (each.verdict, each.outcome) for fault, each in found.items()} == {
        Fault.BUGCHECK: (Verdict.IMPOSSIBLE, None),
        Fault.EXCEPTION: (Verdict.IMPOSSIBLE, None),
        Fault.PANIC: (Verdict.PASSED, Outcome.CRASH),
        Fault.HANG: (Verdict.PASSED, Outcome.HANG),
        Fault.RUNAWAY: (Verdict.PASSED, Outcome.HANG),
        Fault.EXIT: (Verdict.PASSED, Outcome.INFRA),
    }
    assert found[Fault.PANIC].said == "Kernel panic - not syncing: sysrq triggered crash"
    assert "Wine has no registry callbacks" in found[Fault.EXCEPTION].reason


def test_the_evidence_shows_how_it_died(report: DrillReport, evidence: Path) -> None:
    assert "Kernel panic" in (evidence / "panic" / "debug.log").read_text(errors="replace")
    assert "GUEST_PANICKED" in (evidence / "panic" / "events.txt").read_text()
    for fault in (Fault.PANIC, Fault.HANG, Fault.RUNAWAY):
        with gzip.open(evidence / fault / "memory.elf.gz") as dump:
            assert dump.read(4) == b"\x7fELF"
    assert not list((evidence / "exit").glob("memory*"))


def test_the_image_is_admitted_as_long_as_nothing_changes(
    image: SealedImage, report: DrillReport, tmp_path: Path
) -> None:
    store = DrillStore(tmp_path)
    assert report.image == image.digest
    assert len(report.runner) == 64
    assert not admission_of(image, store=store).admitted
    store.keep(report)
    # The emulator is asked for anew; the accelerator is what it was drilled on.
    assert admission_of(image, store=store, accelerator=Accelerator(report.accelerator)).admitted
