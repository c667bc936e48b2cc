"""JUnit XML of a stored run, one suite a target, with what a CI server can't know as properties."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from junitparser import Error, Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from harness.results.matrix import Matrix, column_of, kind_note, machine_facts
from harness.results.model import RunInfo, RunResult
from harness.results.outcome import Outcome

__all__ = ["render_junit"]

#: Characters that XML 1.0 can't hold; guests may put any into names and data.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_TARGET: Final = "no target"


def render_junit(matrix: Matrix, run: RunInfo) -> str:
    """The XML text. FAIL is a failure; CRASH, HANG and INFRA are errors of that type; KNOWN is skipped."""
    document = JUnitXml(f"harness {run.name}")
    suites: dict[str, TestSuite] = {}
    cases: dict[str, list[TestCase]] = {}
    kinds = {target.name: target.kind for target in matrix.targets}
    for result in matrix.results:
        name = column_of(result.target, result.build) or _NO_TARGET
        if name not in suites:
            suite = suites[name] = TestSuite(_clean(name))
            suite.timestamp = run.started
            if kind := kinds.get(name):
                suite.add_property("guest.kind", kind)
                suite.add_property("guest.note", kind_note(kind))
            if (seen := result.attestation) is not None:
                suite.add_property("guest.version", seen.version)
                suite.add_property("guest.arch", seen.arch)
                for fact, value in machine_facts(seen):
                    suite.add_property(f"guest.{fact.replace(' ', '_')}", _clean(value))
        cases.setdefault(name, []).append(_case(result))
    for name, suite in suites.items():
        suite.add_testcases(cases[name])
        document.add_testsuite(suite)
    document.update_statistics()
    return str(document.tostring(), "utf-8")


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _circumstances(result: RunResult) -> Iterator[tuple[str, str]]:
    """When and as which attempt, with which build; what explains a failure and what reproduces it."""
    given = {
        "started": result.started,
        "attempt": str(result.attempt) if result.attempt > 1 else "",
        "build": result.build,
        "known": result.known,
        "bundle": result.bundle,
        "comparison": result.comparison,
    }
    return ((name, value) for name, value in given.items() if value)


def _case(result: RunResult) -> TestCase:
    path, _, name = result.test.partition("::")
    case = TestCase(
        _clean(name or path),
        classname=_clean(path.removesuffix(".py").replace("/", ".")),
        time=result.duration,
    )
    properties = Properties()
    properties.add_property(Property("outcome", result.outcome))
    for behaviour in result.behaviours:
        properties.add_property(Property("behaviour", _clean(behaviour)))
    for what, value in _circumstances(result):
        properties.add_property(Property(what, _clean(value)))
    for what, seen in result.recorded.items():
        properties.add_property(Property(f"recorded.{_clean(what)}", _clean(seen)))
    for file in result.evidence:
        properties.add_property(Property("evidence", _clean(file)))
    if result.attestation is not None:
        for service, digest in result.attestation.drivers.items():
            properties.add_property(Property(f"driver.{_clean(service)}.sha256", _clean(digest)))
    case.append(properties)
    message = _clean(result.message)
    match result.outcome:
        case Outcome.PASS:
            return case
        case Outcome.SKIP | Outcome.KNOWN:
            case.result = [Skipped(message)]
            return case
        case Outcome.FAIL:
            verdict: Failure | Error = Failure(message, str(result.outcome))
        case Outcome.CRASH | Outcome.HANG | Outcome.INFRA:
            verdict = Error(message, str(result.outcome))
    verdict.text = _clean(result.detail)
    case.result = [verdict]
    return case
