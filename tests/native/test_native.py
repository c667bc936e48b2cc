"""Native suites without a guest: what frameworks list, what files may say, how output is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.guest.base import ExecResult
from harness.native import Framework, NativeIsolation, NativeSuite, load_suite
from harness.native.frameworks import CONVENTIONS
from harness.native.listing import read_cases
from harness.native.run import batch_file, output_text
from harness.native.verdict import Verdict
from harness.strict import ConfigError

_GTEST = """\
Running main() from gtest_main.cc
Registry.
  Opens
  DISABLED_Closes
Values/Types.
  Kept/0  # GetParam() = 4 # of them
  Kept/1  # GetParam() = "REG_SZ."
Typed/0.  # TypeParam = int
  Works
"""
_WINETEST = "Valid test names:\n    registry\n    security\n"
_CATCH2 = "opens a key\nreads [a] value, twice\n"


def suite(folder: Path, text: str = "", *, executable: str = 'x64 = "cases.exe"') -> NativeSuite:
    (folder / "cases.exe").write_bytes(b"MZ")
    file = folder / "mine.native.toml"
    top, sections = (text, "") if not text.lstrip().startswith("[") else ("", text)
    file.write_text(f"{top}\n[executable]\n{executable}\n{sections}")
    return load_suite(file)


@pytest.mark.parametrize(
    ("framework", "output", "cases"),
    [
        (
            Framework.GTEST,
            _GTEST,
            ["Registry.Opens", "Registry.DISABLED_Closes", "Values/Types.Kept/0", "Values/Types.Kept/1",
             "Typed/0.Works"],
        ),
        (Framework.WINETEST, _WINETEST, ["registry", "security"]),
        (Framework.CATCH2, _CATCH2, ["opens a key", "reads [a] value, twice"]),
        (Framework.PLAIN, "  one\n\n two words \n", ["one", "two words"]),
    ],
)  # fmt: skip
def test_frameworks_are_read_as_they_list(framework: Framework, output: str, cases: list[str]) -> None:
    assert CONVENTIONS[framework].read(output) == cases


@pytest.mark.parametrize(
    ("framework", "code", "output", "verdict"),
    [
        (Framework.GTEST, 0, "[==========] 1 test ran.\n[  PASSED  ] 1 test.\n", Verdict.PASSED),
        (Framework.GTEST, 0, "[  PASSED  ] 0 tests.\n[  SKIPPED ] 1 test, listed below:\n", Verdict.SKIPPED),
        (Framework.GTEST, 0, "[  PASSED  ] 0 tests.\n\n  YOU HAVE 1 DISABLED TEST\n", Verdict.SKIPPED),
        (Framework.GTEST, 1, "[  PASSED  ] 0 tests.\n[  FAILED  ] 1 test, listed below:\n", Verdict.FAILED),
        (Framework.CATCH2, 4, "test cases: 1 | 1 skipped\nassertions: - none -\n", Verdict.SKIPPED),
        (Framework.CATCH2, 4, "test cases: 1 | 1 failed\nassertions: 4 | 4 failed\n", Verdict.FAILED),
        (Framework.WINETEST, 0, "0020:registry: 9 tests executed (0 marked as todo, 0 failures), 1 skipped.",
         Verdict.PASSED),
        (Framework.WINETEST, 0, "0020:registry: 0 tests executed (0 marked as todo, 0 failures), 1 skipped.",
         Verdict.SKIPPED),
        (Framework.WINETEST, 2, "0020:registry: 9 tests executed (0 marked as todo, 2 failures), 0 skipped.",
         Verdict.FAILED),
        (Framework.PLAIN, 0xC0000005, "", Verdict.FAILED),
    ],
)  # fmt: skip
def test_frameworks_are_judged_as_they_say(
    tmp_path: Path, framework: Framework, code: int, output: str, verdict: Verdict
) -> None:
    judged = suite(tmp_path, f'framework = "{framework}"').rules.judge(code, output)
    assert judged.verdict is verdict
    assert judged.reason


def test_a_file_says_otherwise(tmp_path: Path) -> None:
    rules = suite(
        tmp_path,
        """
        [outcome]
        pass_codes = [0, -1]
        skip_codes = [3]
        todo_pattern = "TODO \\\\d+"
        fail_pattern = "leaked"
        """,
    ).rules
    found = [
        rules.judge(code, output).verdict
        for code, output in [(0xFFFFFFFF, ""), (3, ""), (0, "TODO 7"), (5, "TODO 7"), (3, "leaked"), (1, "")]
    ]
    assert found == [
        Verdict.PASSED, Verdict.SKIPPED, Verdict.TODO, Verdict.FAILED, Verdict.FAILED, Verdict.FAILED
    ]  # fmt: skip


def test_the_reason_is_the_line_that_says_it(tmp_path: Path) -> None:
    rules = suite(tmp_path, '[outcome]\nskip_pattern = "skipped:"').rules
    assert rules.judge(0, "begin\nskipped: no TPM here\nend\n").reason == "skipped: no TPM here"
    assert rules.judge(0, "begin\nend\n").verdict is Verdict.PASSED


def test_what_was_written_before_an_exception_is_no_reason_for_it(tmp_path: Path) -> None:
    rules = suite(tmp_path).rules
    assert rules.judge(0xC0000005, "process 1234 begins").reason == "ended by STATUS_ACCESS_VIOLATION"
    assert rules.judge(0xE06D7363, "").reason == "ended by 0xE06D7363"
    assert rules.judge(0xFFFFFFFF, "").reason == "exit code -1"
    assert rules.judge(1, "begins\nbroke: 5\n").reason == "exit code 1: broke: 5"


def test_what_a_file_leaves_out_is_the_convention(tmp_path: Path) -> None:
    found = suite(tmp_path, 'framework = "gtest"')
    assert found.list_argv() == ("C:\\harness\\native\\mine\\cases.exe", "--gtest_list_tests")
    assert found.run_argv("A.B/0")[1:] == ("--gtest_filter=A.B/0",)
    assert found.isolation is NativeIsolation.CASE
    catch = suite(tmp_path, 'framework = "catch2"')
    assert catch.run_argv('reads [a] "value", twice')[1:] == ('reads \\[a\\] \\"value\\"\\, twice',)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('framework = "junit"', "framework: must be one of"),
        ('folder = "native"', "folder: must be a DOS path"),
        ('isolation = "session"', "isolation: must be one of case, file"),
        ('[run]\narguments = ["--all"]', "run.arguments: no argument names the case"),
        ("[run]\ntimeout = 0", "run.timeout: must be seconds"),
        ('[list]\npattern = "^(\\\\w+)"', "list.pattern: has no group named case"),
        ('[list]\npattern = "("', "list.pattern: is no regular expression"),
        ('[outcome]\nskip_pattern = "["', "outcome.skip_pattern: is no regular expression"),
        ('[environment]\nNAME = "a\\nb"', "environment.NAME: name and value are ASCII"),
        ('[[files]]\npath = "none.dat"', "files[0].path: there is no file"),
        ('[[files]]\npath = "cases.exe"\nto = "..\\\\x"', "files[0].to:"),
    ],
)
def test_a_mistake_says_where_it_is(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suite(tmp_path, text)
    assert said in str(caught.value)
    assert "mine.native.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("executable", "said"),
    [
        ("", "names no image"),
        ('x64 = "cases.exe"\nsource = "."', "names source and images"),
        ('source = "nowhere"', "there is no folder"),
    ],
)
def test_an_executable_has_to_be_there(tmp_path: Path, executable: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        suite(tmp_path, executable=executable)


@pytest.mark.parametrize(
    ("output", "said"),
    [("", "named no case"), ("one\none\n", "two cases"), ("a\x07b\n", "no name"), ("x" * 300, "no name")],
)
def test_a_list_that_can_not_be_is_refused(tmp_path: Path, output: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_cases(suite(tmp_path), output)


def test_a_pattern_finds_cases(tmp_path: Path) -> None:
    found = suite(tmp_path, "[list]\npattern = '^test (?P<case>\\w+)'")
    assert read_cases(found, "usage:\ntest one (slow)\ntest two\n") == ("one", "two")


def test_a_batch_file_hides_nothing_from_cmd() -> None:
    made = batch_file(["C:\\a b\\x.exe", 'one "two" & 50% (^|<>)'], {"NAME": "50% & more"}).decode("ascii")
    assert made.split("\r\n") == [
        "@echo off",
        'set "NAME=50%% & more"',
        '"C:\\a b\\x.exe" ^"one \\^"two\\^" ^& 50%% ^(^^^|^<^>^)^"',
        "exit %errorlevel%",
        "",
    ]


@pytest.mark.parametrize("argument", ["\u00e4", "a\nb", "x" * 9000])
def test_what_no_batch_file_can_carry_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match="can't be run with an environment"):
        batch_file(["C:\\x.exe", argument], {"A": "b"})


def test_output_is_text_whatever_it_was() -> None:
    assert output_text(ExecResult(0, b"one\r\ntwo\xff\r\n", b"three\r\n")) == "one\ntwo\\xff\nthree"
