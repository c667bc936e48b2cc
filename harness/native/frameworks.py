"""What is known of test frameworks: how they list cases, run one, and say that it was skipped. Pure.

Sources: GoogleTest "Advanced Topics" (listing test names, running a subset, skipping); Catch2
docs/command-line.md (listing, specifying tests) and docs/skipping-passing-failing.md; Wine's
include/wine/test.h (``--list``, the summary line, the exit code).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["CONVENTIONS", "Conventions", "Framework"]


class Framework(StrEnum):
    PLAIN = "plain"  # one case a line
    GTEST = "gtest"
    CATCH2 = "catch2"  # from 3.0 on
    WINETEST = "winetest"


@dataclass(frozen=True, slots=True)
class Conventions:
    """How executables of a framework are driven; a suite's file may say otherwise, key by key.

    `read` makes case names of what the list command wrote, `quote` the text that stands for a case in the run
    command. A case was skipped when it ended with one of `skip_codes` and its output matches `skip_pattern`.
    """

    list_arguments: tuple[str, ...]
    run_arguments: tuple[str, ...]
    read: Callable[[str], list[str]]
    quote: Callable[[str], str] = str
    skip_codes: tuple[int, ...] = ()
    skip_pattern: str = ""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _gtest(text: str) -> list[str]:
    """Suites end with a dot and stand at the margin, their tests are indented; ``#`` begins a remark."""
    found, suite = [], ""
    for line in text.split("\n"):
        name = line.partition("  #")[0].rstrip()
        if line.startswith("  ") and suite:
            found.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    return found


def _winetest(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.startswith("    ") and line.strip()]


def _catch2_spec(case: str) -> str:
    """A case's name as a test specification that means it alone: commas and brackets have a meaning there."""
    return re.sub(r'([\\,\[\]"])', r"\\\1", case)


CONVENTIONS: Final[Mapping[Framework, Conventions]] = {
    Framework.PLAIN: Conventions(("--list",), ("{case}",), _lines),
    Framework.GTEST: Conventions(
        ("--gtest_list_tests",),
        ("--gtest_filter={case}",),
        _gtest,
        # Of a disabled test and of a skipped one: neither ran to its end.
        skip_codes=(0,),
        skip_pattern=r"^\[  PASSED  \] 0 tests\.",
    ),
    Framework.CATCH2: Conventions(
        ("--list-tests", "--verbosity", "quiet"),
        ("{case}",),
        _lines,
        quote=_catch2_spec,
        # The code alone would not do: before 3.0 it was the number of failures.
        skip_codes=(4,),
        skip_pattern=r"^test cases:\s+1 \| 1 skipped",
    ),
    Framework.WINETEST: Conventions(
        ("--list",),
        ("{case}",),
        _winetest,
        skip_codes=(0,),
        skip_pattern=r"\b0 tests executed \(.*\), [1-9]\d* skipped\.",
    ),
}
