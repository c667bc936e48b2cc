"""The whole path on the stand-in, as a user types it: image, template, clones, driver, programs, report.

Runs are processes of their own, since libvirt's embedded driver belongs to one. Image and template are the
user's, made when they are not there and kept for the next time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stand_in import stand_in_image

ROOT = Path(__file__).resolve().parents[2]
#: Bounds a run that hangs; no test is about how long it takes.
PATIENCE = 900


@pytest.fixture(scope="module")
def image() -> str:
    return stand_in_image().digest


def harness(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def run_suites(channel: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    done = harness(
        "run",
        *("suites/user_mode", "suites/deploy", "suites/demo"),
        *("--target", "vm:stand-in", "-p", "no:cacheprovider"),
        *(f"--channel={channel}", f"--run-folder={folder}"),
    )
    rows = folder / "rows.jsonl"
    return done, [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []


@pytest.mark.parametrize("channel", ["serial", "ssh"])
def test_suites_pass_on_the_stand_in_and_say_what_it_lacks(image: str, channel: str, tmp_path: Path) -> None:
    done, rows = run_suites(channel, tmp_path / "run")

    assert done.returncode == 0, done.stdout + done.stderr
    by_folder: dict[str, set[str]] = {}
    for row in rows:
        by_folder.setdefault(row["test"].split("/")[1], set()).add(row["outcome"])
    assert by_folder == {"user_mode": {"PASS"}, "deploy": {"PASS"}, "demo": {"SKIP"}}
    skipped = {row["message"] for row in rows if row["outcome"] == "SKIP"}
    assert all("Wine has no registry callbacks" in message for message in skipped), skipped
    attested = [row["attestation"] for row in rows if row["outcome"] == "PASS"]
    assert {each["kind"] for each in attested} == {"stand-in"}
    assert {each["channel"] for each in attested} == {channel}
    assert all(abs(each["clock_skew"]) < 2 for each in attested)
    assert {each["template"] for each in attested} == {image}


def test_the_report_says_that_it_is_not_windows(image: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_suites("serial", folder)

    page = tmp_path / "report.html"
    assert harness("results", "html", folder, "--output", page).returncode == 0
    assert "Debian with Wine; not Windows" in page.read_text()


def test_every_clone_is_fresh(image: str, tmp_path: Path) -> None:
    """What a test leaves in its clone, the next one does not find."""
    suite = tmp_path / "test_clones.py"
    suite.write_text(
        "import pytest\n"
        "PATH = 'C:\\\\harness\\\\left-behind.txt'\n"
        "@pytest.mark.parametrize('number', range(3))\n"
        "def test_clean(guest, number):\n"
        "    done = guest.execute(['cmd.exe', '/c', f'if exist {PATH} exit 7'])\n"
        "    assert done.exit_code == 0\n"
        "    guest.put(PATH, b'left')\n"
        "    assert guest.execute(['cmd.exe', '/c', f'if exist {PATH} exit 7']).exit_code == 7\n"
    )
    done = harness("run", suite, "-t", "vm:stand-in", "--isolation", "test", f"--results={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 PASS" in done.stdout


def test_a_driver_that_stays_loaded_fails_its_module(image: str, tmp_path: Path) -> None:
    """The rest is unknown to Wine, and the row says so."""
    suite = tmp_path / "test_left.py"
    suite.write_text(
        "from harness.driver import probe_image\n"
        "def test_it(guest):\n"
        "    guest.install_driver('left', probe_image(guest.info.arch, guest.info.version))\n"
        "    guest.start_driver('left')\n"
    )
    done = harness("run", suite, "-t", "vm:stand-in", f"--run-folder={tmp_path / 'run'}")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    (gate,) = [row for row in rows if row["test"].endswith("::leak-gate")]
    assert (gate["outcome"], gate["detail"].splitlines()[1:]) == ("FAIL", ["  loaded drivers: left.sys"])
    assert {"unknown: pool", "unknown: handles on keys"} <= gate["recorded"].keys()


def test_a_held_machine_is_used_from_other_processes(image: str, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-m", "harness", "guest", "start", "vm:stand-in"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert "vm:stand-in runs" in holder.stdout.readline()
        source = tmp_path / "file.bin"
        source.write_bytes(b"\0held\r\n" * 1000)
        path = "C:\\harness\\held.bin"
        assert harness("guest", "put", "vm:stand-in", source, path).returncode == 0
        asked = harness("guest", "exec", "vm:stand-in", "cmd.exe", "/c", f"if exist {path} exit 9")
        assert asked.returncode == 9, asked.stderr
        assert harness("guest", "get", "vm:stand-in", path, tmp_path / "back.bin").returncode == 0
        assert (tmp_path / "back.bin").read_bytes() == source.read_bytes()
        on_disc = harness("guest", "put", "--disc", "vm:stand-in", source.parent)
        assert on_disc.returncode == 0, on_disc.stderr
        there = on_disc.stdout.strip() + "file.bin"
        assert harness("guest", "get", "vm:stand-in", there, tmp_path / "disc.bin").returncode == 0
        assert (tmp_path / "disc.bin").read_bytes() == source.read_bytes()
        screen = tmp_path / "screen.png"
        assert harness("guest", "screenshot", "vm:stand-in", screen).returncode == 0
        assert screen.read_bytes().startswith(b"\x89PNG")
        assert harness("guest", "stop", "vm:stand-in").returncode == 0
        assert holder.wait(timeout=PATIENCE) == 0
    finally:
        holder.kill()
        holder.communicate()
    left = harness("clean", "--dry-run", "--json")
    assert f"process {holder.pid} is gone" not in left.stdout


@pytest.mark.parametrize("channel", ["serial", "ssh"])
def test_files_come_on_a_disc_whatever_the_channel(image: str, channel: str) -> None:
    """Large ones by themselves, where the channel is slower than a disc."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.machine.stand_in_disc", channel],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "first": "one",
        "second": "two",
        "first is gone": True,
        "read-only": True,
        "the marker's name": True,
        "copied": True,
        "replaced": "small",
        "large": True,
        "large by disc": channel == "serial",
        "discs on the host": 1,
    }


def test_a_file_put_into_a_machine_that_nobody_holds_is_refused(image: str, tmp_path: Path) -> None:
    source = tmp_path / "f"
    source.write_bytes(b"x")
    done = harness("guest", "put", "vm:stand-in", source, "C:\\f")
    assert done.returncode == 2
    assert "harness guest start vm:stand-in" in done.stderr


def test_winrm_reaches_the_stand_in_through_an_endpoint(image: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.machine.stand_in_winrm", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = {
        "exit_code": 5,
        "stdout": "by winrm",
        "file": True,
        "statuses": [0, 0, 0],
        "started": True,
        "abi": True,
    }
    assert json.loads(done.stdout) == {"http": expected, "https": expected}


def test_the_kernel_of_the_stand_in_can_be_debugged(image: str) -> None:
    """`harness guest debug` opens a gdb stub that answers; gdb itself where it is installed."""
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("gdb is not installed")
    debugging = subprocess.Popen(
        [sys.executable, "-m", "harness", "guest", "debug", "vm:stand-in"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert debugging.stdout is not None
        lines = iter(debugging.stdout.readline, "")
        remote = next(line.split("'")[1] for line in lines if "target remote" in line)
        seen = subprocess.run(
            [gdb, "-nx", "-batch", "-ex", remote, "-ex", "info registers rip"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "rip" in seen.stdout, seen.stdout + seen.stderr
        assert harness("guest", "stop", "vm:stand-in").returncode == 0
        assert debugging.wait(timeout=PATIENCE) == 0
    finally:
        debugging.kill()
        debugging.communicate()
