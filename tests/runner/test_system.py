"""What the runner says about the system, and what it refuses to pretend, under Wine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.channel.frames import RequestType, RunnerErrorCode
from tests.runner.winehost import PATIENCE, RefusedError, StandardRunner, Wine

STATUS_PRIVILEGE_NOT_HELD = 0xC0000061

KEYS = {
    *("os", "native_arch", "processors", "memory_mib", "computer", "user", "elevated", "clock_unix_us"),
    *(
        "uptime_ms",
        "boot_id",
        "wine",
        "reactos",
        "secure_boot",
        "test_signing",
        "code_integrity",
        "hvci",
        "vbs",
    ),
    *("kernel_debugger", "verifier", "drivers", "filters", "calls", "pretends"),
}


def test_the_environment_is_complete(long_runner: StandardRunner) -> None:
    answer = long_runner.ask(RequestType.ENVIRONMENT)
    assert set(answer) == KEYS
    system = answer["os"]
    assert isinstance(system, dict)
    assert set(system) == {
        *("major", "minor", "build", "ubr", "service_pack", "product_type", "product", "edition"),
        "display_version",
    }
    assert system["major"] >= 5
    assert answer["native_arch"] == "x64"
    assert isinstance(answer["wine"], str)
    assert answer["reactos"] is None
    assert isinstance(answer["clock_unix_us"], int)
    assert abs(answer["clock_unix_us"] - time.time() * 1e6) < 60e6


def test_what_wine_makes_up_is_null(long_runner: StandardRunner) -> None:
    answer = long_runner.ask(RequestType.ENVIRONMENT)
    made_up = (
        "secure_boot",
        "test_signing",
        "code_integrity",
        "hvci",
        "vbs",
        "kernel_debugger",
        "drivers",
        "filters",
    )
    assert {key: answer[key] for key in made_up} == dict.fromkeys(made_up)
    assert answer["verifier"] == {"flags": None, "drivers": []}


def test_calls_that_only_pretend_are_named(long_runner: StandardRunner) -> None:
    answer = long_runner.ask(RequestType.ENVIRONMENT)
    assert isinstance(answer["calls"], list)
    assert isinstance(answer["pretends"], list)
    assert {"NtOpenKeyEx", "NtRenameKey", "NtNotifyChangeKey"} <= set(answer["calls"])
    if str(answer["wine"]).startswith("8."):
        assert {"NtQueryMultipleValueKey", "NtRestoreKey", "NtReplaceKey", "RegLoadAppKeyW"} <= set(
            answer["pretends"]
        )
    # Wine renames keys; a list that names everything would be no help.
    assert "NtRenameKey" not in answer["pretends"]


@pytest.mark.parametrize(
    ("type", "values"),
    [
        (RequestType.CRASH, {"how": "critical-process"}),
        (RequestType.CRASH, {"how": "hard-error", "code": 0xE2}),
        (RequestType.CRASH, {"how": "hang"}),
        (RequestType.SHUTDOWN, {"reboot": False}),
    ],
)
def test_what_wine_can_only_pretend_is_refused(
    runner: StandardRunner, type: RequestType, values: dict[str, object]
) -> None:
    with pytest.raises(RefusedError, match="Wine") as refused:
        runner.ask(type, **values)
    assert refused.value.error == RunnerErrorCode.UNSUPPORTED
    assert runner.ask(RequestType.HELLO)["major"] == 1


def test_a_clock_that_is_not_set_is_no_success(long_runner: StandardRunner) -> None:
    # Two seconds: should a runner ever do it, the clock of whoever runs this test is not far off.
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(RequestType.CLOCK_SET, unix_us=int(time.time() * 1e6) + 2_000_000)
    assert refused.value.error == RunnerErrorCode.SYSTEM
    assert refused.value.status == STATUS_PRIVILEGE_NOT_HELD


def test_a_date_program_that_sets_nothing_is_no_success(wine: Wine, runner_exe: Path) -> None:
    with StandardRunner(wine, runner_exe, "--date", "Z:\\bin\\true") as running:
        with pytest.raises(RefusedError) as refused:
            running.ask(RequestType.CLOCK_SET, unix_us=int(time.time() * 1e6) + 2_000_000_000)
        assert refused.value.status == STATUS_PRIVILEGE_NOT_HELD


def wait_for(path: Path) -> None:
    """Until a program of the host has made it: the runner looks at the clock, for a while, not at that."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, f"nobody made {path}"
        time.sleep(0.01)


def test_a_date_program_is_given_the_time(wine: Wine, runner_exe: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    date = tmp_path / "date"
    date.write_text(f'#!/bin/sh\nprintf %s "$*" > {given}.new\nmv {given}.new {given}\n')
    date.chmod(0o755)
    with StandardRunner(wine, runner_exe, "--date", wine.dos(date)) as running, pytest.raises(RefusedError):
        running.ask(RequestType.CLOCK_SET, unix_us=1_700_000_000_000_042)
    wait_for(given)
    assert given.read_text() == "-u -s @1700000000.000042"


def test_what_a_date_program_says_is_not_among_the_frames(
    wine: Wine, runner_exe: Path, tmp_path: Path
) -> None:
    """It would cut a reply in two whenever it spoke between a frame's header and its payload."""
    date = tmp_path / "date"
    done = tmp_path / "done"
    date.write_text(f"#!/bin/sh\necho noise; echo noise >&2; touch {done}\n")
    date.chmod(0o755)
    with StandardRunner(wine, runner_exe, "--date", wine.dos(date)) as running:
        with pytest.raises(RefusedError):
            running.ask(RequestType.CLOCK_SET, unix_us=1_700_000_000_000_000)
        wait_for(done)
        running.ask(RequestType.QUIESCE)
        assert running.discarded == 0


def test_quiescing_flushes_the_registry(long_runner: StandardRunner) -> None:
    hives = long_runner.ask(RequestType.QUIESCE)["hives"]
    assert isinstance(hives, int)
    assert hives >= 1
