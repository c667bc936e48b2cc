"""Native suites in the plugin: each case an item of its own, on a guest of its own, listed once."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]
Rows = Callable[[], list[dict[str, Any]]]

_CONFTEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import program_guest
program_guest.install()
"""
_RECIPE = """
name = "{name}"
title = "A guest that runs a program"
kind = "windows"
version = "10.0.19045"
arch = "x64"

[hardware]
machine = "q35"
memory_mib = 64
channel = "virtio"

[adopt]
disk = "disk.raw"
format = "raw"
"""
_SUITE = """
[executable]
x64 = "cases.exe"

[run]
timeout = 5

[outcome]
skip_codes = [77]
todo_codes = [78]
"""
_CASES = """\
passes 0 fine
fails 3 a == b is not so
skips 77 no such thing here
todo 78 known to fail
dies 3221225477 half way
bugcheck bugcheck
after 0 fine
hang hang
infra infra
"""


@pytest.fixture
def native(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the plugin on native suites, on vm:one; in a process of its own."""
    pytester.makeconftest(_CONFTEST)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --strict-markers\nfilterwarnings = error\n")
    for name in ("one", "two"):
        folder = pytester.path / "recipes" / name
        folder.mkdir(parents=True)
        (folder / "recipe.toml").write_text(_RECIPE.format(name=name))
        (folder / "disk.raw").write_bytes(name.encode())
    monkeypatch.setenv("HARNESS_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("LISTINGS", str(pytester.path / "listings"))
    (pytester.path / "mine.native.toml").write_text(_SUITE)
    (pytester.path / "cases.exe").write_text(_CASES)
    installed = any(point.value == "harness.plugin" for point in entry_points(group="pytest11"))
    plugin = ("-p", "no:hypothesispytest", *(() if installed else ("-p", "harness.plugin")))

    def run(*arguments: str, targets: tuple[str, ...] = ("vm:one",)) -> pytest.RunResult:
        named = [f"--target={target}" for target in targets]
        return pytester.runpytest_subprocess(
            *plugin, "--recipes=recipes", "--run-folder=run", *named, *arguments
        )

    return run


@pytest.fixture
def rows(pytester: pytest.Pytester) -> Rows:
    def rows() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (pytester.path / "run" / "rows.jsonl").read_text().splitlines()]

    return rows


def listings(pytester: pytest.Pytester) -> list[str]:
    file = pytester.path / "listings"
    return file.read_text().split() if file.exists() else []


def outcomes(rows: Rows) -> dict[str, str]:
    return {row["test"].removeprefix("mine.native.toml::"): row["outcome"] for row in rows()}


def test_every_case_is_an_item_with_an_outcome_of_its_own(native: Run, rows: Rows) -> None:
    result = native()
    result.stdout.fnmatch_lines(["FAILED *::case[[]vm:one-fails] - exit code 3: a ==*"])
    assert outcomes(rows) == {
        "case[passes]": "PASS",
        "case[fails]": "FAIL",
        "case[skips]": "SKIP",
        "case[todo]": "KNOWN",
        "case[dies]": "FAIL",
        "case[bugcheck]": "CRASH",
        "case[after]": "PASS",
        "case[hang]": "HANG",
        "case[infra]": "INFRA",
    }
    assert result.ret == 3
    found = {row["test"]: row for row in rows()}
    failed = found["mine.native.toml::case[fails]"]
    assert failed["message"] == "exit code 3: a == b is not so"
    assert "a == b is not so" in failed["detail"].split("what the program wrote")[1]
    assert "STATUS_ACCESS_VIOLATION" in found["mine.native.toml::case[dies]"]["message"]
    assert "0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL" in found["mine.native.toml::case[bugcheck]"]["message"]
    assert "did not end within 5 s" in found["mine.native.toml::case[hang]"]["message"]
    assert found["mine.native.toml::case[skips]"]["message"] == "exit code 77: no such thing here"
    assert {row["target"] for row in rows()} == {"vm:one"}
    assert "cases.exe" in failed["attestation"]["drivers"]
    assert "harness/plugin" not in "".join(row["detail"] for row in rows()), "no traceback of the harness"


@pytest.mark.parametrize(("isolation", "numbers"), [("case", "123"), ("file", "111")])
def test_a_case_has_a_guest_of_its_own_unless_the_file_says_so(
    pytester: pytest.Pytester, native: Run, rows: Rows, isolation: str, numbers: str
) -> None:
    (pytester.path / "cases.exe").write_text("a 77 NUMBER\nb 77 NUMBER\nc 77 NUMBER\n")
    (pytester.path / "mine.native.toml").write_text(f'isolation = "{isolation}"\n{_SUITE}')
    native("--collect-only")  # the guest that lists is not among those counted
    native()
    assert [row["message"] for row in rows()] == [f"exit code 77: {number}" for number in numbers]


def test_cases_are_listed_once_until_something_changes(pytester: pytest.Pytester, native: Run) -> None:
    native("--collect-only", targets=("vm:one", "vm:two"))
    native("--collect-only", targets=("vm:one", "vm:two"))
    assert listings(pytester) == ["vm:one", "vm:two"]
    (pytester.path / "cases.exe").write_text("other 0 x\n")
    result = native("--collect-only", "-q")
    assert listings(pytester) == ["vm:one", "vm:two", "vm:one"]
    result.stdout.fnmatch_lines(["mine.native.toml::case[[]vm:one-other]"])
    (pytester.path / "recipes" / "one" / "disk.raw").write_bytes(b"another system")
    native("--collect-only")
    assert len(listings(pytester)) == 4


def test_a_plan_boots_nothing_to_collect(pytester: pytest.Pytester, native: Run) -> None:
    before = native("--collect-only", "-q", "--listed-before")
    before.stdout.fnmatch_lines(["mine.native.toml::case[[]vm:one]"])
    assert listings(pytester) == []
    native("--collect-only")
    after = native("--collect-only", "-q", "--listed-before")
    after.stdout.fnmatch_lines(["mine.native.toml::case[[]vm:one-passes]"])


def test_workers_list_once_and_collect_the_same(pytester: pytest.Pytester, native: Run, rows: Rows) -> None:
    pytest.importorskip("xdist")
    result = native("-n", "2", "-k", "passes or after or skips", targets=("vm:one", "vm:two"))
    assert result.ret == 0, result.stdout.str()
    assert sorted(listings(pytester)) == ["vm:one", "vm:two"]
    assert sorted((row["test"], row["target"]) for row in rows()) == sorted(
        (f"mine.native.toml::case[{case}]", target)
        for case in ("passes", "after", "skips")
        for target in ("vm:one", "vm:two")
    )


@pytest.mark.parametrize(("what", "outcome", "said"), [
    ("bugcheck", "CRASH", "0xd1"),
    ("hang", "HANG", "the list command of mine did not end within 60 s"),
    ("infra", "INFRA", "the disk of the host is full"),
])  # fmt: skip
def test_a_listing_that_fails_is_one_item_that_says_so(
    pytester: pytest.Pytester, native: Run, rows: Rows, what: str, outcome: str, said: str
) -> None:
    """Other files of the run are not held up by it, and workers agree on it."""
    (pytester.path / "cases.exe").write_text(f"passes 0 fine\nlist {what}\n")
    pytester.makepyfile("def test_other(): pass")
    result = native("-n", "2") if what == "infra" else native()
    (row,) = rows()
    assert (row["test"], row["outcome"]) == ("mine.native.toml::case", outcome)
    assert said in row["message"]
    assert result.parseoutcomes()["passed"] == 1


def test_named_cases_need_no_guest_to_be_known(pytester: pytest.Pytester, native: Run, rows: Rows) -> None:
    (pytester.path / "mine.native.toml").write_text(f'{_SUITE}\n[list]\ncases = ["after", "passes"]\n')
    assert native().ret == 0
    assert listings(pytester) == []
    assert outcomes(rows) == {"case[after]": "PASS", "case[passes]": "PASS"}


def test_markers_of_the_file_hold_for_its_cases(pytester: pytest.Pytester, native: Run, rows: Rows) -> None:
    (pytester.path / "mine.native.toml").write_text(
        f'behaviours = ["B-REG-01"]\nsince = "6.1"\n{_SUITE}\n[list]\ncases = ["passes"]\n'
    )
    native(targets=("vm:one", "reference:6.0", "reference:10.0.26100"))
    found = {row["target"]: row for row in rows()}
    assert found.keys() == {"vm:one", "reference:10.0.26100"}, "6.0 is older than `since` allows"
    assert found["vm:one"]["behaviours"] == ["B-REG-01"]
    skipped = found["reference:10.0.26100"]
    assert skipped["outcome"] == "SKIP"
    assert "lacks programs: the reference guest runs drivers and workload programs" in skipped["message"]
    assert listings(pytester) == []


def test_an_architecture_without_an_executable_is_left_out(
    pytester: pytest.Pytester, native: Run, rows: Rows
) -> None:
    (pytester.path / "mine.native.toml").write_text('[executable]\nx86 = "cases.exe"\n')
    native()
    assert [(row["outcome"], row["message"]) for row in rows()] == [
        ("SKIP", "holds on x86 only; vm:one is x64")
    ]


def test_a_mistake_in_the_file_ends_its_collection(pytester: pytest.Pytester, native: Run) -> None:
    (pytester.path / "mine.native.toml").write_text('[executable]\nx64 = "missing.exe"\n[run]\ntimeuot = 3\n')
    result = native()
    assert result.ret == 2
    assert "run.timeuot: unknown key; did you mean timeout?" in result.stdout.str()
    (pytester.path / "mine.native.toml").write_text('[executable]\nx64 = "missing.exe"\n')
    assert "executable.x64: there is no file" in native().stdout.str()


def test_one_case_can_be_named_on_the_command_line(native: Run, rows: Rows) -> None:
    native("mine.native.toml::case[vm:one-after]")
    assert outcomes(rows) == {"case[after]": "PASS"}
