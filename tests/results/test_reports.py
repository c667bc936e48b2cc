from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from rich.console import Console

from harness.results.junit import render_junit
from harness.results.matrix import Matrix, column_of
from harness.results.model import Attestation, RunInfo, RunResult
from harness.results.outcome import Outcome
from harness.results.terminal import print_matrix

HOSTILE = "<script>alert('x')</script>\x00\ud800&]]>"
RUN = RunInfo(
    name="20250101-000000-000000-1", started="2025-01-01T00:00:00+00:00", finished="", exit_code=None
)


def row(test: str, target: str, outcome: Outcome, *behaviours: str, **more: object) -> RunResult:
    version, _, arch = target.partition(":")[2].partition("-")
    seen = Attestation(target, "reference", version, arch or "x64", drivers={"regprobe": "ab" * 32})
    base = RunResult(test, target, outcome, behaviours, attestation=seen)
    return replace(base, **more)  # type: ignore[arg-type]


RESULTS = (
    row("t.py::a", "reference:10.0.26100", Outcome.PASS, "B-LAY-03", "B-LAY-05"),
    row("t.py::b", "reference:10.0.26100", Outcome.FAIL, "B-LAY-03", message="assert 1 == 2", detail=HOSTILE),
    row("t.py::a", "reference:6.1", Outcome.SKIP, "B-LAY-03", message="needs Windows 10"),
    row("t.py::c", "reference:6.1", Outcome.CRASH, "B-NOT-39", message=f"CRASH: {HOSTILE}"),
    row("t.py::d", "reference:6.1-x86", Outcome.PASS, recorded={"status": HOSTILE}),
    RunResult("t.py::policy", "", Outcome.PASS, ("B-REG-34",)),
)


def test_a_cell_is_as_bad_as_its_worst_test() -> None:
    matrix = Matrix(RESULTS)
    assert matrix.cell("B-LAY-03", "reference:10.0.26100").outcome is Outcome.FAIL
    assert matrix.cell("B-LAY-05", "reference:10.0.26100").outcome is Outcome.PASS
    assert matrix.cell("B-LAY-03", "reference:6.1").outcome is Outcome.SKIP
    assert matrix.cell("B-LAY-03", "reference:6.1-x86").outcome is None


def test_columns_are_ordered_by_version_not_by_text() -> None:
    names = ("reference:10.0.10240", "reference:6.1-x86", "reference:6.3", "reference:6.1")
    matrix = Matrix(row("t.py::a", name, Outcome.PASS, "B-LAY-01") for name in names)
    assert [target.name for target in matrix.targets] == [
        "reference:6.1",
        "reference:6.3",
        "reference:10.0.10240",
        "reference:6.1-x86",
    ]


def test_a_topic_counts_a_test_once() -> None:
    cell = Matrix(RESULTS).topic_cell("LAY", "reference:10.0.26100")
    assert (cell.passed, cell.ran, cell.outcome) == (1, 2, Outcome.FAIL)


def narrow(width: int) -> Console:
    """A terminal of so many columns. A dumb one has 80 for rich, unless its height is said, too."""
    return Console(file=io.StringIO(), width=width, height=25, color_system=None, force_terminal=True)


@pytest.mark.parametrize(("width", "cells"), [(100, ["12/12", "11/12"]), (62, ["12", "1F"])])
def test_a_narrow_terminal_cuts_no_number(width: int, cells: list[str]) -> None:
    target = "reference:10.0.26100"
    topics = ("APP", "CAP", "CRE", "CTX", "HIV", "INF", "LAY", "NOT", "OBJ", "REG")
    rows = [row(f"t.py::{t}{n}", target, Outcome.PASS, f"B-{t}-{n:02}") for t in topics for n in range(12)]
    rows[-1] = replace(rows[-1], outcome=Outcome.FAIL)
    console = narrow(width)
    print_matrix(Matrix(rows), console)
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    (line,) = (line for line in shown if line.startswith(target))
    assert line.split()[1:] == [cells[0]] * 9 + [cells[1]]


@pytest.mark.parametrize("width", [60, 200])
def test_the_terminal_matrix_fits_and_says_that_it_is_no_windows(width: int) -> None:
    console = narrow(width)
    print_matrix(Matrix(RESULTS), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "not Windows" in " ".join(text.split())
    assert all(target in text for target in ("reference:10.0.26100", "reference:6.1-x86"))
    assert max(map(len, text.splitlines())) <= width


def test_a_column_of_no_target_is_called_after_the_build() -> None:
    """Tests that use no guest have none, and of two targets compared neither is named."""
    assert column_of("reference:6.1", "acme-1.1") == "reference:6.1 + acme-1.1"
    assert (column_of("", "acme-1.1"), column_of("reference:6.1", "")) == ("acme-1.1", "reference:6.1")


def test_failures_on_the_terminal_name_the_build_and_need_no_guest() -> None:
    """With several builds of a driver on one target, which of them failed is what one wants to know."""
    console = narrow(100)
    plain = RunResult("t.py::plain", "", Outcome.FAIL, message="assert 0")
    crash = row("t.py::a", "reference:6.1", Outcome.CRASH, build="acme-1.1", message="CRASH: 0x50")
    print_matrix(Matrix([plain, crash]), console)
    print_matrix(Matrix([plain]), console)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert "CRASH t.py::a [reference:6.1 + acme-1.1] CRASH: 0x50" in lines
    assert lines.count("FAIL t.py::plain assert 0") == 2


def test_junit_is_well_formed_and_counts(tmp_path: object) -> None:
    root = ElementTree.fromstring(render_junit(Matrix(RESULTS), RUN))
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"reference:10.0.26100", "reference:6.1", "reference:6.1-x86", "no target"}
    counts = {name: suite.get("failures") for name, suite in suites.items()}
    assert counts["reference:10.0.26100"] == "1"
    assert suites["reference:6.1"].get("errors") == "1"
    assert suites["reference:6.1"].get("skipped") == "1"
    properties = [
        (item.get("name"), item.get("value")) for item in suites["reference:10.0.26100"].iter("property")
    ]
    assert ("behaviour", "B-LAY-05") in properties
    assert ("driver.regprobe.sha256", "ab" * 32) in properties


#: What tools have in common (github.com/testmoapp/junitxml): the elements and attributes of each element.
JUNIT = {
    "testsuites": ({"testsuite"}, {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}),
    "testsuite": (
        {"properties", "testcase"},
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    ),
    "testcase": ({"properties", "failure", "error", "skipped"}, {"name", "classname", "time"}),
    "properties": ({"property"}, set()),
    "property": (set(), {"name", "value"}),
    "failure": (set(), {"message", "type"}),
    "error": (set(), {"message", "type"}),
    "skipped": (set(), {"message"}),
}


def test_junit_holds_nothing_but_what_tools_have_in_common() -> None:
    hang, infra = (
        replace(RESULTS[0], test=f"t.py::{each}", outcome=each) for each in (Outcome.HANG, Outcome.INFRA)
    )
    known = replace(RESULTS[0], test="t.py::k", outcome=Outcome.KNOWN, known="https://example.com/1")
    root = ElementTree.fromstring(render_junit(Matrix([*RESULTS, hang, infra, known]), RUN))
    assert root.tag == "testsuites"
    for element in root.iter():
        children, attributes = JUNIT[element.tag]
        assert {child.tag for child in element} <= children
        assert element.attrib.keys() <= attributes
        named = [child.tag for child in element if child.tag in {"properties", "failure", "error", "skipped"}]
        assert len(named) == len(set(named)), "each once, and properties of a suite before its cases"
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        assert int(suite.attrib["errors"]) == len(suite.findall("testcase/error"))
        assert all(float(case.attrib["time"]) >= 0 for case in cases)


def test_junit_says_when_how_often_and_what_explains_it() -> None:
    failed = row(
        "t.py::a", "vm:win11", Outcome.FAIL, build="debug", attempt=2, started="2025-01-01T00:00:00Z"
    )
    failed = replace(failed, bundle="bundles/a.zip", comparison="evidence/a.events.json")
    known = row("t.py::b", "vm:win11", Outcome.KNOWN, known="https://example.com/7", build="debug")
    root = ElementTree.fromstring(render_junit(Matrix([failed, known]), RUN))
    (suite,) = root
    assert suite.get("name") == "vm:win11 + debug"
    first, second = (
        {each.get("name"): each.get("value") for each in case.iter("property")}
        for case in suite.iter("testcase")
    )
    assert first["attempt"] == "2"
    assert first["build"] == "debug"
    assert first["started"] == "2025-01-01T00:00:00Z"
    assert first["bundle"] == "bundles/a.zip"
    assert first["comparison"] == "evidence/a.events.json"
    assert second["known"] == "https://example.com/7"
    assert "attempt" not in second


def test_of_a_test_that_was_tried_again_the_last_attempt_counts() -> None:
    attempts = [
        row("t.py::a", "vm:win11", outcome, attempt=number)
        for number, outcome in ((2, Outcome.PASS), (1, Outcome.INFRA))
    ]
    assert Matrix(attempts).counts == {Outcome.PASS: 1}


def test_two_builds_of_a_driver_are_two_columns() -> None:
    builds = [
        row("t.py::a", "vm:win11", outcome, "B-LAY-03", build=build)
        for build, outcome in (("old", Outcome.PASS), ("new", Outcome.FAIL))
    ]
    matrix = Matrix(builds)
    assert matrix.cell("B-LAY-03", "vm:win11 + old").outcome is Outcome.PASS
    assert matrix.cell("B-LAY-03", "vm:win11 + new").outcome is Outcome.FAIL
