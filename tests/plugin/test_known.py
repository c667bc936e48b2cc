from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]
Rows = Callable[[], list[dict[str, Any]]]
LINK = "https://tracker.example/4711"


def write_known(suite: pytest.Pytester, text: str) -> str:
    file = suite.path / "known.toml"
    file.write_text(text)
    return f"--known={file}"


def test_failures_that_are_known_fail_no_run_and_infra_is_never_known(
    suite: pytest.Pytester, run: Run, rows: Rows
) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.fixture
        def broken(guest): guest.execute(["crash"])
        def test_fails(guest): assert False
        def test_crashes(guest): guest.execute(["crash"])
        def test_hangs(guest): guest.execute(["hang"])
        def test_crashes_before(broken): pass
        def test_infra(guest): guest.execute(["infra"])
        def test_good(guest): pass
        """
    )
    known = write_known(suite, f'[[issue]]\ntest = "*"\nlink = "{LINK}"\n')

    result = run(known)
    assert result.ret == 3  # INFRA alone
    result.assert_outcomes(xfailed=4, passed=1, failed=1)
    found = [(row["test"].split("::")[1], row["outcome"], row["known"]) for row in rows()]
    assert found == [
        ("test_fails", "KNOWN", LINK),
        ("test_crashes", "KNOWN", LINK),
        ("test_hangs", "KNOWN", LINK),
        ("test_crashes_before", "KNOWN", LINK),
        ("test_infra", "INFRA", ""),
        ("test_good", "PASS", ""),
    ]
    # The failure itself is still told.
    assert rows()[0]["message"].startswith("assert False")
    assert "0x50 PAGE_FAULT_IN_NONPAGED_AREA" in rows()[1]["message"]
    result.stdout.fnmatch_lines([f"known issue {LINK}: 4 result(s)"])


def test_a_guest_with_a_known_failure_is_not_used_again(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    suite.makepyfile(
        """
        def test_fails(guest): assert guest.number == 7
        def test_next(guest): assert guest.number == 2
        """
    )
    assert run(write_known(suite, f'[[issue]]\ntest = "*::test_fails"\nlink = "{LINK}"\n')).ret == 0
    assert [row["outcome"] for row in rows()] == ["KNOWN", "PASS"]


def test_what_fails_beside_a_known_failure_fails(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    """An error of the teardown is not what is known: here another behaviour's issue names crashes only."""
    suite.makepyfile(
        """
        import pytest
        @pytest.fixture
        def untidy(guest):
            yield
            assert not "left behind"
        def test_crashes(untidy, guest): guest.execute(["crash"])
        """
    )
    known = write_known(suite, f'[[issue]]\ntest = "*"\nlink = "{LINK}"\noutcomes = ["CRASH"]\n')
    assert run(known).ret == pytest.ExitCode.TESTS_FAILED
    (row,) = rows()
    assert (row["outcome"], row["known"]) == ("FAIL", "")
    assert "left behind" in row["message"]


def test_workers_know_them_too(suite: pytest.Pytester, run: Run, rows: Rows) -> None:
    pytest.importorskip("xdist")
    suite.makepyfile("def test_fails(guest): assert False\ndef test_good(guest): pass")
    result = run(write_known(suite, f'[[issue]]\ntest = "*::test_fails"\nlink = "{LINK}"\n'), "-n", "2")
    assert result.ret == 0
    assert {(row["outcome"], row["known"]) for row in rows()} == {("KNOWN", LINK), ("PASS", "")}


def test_only_the_targets_behaviours_builds_and_days_of_an_entry(
    suite: pytest.Pytester, run: Run, rows: Rows
) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.behaviour("B-LAY-03")
        def test_layers(guest): assert False
        @pytest.mark.behaviour("B-LAY-05")
        def test_others(guest): assert False
        """
    )
    today = datetime.now(UTC).date()
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)
    known = write_known(
        suite,
        f"""
        [[issue]]
        behaviour = "B-LAY-03"
        targets = ["reference:6.1*"]
        builds = ["acme-1.*"]
        link = "{LINK}/1"
        since = {yesterday}
        until = {tomorrow}
        [[issue]]
        behaviour = "B-LAY-05"
        since = "6.2"
        link = "{LINK}/2"
        [[issue]]
        test = "*::test_layers"
        until = {yesterday}
        link = "{LINK}/3"
        """,
    )
    result = run(known, "--build", "acme-1.2", "--target", "reference:6.1", "--target", "reference:6.2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {(row["behaviours"][0], row["target"], row["outcome"], row["known"]) for row in rows()} == {
        ("B-LAY-03", "reference:6.1", "KNOWN", f"{LINK}/1"),
        ("B-LAY-03", "reference:6.2", "FAIL", ""),
        ("B-LAY-05", "reference:6.1", "FAIL", ""),
        ("B-LAY-05", "reference:6.2", "KNOWN", f"{LINK}/2"),
    }
    result.stdout.fnmatch_lines([f"known issue *test_layers on * ({LINK}/3) is past its last day: *"])


def test_an_issue_that_stopped_failing_is_told(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile("def test_good(guest): pass")
    text = f'[[issue]]\ntest = "*::test_good"\nlink = "{LINK}"\n[[issue]]\ntest = "gone"\nlink = "{LINK}"\n'
    result = run(write_known(suite, text))
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            f"known issue *::test_good on * ({LINK}) passed everywhere it should fail: remove it, *",
            "1 known issue(s) are about no test of this run",
        ]
    )


def test_a_bad_file_ends_the_run_before_it_starts(suite: pytest.Pytester, run: Run) -> None:
    suite.makepyfile("def test_good(guest): pass")
    result = run(write_known(suite, '[[issue]]\nlink = "here"\ntargetz = []\n'))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--known: *known.toml: issue?0?.targetz: unknown key; did you mean targets?*"]
    )
