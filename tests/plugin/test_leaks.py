"""The leak gate: what is left after a module fails it, in a row of its own, however the tests were spread."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from harness.driver import build_signed, project_drivers
from harness.errors import ToolMissingError
from harness.guest.leaks import NOTHING_KNOWN, Held, Holding, Outstanding, left_over
from harness.plugin.leaks import LeakWatch

pytest.importorskip("unicorn", reason="the reference guest needs unicorn")

Run = Callable[..., pytest.RunResult]
Row = dict[str, Any]
Rows = Callable[[], dict[str, list[Row]]]

GATE = "test_here.py::leak-gate"
#: The driver given with --driver is told to do wrong by a value of this name (driver-src/wrong/wrong.h).
_SUITE = """
import pytest

def write(registry, name):
    with registry.program() as p:
        p.set_value(p.create_key(p.test_root / "app"), name, "x")

def test_first(own_driver, registry):
    write(registry, "harmless")

def test_leaks(own_driver, registry):
    write(registry, "trigger")

def test_last(own_driver, registry):
    write(registry, "harmless")
"""


def driver(name: str) -> Path:
    try:
        return build_signed(project_drivers()[name], "x64").image
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run the plugin on the reference guest itself, in a process of its own."""
    installed = any(point.value == "harness.plugin" for point in entry_points(group="pytest11"))
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --strict-markers\nfilterwarnings = error\n")
    plugin = ("-p", "no:hypothesispytest", *(() if installed else ("-p", "harness.plugin")))

    def run(*arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_here=_SUITE)
        return pytester.runpytest_subprocess(*plugin, "--run-folder", "run", *arguments)

    return run


@pytest.fixture
def rows(pytester: pytest.Pytester) -> Rows:
    """The rows of the run by test, in the order they were written."""

    def rows() -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for line in (pytester.path / "run" / "rows.jsonl").read_text().splitlines():
            row = json.loads(line)
            found.setdefault(row["test"], []).append(row)
        return found

    return rows


def gate(rows: Rows) -> Row:
    """The row that counts: a later one replaces an earlier one."""
    return rows()[GATE][-1]


@pytest.mark.parametrize("isolation", ["session", "module", "test"])
def test_a_leak_fails_the_module_and_no_test(
    pytester: pytest.Pytester, run: Run, rows: Rows, isolation: str
) -> None:
    result = run(f"--driver={driver('handle_kept')}", "--isolation", isolation)
    result.assert_outcomes(passed=3, failed=1)
    found = gate(rows)
    assert (found["outcome"], found["target"]) == ("FAIL", "reference:10.0.26100")
    assert "handles on keys: " in found["message"]
    assert "opened by handle_kept.sys" in found["message"]
    assert "handle_kept" in found["attestation"]["drivers"]
    # With a guest for each test, the one that leaked is known.
    assert ("after test_leaks[" in found["message"]) == (isolation == "test")
    result.stdout.fnmatch_lines(["*leak-gate[[]reference:10.0.26100]*", "left behind after *"])
    assert result.ret == json.loads((pytester.path / "run" / "run.json").read_text())["exit_code"] == 1


@pytest.mark.parametrize(
    ("name", "left"), [("reference_kept", "references on keys"), ("handle_kept", "handles on keys")]
)
def test_the_row_says_what_was_left(run: Run, rows: Rows, name: str, left: str) -> None:
    run(f"--driver={driver(name)}")
    assert left in gate(rows)["detail"]


def test_a_clean_driver_passes_and_nothing_else_is_told(run: Run, rows: Rows) -> None:
    result = run(f"--driver={driver('blocks_silently')}")
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    assert [(row["outcome"], row["message"]) for row in rows()[GATE]] == [("PASS", "")]


def test_what_a_bugcheck_tells_at_unload_stays_with_its_test(run: Run, rows: Rows) -> None:
    """Driver Verifier's check comes first, and its guest is not looked at any more: that is said."""
    run(f"--driver={driver('leak_per_callback')}", "--isolation", "test")
    found = rows()
    assert found["test_here.py::test_leaks"][0]["outcome"] == "CRASH"
    assert "0xc4" in found["test_here.py::test_leaks"][0]["message"]
    # The other tests' guests were clean, and the row keeps what counts more.
    assert gate(rows)["outcome"] == "PASS"
    assert "test_leaks[" in gate(rows)["recorded"]["not checked"]


def test_a_module_without_one_guest_that_could_be_looked_at_is_no_pass(
    pytester: pytest.Pytester, run: Run, rows: Rows
) -> None:
    run(f"--driver={driver('leak_per_callback')}", "-k", "test_leaks")
    assert gate(rows)["outcome"] == "SKIP"
    assert "the guest was given up" in gate(rows)["message"]


def test_workers_have_gates_of_their_own_and_the_worst_counts(run: Run, rows: Rows) -> None:
    pytest.importorskip("xdist")
    result = run(f"--driver={driver('handle_kept')}", "-n", "2", "--dist", "each", "--isolation", "test")
    assert result.ret == 1
    assert gate(rows)["outcome"] == "FAIL"
    # Told once for the module, though tests of both workers leaked.
    assert result.parseoutcomes()["failed"] == 1


def test_the_gate_can_be_left_out(run: Run, rows: Rows) -> None:
    result = run(f"--driver={driver('handle_kept')}", "--no-leak-gate")
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    assert GATE not in rows()


def test_a_known_leak_fails_no_run(pytester: pytest.Pytester, run: Run, rows: Rows) -> None:
    link = "https://tracker.example/12"
    known = pytester.path / "known.toml"
    known.write_text(f'[[issue]]\ntest = "{GATE}"\nlink = "{link}"\n')
    result = run(f"--driver={driver('handle_kept')}", f"--known={known}")
    assert result.ret == 0
    assert (gate(rows)["outcome"], gate(rows)["known"]) == ("KNOWN", link)


def test_a_leak_found_before_an_interruption_is_not_forgotten(run: Run, rows: Rows) -> None:
    """A run that goes on in the same folder has its own gate, which may well be clean."""
    assert run(f"--driver={driver('handle_kept')}", "-k", "test_leaks").ret == 1
    assert run(f"--driver={driver('handle_kept')}", "-k", "test_first").ret == 0
    assert gate(rows)["outcome"] == "FAIL"


_KILLED = """
import os, signal
from pathlib import Path
from test_here import write

def test_leaks(own_driver, registry):
    write(registry, "trigger")

def test_is_killed(registry):
    if not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)

def test_last(own_driver, registry):
    write(registry, "harmless")
"""


@pytest.mark.parametrize(("name", "outcome"), [("handle_kept", "FAIL"), ("blocks_silently", "PASS")])
def test_what_leaked_before_a_job_was_killed_is_told_when_it_goes_on(
    pytester: pytest.Pytester, run: Run, rows: Rows, name: str, outcome: str
) -> None:
    """The test that leaked has its row and doesn't run again: no gate to come will see its leak."""
    pytester.makepyfile(test_killed=_KILLED)
    job = ("test_killed.py", f"--driver={driver(name)}", "--journal=2")
    assert run(*job).ret == -signal.SIGKILL
    assert set(rows()) >= {"test_killed.py::test_leaks"}
    result = run(*job, "--finished=run/rows.jsonl")
    result.assert_outcomes(passed=2, deselected=1)
    last = rows()["test_killed.py::leak-gate"][-1]
    assert last["outcome"] == outcome
    assert ("after test_leaks[" in last["message"]) is (outcome == "FAIL")


def test_what_a_driver_leaves_loaded_is_found(pytester: pytest.Pytester, run: Run, rows: Rows) -> None:
    image = driver("stays_loaded")
    pytester.makepyfile(
        test_there=f"""
        from pathlib import Path

        def test_it(guest, registry):
            guest.install_driver("stays", Path({str(image)!r}).read_bytes())
            guest.start_driver("stays")
            with registry.program() as p:
                p.set_value(p.create_key(p.test_root / "app"), "trigger", "x")
        """
    )
    run("test_there.py")
    found = rows()["test_there.py::leak-gate"][-1]
    assert found["outcome"] == "FAIL"
    for text in (
        "loaded drivers: stays.sys",
        "pool: stays.sys, tag 'Wrng', nonpaged (64 bytes)",
        "legacy of stays.sys",
    ):
        assert text in found["detail"]


# -- without a guest ---------------------------------------------------------------------------------------


def test_only_what_came_on_top_is_left_over() -> None:
    before = (Held(Holding.POOL, "a.sys, tag 'A'", 2, 64), Held(Holding.HANDLES, "key", 1))
    now = (
        Held(Holding.POOL, "a.sys, tag 'A'", 3, 96),
        Held(Holding.HANDLES, "key", 1),
        Held(Holding.CONTEXTS, "of the callback 1", 1),
    )
    assert left_over(before, now) == (
        Held(Holding.POOL, "a.sys, tag 'A'", 1, 32),
        Held(Holding.CONTEXTS, "of the callback 1", 1),
    )
    assert left_over(now, before) == ()


@dataclass
class _Counters:
    pool_allocations: int = 2
    pool_bytes: int = 4096
    live_contexts: int = 0
    filters: int = 0


class _SilentGuest:
    """Can't look into its kernel, like a machine."""

    def outstanding(self) -> Outstanding:
        return NOTHING_KNOWN


class _Probe:
    def __init__(self) -> None:
        self.statistics = _Counters()


def test_where_the_guest_knows_nothing_the_probe_still_counts_itself() -> None:
    watch, probe = LeakWatch(_SilentGuest()), _Probe()  # type: ignore[arg-type]
    assert watch.knows_nothing
    watch.start(probe)  # type: ignore[arg-type]
    assert not watch.knows_nothing
    assert watch.leaks() == ()
    probe.statistics = _Counters(pool_allocations=3, pool_bytes=4196, live_contexts=1, filters=1)
    assert {held.kind: (held.count, held.size) for held in watch.leaks()} == {
        Holding.POOL: (1, 100),
        Holding.CONTEXTS: (1, 0),
        Holding.CALLBACKS: (1, 0),
    }
    assert watch.leaks() == (), "a leak is told once, not by every module after it"
    assert set(watch.unknown) == set(Holding), "what it can't tell is said to be unknown"
