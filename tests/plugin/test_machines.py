"""Targets that are machines, in inner runs of pytest: clones of a tiny guest that crash, hang, lose QEMU."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.repro.bundle import Bundle
from harness.repro.machine_files import extract_machine
from tests.machine.tinyguest import build
from tests.machine.tinyguest.recipe import write_tiny_recipe

Run = Callable[..., pytest.RunResult]
Rows = Callable[[], list[dict[str, Any]]]

_ROOT = Path(__file__).parents[2]
_CONFTEST = f"""
import sys
sys.path.insert(0, {str(_ROOT)!r})
from tests.plugin.tiny_machines import install
install()
"""
_BUGCHECK = "bugcheck 0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x10, 0x2, 0x1, 0xf7a12345)"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kernel: Path, machine_cache: Path
) -> Iterator[Callable[..., pytest.RunResult]]:
    """Run the plugin on vm:tiny, in a process of its own: libvirt allows one host a process."""
    write_tiny_recipe(pytester.path / "recipes")
    pytester.makeconftest(_CONFTEST)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --strict-markers\nfilterwarnings = error\n")
    monkeypatch.setenv("HARNESS_CACHE", str(machine_cache))
    monkeypatch.setenv("TINY_KERNEL", str(kernel))
    monkeypatch.setenv("TINY_DIGEST", secrets.token_hex(16))

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess(
            "-p", "no:hypothesispytest", "--recipes", "recipes", "--target", "vm:tiny", *arguments
        )

    yield run
    assert not list((machine_cache / "sessions").glob("*")), "a session was left behind"


def test_a_crash_has_its_code_its_evidence_and_the_next_test_a_fresh_clone(
    pytester: pytest.Pytester, tiny: Run, rows: Rows
) -> None:
    pytester.makepyfile(
        """
        def test_1(guest): assert guest.execute(["add", "1"]).stdout == b"sum 1"
        def test_2(guest):
            assert guest.execute(["add", "1"]).stdout == b"sum 2"
            guest.execute("stop d1 10 2 1 f7a12345".split())
        def test_3(guest): assert guest.execute(["add", "1"]).stdout == b"sum 1"
        """
    )
    result = tiny("-rA", "-vv", "--memory-dump", "64")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*test_2* CRASH*"])
    result.stdout.fnmatch_lines([f"*test_2 on vm:tiny: CRASH: {_BUGCHECK}*"])
    assert "harness/machine" not in result.stdout.str(), "the test is shown, not the harness"
    before, crashed, after = rows()
    assert (before["outcome"], crashed["outcome"], after["outcome"]) == ("PASS", "CRASH", "PASS")
    assert _BUGCHECK in crashed["message"]
    attestation = crashed["attestation"]
    assert (attestation["kind"], attestation["version"], attestation["product"]) == (
        "reactos",
        "5.2.3790",
        "tiny",
    )
    assert attestation["accelerator"] == "tcg"
    assert attestation["drilled"] is False
    assert abs(attestation["clock_skew"]) < 60
    (run,) = pytester.path.glob("results/*")
    kept = {name.rpartition("/")[2]: run / name for name in crashed["evidence"]}
    assert {"screen.png", "debug.log", "qemu.log", "domain.xml", "memory.elf.gz", "index.json"} <= kept.keys()
    assert all(path.stat().st_size for path in kept.values())
    assert b"STOP: 0x000000d1" in kept["debug.log"].read_bytes()
    index = json.loads(kept["index.json"].read_text())
    assert "0xd1" in index["error"]
    assert not before["evidence"]
    assert not after["evidence"]


def test_hangs_and_lost_machines_are_told_apart(pytester: pytest.Pytester, tiny: Run, rows: Rows) -> None:
    pytester.makepyfile(
        """
        import os, signal
        from tests.machine.tiny_channel import hangs_soon
        def test_hangs(guest):
            hangs_soon(guest)
            guest.execute(["hang"])
        def test_panics(guest): guest.execute(["pvpanic"])
        def test_loses_qemu(guest):
            os.kill(guest.machine.pid, signal.SIGKILL)
            guest.execute(["ping"])
        def test_good(guest): guest.execute(["ping"])
        """
    )
    assert tiny("--memory-dump", "0").ret == 3
    found = {row["test"].rpartition("::")[2]: row for row in rows()}
    assert {name: row["outcome"] for name, row in found.items()} == {
        "test_hangs": "HANG",
        "test_panics": "CRASH",
        "test_loses_qemu": "INFRA",
        "test_good": "PASS",
    }
    assert "no answer to a PING" in found["test_hangs"]["message"]
    assert "code is not known" in found["test_panics"]["message"]
    assert "QEMU ended by itself" in found["test_loses_qemu"]["message"]
    assert any(name.endswith("/qemu.log") for name in found["test_loses_qemu"]["evidence"])


def test_isolation_is_a_fresh_clone(pytester: pytest.Pytester, tiny: Run) -> None:
    body = "def test_1(guest): assert guest.execute(['add', '1']).stdout == b'sum 1'\n"
    again = body + "def test_2(guest): assert guest.execute(['add', '1']).stdout == b'sum {}'\n"
    pytester.makepyfile(test_a=again.format(2), test_b=again.format(2))
    tiny().assert_outcomes(passed=4)
    pytester.makepyfile(test_a=again.format(1), test_b=again.format(1))
    tiny("--isolation", "test").assert_outcomes(passed=4)
    pytester.makepyfile(test_a=body, test_b=again.replace("sum 1", "sum 2").format(3))
    tiny("--isolation", "session").assert_outcomes(passed=3)


def test_workers_have_machines_of_their_own(pytester: pytest.Pytester, tiny: Run, rows: Rows) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("number", range(4))
        def test_it(guest, number):
            guest.execute(["pvpanic"] if number == 2 else ["ping"])
        """
    )
    tiny("-n", "2", "--isolation", "test", "--memory-dump", "0").assert_outcomes(passed=3, failed=1)
    assert sorted(row["outcome"] for row in rows()) == ["CRASH", "PASS", "PASS", "PASS"]


def test_what_the_recipe_rules_out_boots_nothing(pytester: pytest.Pytester, tiny: Run, rows: Rows) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.requires("two-processes")
        def test_it(guest): pass
        """
    )
    tiny().assert_outcomes(skipped=1)
    (row,) = rows()
    assert row["message"] == "vm:tiny lacks two-processes: it has no processes at all"
    assert row["attestation"] is None


def test_evidence_can_be_had_always_and_never(pytester: pytest.Pytester, tiny: Run, rows: Rows) -> None:
    pytester.makepyfile("def test_it(guest): guest.execute(['ping'])")
    tiny("--evidence", "always").assert_outcomes(passed=1)
    assert any(name.endswith("/screen.png") for name in rows()[0]["evidence"])
    shutil.rmtree(pytester.path / "results")
    pytester.makepyfile("def test_it(guest): assert False")
    tiny("--evidence", "never").assert_outcomes(failed=1)
    assert not rows()[0]["evidence"]


def test_a_machine_by_hand_beside_the_plugins(pytester: pytest.Pytester, tiny: Run) -> None:
    pytester.makepyfile(
        """
        from harness.guests import boot
        def test_it(guest, target):
            guest.execute(["add", "1"])
            with boot(target) as other:
                assert other.machine.name != guest.machine.name
                assert other.execute(["add", "1"]).stdout == b"sum 1"
            assert not other.usable
            assert other.machine.state == "shut off"
            assert guest.execute(["add", "1"]).stdout == b"sum 2"
        """
    )
    tiny().assert_outcomes(passed=1)


def test_a_bundle_has_the_machine_where_it_was_asked_for(
    pytester: pytest.Pytester, tiny: Run, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = pytester.path / "base.raw"
    base.write_bytes(bytes(1 << 20))
    monkeypatch.setenv("TINY_DISK", str(base))
    pytester.makepyfile("def test_fails(guest): assert guest.execute(['add', '1']).stdout == b'sum 2'")
    tiny("--evidence", "never").assert_outcomes(failed=1)
    with Bundle.open(_bundle(pytester, rows)) as bundle:
        assert (bundle.manifest.machine, bundle.manifest.no_machine) == ((), "")
        with pytest.raises(UsageError, match="--bundle-machine"):
            extract_machine(bundle, pytester.path / "nothing")
    shutil.rmtree(pytester.path / "results")

    tiny("--bundle-machine", "--evidence", "never").assert_outcomes(failed=1)
    with Bundle.open(_bundle(pytester, rows)) as bundle:
        found = bundle.manifest
        own, below, memory, state = extract_machine(bundle, pytester.path / "machine")
    assert found.no_machine == ""
    assert found.guest.template, "the image whose disk is the last one"
    names = ["disk0.qcow2", "disk0-below1.qcow2", "memory.elf", "state"]
    assert [path.name for path in (own, below, memory, state)] == names
    for file, path in zip(found.machine, (own, below, memory, state), strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    assert memory.read_bytes()[:4] == b"\x7fELF"
    assert memory.stat().st_size > 64 << 20
    for path, format, lower in ((below, "raw", base), (own, "qcow2", below)):
        subprocess.run(["qemu-img", "rebase", "-u", "-F", format, "-b", lower, path], check=True)
        subprocess.run(["qemu-img", "check", path], check=True, capture_output=True)


def _bundle(pytester: pytest.Pytester, rows: Rows) -> Path:
    (run,) = pytester.path.glob("results/*")
    (row,) = rows()
    found: Path = run / row["bundle"]
    return found
