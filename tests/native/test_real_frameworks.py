"""GoogleTest and Catch2 themselves, compiled for Windows and run by Wine: what they write is what is read.

Catch2 is the one before 3.0 that Debian 12 has: later ones are no single header. In place of a winetest there
is a program that writes what Wine's include/wine/test.h does: no package has that header.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.guest.base import Arch, ExecResult
from harness.native import NativeSuite, load_suite
from harness.native.listing import ask_guest
from harness.native.run import run_case
from harness.native.verdict import Verdict
from tests.runner.winehost import Wine, wine_is_missing

SOURCES = Path(__file__).parent / "real"
GOOGLETEST = Path("/usr/src/googletest/googletest")
CATCH2 = Path("/usr/include/catch2/catch.hpp")
#: With the threads of POSIX, which GoogleTest needs; C has no difference.
COMPILERS = {"C++": "x86_64-w64-mingw32-g++-posix", "C": "x86_64-w64-mingw32-gcc"}
PATIENCE = 300


@dataclass
class _Info:
    arch: Arch = Arch.X64


class WineGuest:
    """As much of a guest as native suites ask for: files and programs, of a Wine prefix."""

    def __init__(self, wine: Wine, folder: Path) -> None:
        self.info = _Info()
        self._wine, self._folder = wine, folder

    def put(self, path: str, data: bytes) -> None:
        place = self._wine.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def execute(self, argv: Sequence[str], *, timeout: float, folder: str) -> ExecResult:
        out, err = self._folder / "out", self._folder / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            done = subprocess.run(
                ["wine", *argv], env=self._wine.environment, cwd=self._wine.path(folder),
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, timeout=timeout, check=False,
            )  # fmt: skip
        return ExecResult(done.returncode, out.read_bytes(), err.read_bytes())


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if reason := wine_is_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("wine")
    wine = Wine(folder)
    try:
        yield WineGuest(wine, folder)
    finally:
        wine.close()


def compiled(folder: Path, language: str, *arguments: str | Path) -> Path:
    """An executable; skips where the compiler for it is missing."""
    compiler = COMPILERS[language]
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}: tools/bootstrap.sh machines")
    exe = folder / "cases.exe"
    made = subprocess.run(
        [compiler, "-O0", "-static", *map(str, arguments), "-o", str(exe)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return exe


def suite(folder: Path, exe: Path, text: str) -> NativeSuite:
    top, _, rest = text.partition("\n\n")
    file = folder / "mine.native.toml"
    file.write_text(f'{top}\n[executable]\nx64 = "{exe.name}"\n{rest}')
    return load_suite(file)


def verdicts(suite: NativeSuite, guest: Any) -> dict[str, tuple[Verdict, str]]:
    """What came of each case that it lists, and the reason."""
    cases = ask_guest(suite, guest)
    found = {case: run_case(suite, guest, case).judgement for case in cases}
    return {case: (judged.verdict, judged.reason) for case, judged in found.items()}


def test_a_real_googletest(guest: Any, tmp_path: Path) -> None:
    if not GOOGLETEST.is_dir():
        pytest.skip(f"needs {GOOGLETEST}: apt-get install googletest")
    include = (f"-I{GOOGLETEST}", f"-I{GOOGLETEST / 'include'}")
    exe = compiled(
        tmp_path, "C++", "-std=gnu++17", *include, GOOGLETEST / "src" / "gtest-all.cc",
        SOURCES / "gtest_cases.cpp",
    )  # fmt: skip
    found = verdicts(suite(tmp_path, exe, 'framework = "gtest"'), guest)
    assert {case: verdict for case, (verdict, _) in found.items()} == {
        "Registry.Opens": Verdict.PASSED,
        "Registry.Fails": Verdict.FAILED,
        "Registry.Skips": Verdict.SKIPPED,
        "Registry.DISABLED_Later": Verdict.SKIPPED,
        "Registry.Crashes": Verdict.FAILED,
        "Typed/0.Works": Verdict.PASSED,
        "Typed/1.Works": Verdict.PASSED,
        "Types/Values.Kept/0": Verdict.PASSED,
        "Types/Values.Kept/1": Verdict.PASSED,
        "Types/Values.Kept/2": Verdict.PASSED,
    }


def test_a_real_catch2_of_before_3(guest: Any, tmp_path: Path) -> None:
    if not CATCH2.is_file():
        pytest.skip(f"needs {CATCH2}, which Catch2 3 has no more (apt-get install catch2 on Debian 12)")
    shutil.copytree(
        CATCH2.parent, tmp_path / "include" / "catch2"
    )  # the host's other headers are none for Windows
    include = f"-I{tmp_path / 'include'}"
    exe = compiled(
        tmp_path, "C++", "-std=gnu++14", "-DCATCH_CONFIG_FAST_COMPILE", include, SOURCES / "catch2_cases.cpp"
    )
    # As docs/native-cases.md has it.
    lists = '[list]\narguments = ["--list-test-names-only"]\nexit_codes = []\n'
    found = verdicts(suite(tmp_path, exe, f'framework = "catch2"\n\n{lists}'), guest)
    assert {case: verdict for case, (verdict, _) in found.items()} == {
        "opens a key": Verdict.PASSED,
        "reads [a] value, twice": Verdict.PASSED,
        'fails: "as it should"': Verdict.FAILED,
        "throws what nobody caught": Verdict.FAILED,
    }


def test_what_winetests_write(guest: Any, tmp_path: Path) -> None:
    exe = compiled(tmp_path, "C", SOURCES / "winetest_cases.c")
    found = verdicts(suite(tmp_path, exe, 'framework = "winetest"'), guest)
    assert {case: verdict for case, (verdict, _) in found.items()} == {
        "passes": Verdict.PASSED,
        "fails": Verdict.FAILED,
        "skips": Verdict.SKIPPED,
        "todo": Verdict.PASSED,
    }
    assert "2 tests executed (0 marked as todo, 0 as flaky, 2 failures)" in found["fails"][1]
