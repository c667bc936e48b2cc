from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]
Rows = Callable[[], list[dict[str, Any]]]


def test_without_targets_tests_run_on_the_newest_windows(
    suite: pytest.Pytester, run: Run, rows: Rows
) -> None:
    suite.makepyfile("def test_it(guest, target): assert guest.info.name == target.name")
    run().assert_outcomes(passed=1)
    (row,) = rows()
    assert (row["target"], row["outcome"], row["attestation"]["kind"]) == (
        "reference:10.0.26100",
        "PASS",
        "reference",
    )


def test_every_target_gets_every_test_under_the_same_name(
    suite: pytest.Pytester, run: Run, rows: Rows
) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("number", [1, 2])
        def test_it(guest, number): pass
        """
    )
    run("--target", "reference:6.1*", "--target", "reference:5.1").assert_outcomes(passed=6)
    assert {(row["test"], row["target"]) for row in rows()} == {
        (f"test_every_target_gets_every_test_under_the_same_name.py::test_it[{number}]", target)
        for number in (1, 2)
        for target in ("reference:6.1", "reference:6.1-x86", "reference:5.1")
    }


def test_a_guest_serves_a_module_and_no_other(suite: pytest.Pytester, run: Run) -> None:
    body = "SEEN = []\n" + "".join(
        f"def test_{n}(guest):\n    SEEN.append(guest.number)\n    assert SEEN == [{{0}}] * {n}\n"
        for n in (1, 2)
    )
    suite.makepyfile(test_a=body.format(1), test_b=body.format(2))
    run().assert_outcomes(passed=4)
    run("--isolation", "test").assert_outcomes(passed=1, failed=3)
    run("--isolation", "session").assert_outcomes(passed=2, failed=2)


def test_a_test_may_ask_for_a_guest_of_its_own(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile(
        """
        import pytest
        def test_1(guest): assert guest.number == 1
        @pytest.mark.own_guest
        def test_2(guest): assert guest.number == 2
        def test_3(guest): assert guest.number == 3
        def test_4(guest): assert guest.number == 3
        """
    )
    run("--isolation", "session").assert_outcomes(passed=4)


def test_tests_of_a_module_are_grouped_by_target(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile("def test_1(guest): pass\ndef test_2(guest): assert guest.number <= 2")
    run("--target", "reference:6.1", "--target", "reference:6.2").assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("reference:7.0", "needs a build number"),
        ("vm:win11", "no recipe 'win11'"),
        ("reference:10.0.26100-x86", "there was no x86 Windows"),
        ("reference:9*", "no target matches"),
    ],
)
def test_an_unknown_target_is_a_usage_error(suite: pytest.Pytester, run: Run, target: str, says: str) -> None:
    suite.makepyfile("def test_it(guest): pass")
    result = run("--target", target)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--target: *{says}*"])


def test_versions_and_architectures_leave_out_targets(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.versions(since="6.0", until="6.1")
        @pytest.mark.arch("x64")
        def test_it(guest): pass
        """
    )
    run("--target", "reference:*").assert_outcomes(passed=3)
    assert [row["target"] for row in rows()] == ["reference:6.0", "reference:6.0.6002", "reference:6.1"]


def test_a_test_that_fits_no_target_is_skipped_with_the_reason(
    suite: pytest.Pytester, run: Run, rows: Rows
) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.versions(since="6.2")
        def test_it(guest): pass
        """
    )
    run("--target", "reference:5.1").assert_outcomes(skipped=1)
    (row,) = rows()
    assert row["outcome"] == "SKIP"
    assert row["message"] == "needs Windows 6.2 or later; reference:5.1 is older"


def test_a_missing_capability_skips_with_its_name(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.requires("app-hives")
        def test_has(guest): pass
        @pytest.mark.requires("app-hives", "two-processes")
        def test_lacks(guest): pass
        """
    )
    run().assert_outcomes(passed=1, skipped=1)
    assert rows()[1]["message"] == "reference:10.0.26100 lacks two-processes"


@pytest.mark.parametrize(
    ("marker", "says"),
    [
        ('behaviour("B-LAY-99")', "no behaviour 'B-LAY-99' in the catalogue"),
        ("behaviour()", "takes ids of the catalogue"),
        ('versions(form="6.0")', "unexpected keyword argument 'form'"),
        ('arch("arm64")', "'arm64' is not a valid Arch"),
        ('requires("luck")', "'luck' is not a valid Capability"),
    ],
)
def test_a_wrong_marker_ends_collection(suite: pytest.Pytester, run: Run, marker: str, says: str) -> None:
    suite.makepyfile(f"import pytest\n@pytest.mark.{marker}\ndef test_it(guest): pass")
    result = run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*{says.replace('[', '[[]')}*"])
