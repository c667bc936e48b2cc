"""Runs for the tests of the report, small ones and large ones, written as folders."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness.catalogue import Catalogue
from harness.probe.comparison import Comparison, Line, Verdict
from harness.results.folder import RunWriter
from harness.results.model import Attestation, RunResult
from harness.results.outcome import Outcome
from harness.targets import resolve_targets

NAME = "20250101-000000-000000-1"
#: What nobody may be able to bring into a page as markup.
HOSTILE = "<img src=x onerror='window.pwned=1'></script><script>window.pwned=1</script>\x00\ud800&]]>{{7*7}}"

COMPARISON = Comparison(
    expected=2,
    seen=2,
    lines=(
        Line(Verdict.SAME, "PreSetValueKey", "PreSetValueKey", r"#5 380020 PreSetValueKey \REGISTRY\A 'v'"),
        Line(Verdict.MISSING, expected="PostDeleteKey"),
        Line(Verdict.EXTRA, seen="PostSetValueKey", event=rf"#8 380020 PostSetValueKey {HOSTILE}"),
    ),
)


def attested(target: str, **more: object) -> Attestation:
    """A guest of the kind that the target's name says."""
    scheme, _, rest = target.partition(":")
    version, _, arch = rest.partition("-")
    kind = "reference" if scheme == "reference" else "stand-in" if rest == "stand-in" else "windows"
    if scheme != "reference":
        version, arch = "10.0.26100", "x64"
    seen = Attestation(target, kind, version, arch or "x64", drivers={"regprobe": "ab" * 32})
    return replace(seen, filters=("380020", "380010"), **more)  # type: ignore[arg-type]


def row(test: str, target: str, outcome: Outcome, *behaviours: str, **more: object) -> RunResult:
    result = RunResult(test, target, outcome, behaviours, attestation=attested(target))
    return replace(result, **more)  # type: ignore[arg-type]


def write_run(
    folder: Path, results: Iterable[RunResult], *, arguments: tuple[str, ...] = (), started: str = ""
) -> Path:
    """A run's folder with these rows, finished."""
    with RunWriter(folder, arguments=arguments, harness="0.1.0") as writer:
        for result in results:
            writer.add(result)
        writer.finish(1)
    if started:
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**info, "started": started, "finished": started}))
    return folder


def small_run(folder: Path) -> Path:
    """Four targets of two kinds; every outcome but a hang, a failure with events, hostile texts."""
    evidence = folder / "evidence"
    evidence.mkdir(parents=True)
    (evidence / "b.events.json").write_text(COMPARISON.to_text())
    (evidence / "b trace.txt").write_text("trace")
    (folder / "bundles").mkdir()
    (folder / "bundles" / "b.zip").write_bytes(b"a bundle")
    new, old, x86, stand_in = "reference:10.0.26100", "reference:6.1", "reference:6.1-x86", "vm:stand-in"
    failing = {
        "message": "AssertionError: assert the trace has 2 events, expected 2",
        "detail": "suites/layering/test_order.py:41: AssertionError",
        "comparison": "evidence/b.events.json",
        "evidence": ("evidence/b trace.txt", "../../etc/passwd", "javascript:alert(1)"),
        "bundle": "bundles/b.zip",
    }
    order = "suites/layering/test_order.py"
    return write_run(
        folder,
        (
            row(f"{order}::test_a", new, Outcome.PASS, "B-LAY-03", "B-LAY-05", callbacks=(1, 16)),
            row(f"{order}::test_a", old, Outcome.SKIP, "B-LAY-03", "B-LAY-05", message="needs Windows 10"),
            row(f"{order}::test_b[x]", new, Outcome.FAIL, "B-LAY-03", **failing),
            row(f"{order}::test_b[x]", old, Outcome.FAIL, "B-LAY-03", **failing),
            row(f"{order}::test_b[x]", x86, Outcome.PASS, "B-LAY-03", callbacks=(1, 16, 47)),
            row(
                f"{order}::test_c",
                old,
                Outcome.CRASH,
                "B-NOT-39",
                message=f"CRASH: {HOSTILE}",
                detail=HOSTILE,
            ),
            row(f"t.py::{HOSTILE}", x86, Outcome.FAIL, f"~{HOSTILE}", message=HOSTILE, evidence=(HOSTILE,)),
            row(
                f"{order}::test_k",
                old,
                Outcome.KNOWN,
                "B-NOT-01",
                known="https://example.com/7",
                message="known",
            ),
            row(f"{order}::test_k", new, Outcome.KNOWN, "B-NOT-01", known="javascript:alert(1)"),
            row(f"{order}::test_i", new, Outcome.INFRA, "B-NOT-02", message="INFRA: the host was full"),
            row(f"{order}::test_i", new, Outcome.PASS, "B-NOT-02", attempt=2),
            row(f"{order}::test_r", new, Outcome.PASS, "B-CTX-18", recorded={"status": HOSTILE}),
            row("t.py::test_deploys", stand_in, Outcome.PASS),
            RunResult("t.py::policy", "", Outcome.PASS, ("B-REG-34",)),
        ),
        arguments=("suites", "--driver=my driver.sys", "--target", "reference:*", "--isolation", "test"),
    )


def large_rows(targets: int, tests: int) -> Iterable[RunResult]:
    """Rows as a nightly run has them: every behaviour of the catalogue, and one test in fifty that fails."""
    names = [target.name for target in resolve_targets(["reference:*"])][:targets]
    ids = tuple(Catalogue.load().behaviours)
    for number in range(tests):
        behaviours = ids[number % len(ids) :][: 1 + number % 3]
        for at, name in enumerate(names):
            test = f"suites/group{number % 20}/test_area.py::test_that_says_what_it_wants_to_see_{number}"
            if number % 50 == 7 and at % 3:
                text = f"E  assert {number + at:#x} == 0\n" * 40
                yield row(test, name, Outcome.FAIL, *behaviours, message=text[:40], detail=text)
            elif (number + at) % 19 == 0:
                yield row(test, name, Outcome.SKIP, *behaviours, message="needs another Windows")
            else:
                yield row(
                    test,
                    name,
                    Outcome.PASS,
                    *behaviours,
                    duration=0.01 * at,
                    callbacks=tuple(range(number % 10, 45)),
                )
