from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]
Rows = Callable[[], list[dict[str, Any]]]


def test_a_bugcheck_is_crash_with_code_and_stack_and_the_run_goes_on(
    suite: pytest.Pytester, run: Run, rows: Rows
) -> None:
    suite.makepyfile(
        """
        def test_before(guest): assert guest.number == 1
        def test_dies(guest): guest.execute(["crash"])
        def test_after(guest): assert guest.number == 2
        """
    )
    result = run("-rA", "-vv")
    result.assert_outcomes(passed=2, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*test_dies* CRASH*"])
    (line,) = [line for line in result.outlines if line.startswith("CRASH ") or "FAILED" in line]
    assert "0x50 PAGE_FAULT_IN_NONPAGED_AREA" in line
    assert "wrong.sys!Callback+0x4 [wrong.c:12] <- nt!CmpCall+0x8" in line
    crashed = rows()[1]
    assert crashed["outcome"] == "CRASH"
    assert crashed["message"].startswith(
        "CRASH: bugcheck 0x50 PAGE_FAULT_IN_NONPAGED_AREA (0x1, 0x2, 0x3, 0x4) in wrong.sys"
    )


def test_a_hang_is_told_apart(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile('def test_hangs(guest): guest.execute(["hang"])')
    run().assert_outcomes(failed=1)
    assert [row["outcome"] for row in rows()] == ["HANG"]


def test_infra_decides_the_exit_code(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile('def test_infra(guest): guest.execute(["infra"])\ndef test_good(guest): pass')
    result = run()
    assert result.ret == 3
    assert [row["outcome"] for row in rows()] == ["INFRA", "PASS"]
    assert rows()[0]["message"] == "INFRA: the disk of the host is full"


def test_a_guest_that_doesnt_boot_is_infra(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile(
        """
        import harness.guests
        from harness.errors import ToolMissingError
        def refuse(target): raise ToolMissingError("no emulator; pip install it")
        harness.guests.boot_reference = refuse
        def test_it(guest): pass
        """
    )
    result = run()
    assert result.ret == 3
    (row,) = rows()
    assert (row["outcome"], row["target"], row["attestation"]) == ("INFRA", "reference:10.0.26100", None)


def test_a_failed_assertion_is_fail_and_costs_the_guest(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile(
        "def test_1(guest): assert guest.number == 7\ndef test_2(guest): assert guest.number == 2"
    )
    run().assert_outcomes(failed=1, passed=1)
    row = rows()[0]
    assert row["outcome"] == "FAIL"
    assert row["message"].startswith("assert 1 == 7")
    assert "test_1" in row["detail"]


def test_what_a_guest_cant_do_is_a_skip(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile(
        """
        from harness.errors import UnsupportedError
        def test_it(guest): raise UnsupportedError("this guest runs no programs")
        """
    )
    run().assert_outcomes(skipped=1)
    (row,) = rows()
    assert (row["outcome"], row["message"]) == ("SKIP", "this guest runs no programs")


def test_an_expected_failure_is_known(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile("import pytest\n@pytest.mark.xfail\ndef test_it(guest): assert False")
    run().assert_outcomes(xfailed=1)
    assert [row["outcome"] for row in rows()] == ["KNOWN"]


def test_recorded_observations_are_kept_and_bounded(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.behaviour("B-REG-09")
        def test_it(guest, record):
            record("status", 0xC000000D)
            record("long", "x" * 100_000)
        """
    )
    run().assert_outcomes(passed=1)
    (row,) = rows()
    assert row["behaviours"] == ["B-REG-09"]
    assert row["recorded"]["status"] == "3221225485"
    assert len(row["recorded"]["long"]) < 5000


def test_ordinary_tests_leave_no_results(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile("def test_it(): pass")
    run().assert_outcomes(passed=1)
    assert not (suite.path / "results").exists()


def test_workers_of_xdist_write_one_run(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("number", range(6))
        def test_it(guest, number):
            if number == 3:
                guest.execute(["infra"])
        """
    )
    result = run("-n", "2", "--target", "reference:6.1", "--target", "reference:6.2")
    assert result.ret == 3
    found = rows()
    assert len(found) == len({(row["test"], row["target"]) for row in found}) == 12
    assert sum(row["outcome"] == "INFRA" for row in found) == 2


def test_a_worker_that_dies_is_infra(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile("import os\ndef test_it(guest): os._exit(9)\ndef test_other(guest): pass")
    assert run("-n", "1").ret == 3
    assert sorted(row["outcome"] for row in rows()) == ["INFRA", "PASS"]


def test_a_crash_is_told_with_its_whole_stack_at_any_width(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile(
        """
        def test_dies(guest):
            guest.execute(["crash"])
        """
    )
    text = "\n".join(run().outlines)
    assert '>       guest.execute(["crash"])' in text
    assert "wrong.sys!Callback+0x4 [wrong.c:12] <- nt!CmpCall+0x8" in text


def test_what_the_harness_raises_shows_the_test_and_not_the_harness(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile(
        """
        from harness.targets import parse_target
        def test_it(guest):
            parse_target("nonsense")
        """
    )
    text = "\n".join(run().outlines)
    assert '>       parse_target("nonsense")' in text
    assert "no target 'nonsense'" in text
    assert "harness/targets.py" not in text
    assert "harness/targets.py" in "\n".join(run("--full-trace").outlines)


_AGAIN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    for attempt in range(2):
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if not any(report.failed for report in reports):
            break
        item._initrequest()
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def test_a_test_that_another_plugin_repeats_has_the_row_of_its_last_attempt(
    suite: pytest.Pytester, run: Run, rows: Rows
) -> None:
    suite.makepyfile(again=_AGAIN)
    suite.syspathinsert()
    suite.makepyfile("""
        seen = []
        def test_it(guest, record):
            seen.append(guest)
            record("attempt", len(seen))
            assert len(seen) == 2
    """)
    assert run("-p", "again").ret == 0
    row = next(row for row in rows() if row["test"].endswith("test_it"))
    assert (row["outcome"], row["message"], row["attempt"]) == ("PASS", "", 2)
    assert row["recorded"] == {"attempt": "2"}


def test_a_test_case_of_unittest_is_told_why_it_has_no_guest(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile("""
        import pytest, unittest
        class Test(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def take(self, guest): pass
            def test_it(self): pass
    """)
    says = "*a unittest.TestCase can't have a guest: write a function, or a class without that base*"
    run().stdout.fnmatch_lines([says])
