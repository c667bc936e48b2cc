"""The drill on the reference guest: every fault that it has, and what a missed one looks like."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

pytest.importorskip(
    "unicorn", reason="the reference guest needs unicorn: pip install regfilter-harness[reference]"
)

from harness import reference
from harness.cli import app
from harness.drill import DrillReport, DrillResult, Fault, Verdict, run_drills
from harness.guest.base import Guest
from harness.probe import Probe
from harness.results.outcome import Outcome
from harness.targets import Target, parse_target

POSSIBLE = (Fault.BUGCHECK, Fault.EXCEPTION, Fault.HANG, Fault.RUNAWAY)


def booter(target: Target, forced: list[Fault] | None = None) -> Callable[[], Guest]:
    """A call into the driver may take long on a busy host, but where it never returns."""

    def boot() -> Guest:
        waits = 60.0 if forced and forced[-1] is not Fault.RUNAWAY else 5.0
        return reference.boot(target.version, arch=target.arch, deadline=waits)

    return boot


def drilled(name: str, *faults: Fault) -> dict[Fault, DrillResult]:
    target, forced = parse_target(name), list[Fault]()
    report = run_drills(target, booter(target, forced), faults=faults or tuple(Fault), progress=forced.append)
    assert report.target == name
    return {result.fault: result for result in report.results}


@pytest.mark.parametrize("name", ["reference:10.0.26100", "reference:6.1-x86"])
def test_every_fault_of_the_guest_is_noticed(name: str) -> None:
    found = drilled(name)
    assert tuple(found) == tuple(Fault)
    assert [found[fault].problems for fault in POSSIBLE] == [()] * 4
    assert {fault for fault, result in found.items() if result.verdict is Verdict.PASSED} == set(POSSIBLE)
    assert "0xdeaddead" in found[Fault.BUGCHECK].said
    assert "bugcheck 0x135 REGISTRY_FILTER_DRIVER_EXCEPTION (0xe0c01135," in found[Fault.EXCEPTION].said
    assert [found[fault].outcome for fault in POSSIBLE] == [
        Outcome.CRASH,
        Outcome.CRASH,
        Outcome.HANG,
        Outcome.HANG,
    ]
    for fault in (Fault.PANIC, Fault.EXIT):
        assert found[fault].verdict is Verdict.IMPOSSIBLE
        assert found[fault].reason


def test_an_exception_before_windows_7() -> None:
    vista = drilled("reference:6.0", Fault.EXCEPTION)[Fault.EXCEPTION]
    assert (vista.verdict, vista.outcome) == (Verdict.IMPOSSIBLE, None)
    assert "B-NOT-39" in vista.reason
    xp = drilled("reference:5.1", Fault.EXCEPTION)[Fault.EXCEPTION]
    assert (xp.verdict, xp.problems) == (Verdict.PASSED, ())
    assert "KERNEL_MODE_EXCEPTION_NOT_HANDLED (0xe0c01135," in xp.said


def test_a_bugcheck_that_is_another_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = Probe.crash
    monkeypatch.setattr(Probe, "crash", lambda self, code, parameters: crash(self, 0xE2, parameters))
    result = drilled("reference:10.0.26100", Fault.BUGCHECK)[Fault.BUGCHECK]
    assert result.verdict is Verdict.FAILED
    assert result.problems == ("attributed to bugcheck 0xe2, and it was 0xdeaddead",)


def test_a_guest_that_goes_on_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "crash", lambda self, code, parameters: None)
    result = drilled("reference:10.0.26100", Fault.BUGCHECK)[Fault.BUGCHECK]
    assert result.verdict is Verdict.FAILED
    assert result.problems[0].startswith("not detected")


def test_a_fault_that_can_not_be_forced_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.errors import DriverRefusedError

    def refuse(*arguments: object) -> None:
        raise DriverRefusedError("no signature", status=0xC0000428)

    monkeypatch.setattr(Probe, "install", refuse)
    found = drilled("reference:10.0.26100", Fault.BUGCHECK, Fault.EXIT)
    assert found[Fault.BUGCHECK].problems == ("can't be forced: no signature",)
    assert not DrillReport("x", tuple(found.values())).passed


def test_each_fault_has_a_fresh_guest_and_all_are_closed() -> None:
    target = parse_target("reference:10.0.26100")
    booted: list[reference.ReferenceGuest] = []

    def boot() -> Guest:
        booted.append(reference.boot(target.version, deadline=1.0))
        return booted[-1]

    order: list[Fault] = []
    run_drills(
        target, boot, faults=(Fault.EXIT, Fault.BUGCHECK, Fault.HANG, Fault.PANIC), progress=order.append
    )
    assert order == [Fault.EXIT, Fault.BUGCHECK, Fault.HANG, Fault.PANIC]
    assert len(booted) == 3  # what is impossible costs none
    assert all(guest.closed for guest in booted)


def test_the_command_says_what_passed() -> None:
    arguments = ["image", "drill", "reference:10.0.26100", "--only", "bugcheck", "--only", "exit"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "bugcheck  passed: CRASH after" in done.stdout
    assert "exit      not possible here: the reference guest is no machine" in done.stdout
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert told["passed"] is True
    assert [each["fault"] for each in told["results"]] == ["bugcheck", "exit"]


def test_a_failed_drill_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "crash", lambda self, code, parameters: None)
    done = CliRunner().invoke(app, ["image", "drill", "reference:10.0.26100", "--only", "bugcheck"])
    assert done.exit_code == 1
    assert "WRONG: not detected" in done.stdout


def test_nothing_passed_is_no_pass() -> None:
    report = DrillReport("x", (DrillResult.impossible(Fault.EXIT, "there is none"),))
    assert not report.passed
    assert not report.complete
