"""Planted bugs, each from a red cell to a small test: the very commands of the tutorial."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repro.commands import ROOT
from tests.repro.gdb import ask_gdb
from tests.stand_in import stand_in_image

RED = 1  # what `harness run` ends with when a test failed


def commands(part: str) -> list[str]:
    """The commands of a part of the tutorial's section, as they stand there."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    section = text[text.index("## 6. From a red cell") : text.index("## 7.")]
    found = re.search(rf"\*\*{re.escape(part)}\.\*\*(.*?)(?=\n\*\*|\Z)", section, re.DOTALL)
    assert found is not None
    return [line.strip() for line in found[1].split("\n") if line.startswith("    harness ")]


def run(line: str, folder: Path, *more: str) -> tuple[int, str]:
    """One command in a shell, with its results in `folder`; exit code and what it said."""
    harness = f"{sys.executable} -c 'from harness.cli import main; main()'"
    line = line.replace(" planted/", f" {folder}/")
    words = line.removeprefix("harness ")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        " ".join([harness, words, *more]),
        shell=True,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def body(file: Path) -> str:
    return file.read_text().split("-> None:\n")[1]


def test_in_a_driver(tmp_path: Path) -> None:
    pytest.importorskip("unicorn", reason="the reference guest needs unicorn")
    build, sign, red, repro, shrink = commands("In a driver")
    for line in (build, sign):
        code, said = run(line, tmp_path)
        if "is missing" in said:
            pytest.skip(said)
        assert code == 0, said
    code, said = run(red, tmp_path)
    assert code == RED, said
    assert "0x50 PAGE_FAULT_IN_NONPAGED_AREA" in said
    code, said = run(repro, tmp_path)
    assert (code, "in 3 of 3" in said) == (0, True), said
    code, said = run(shrink, tmp_path)
    assert code == 0, said
    assert "8 operations, 0 rules, 3 filters -> 2 operations, 0 rules, 0 filters" in said
    assert body(tmp_path / "test_driver.py") == (
        '    guest.install_driver("wild_write", Path(__file__).with_name("wild_write.sys").read_bytes())\n'
        '    assert guest.start_driver("wild_write") == NTSTATUS.SUCCESS\n'
        "\n"
        "    with registry.program() as p:\n"
        '        key = p.create_key(p.test_root / "app")\n'
        '        p.set_value(key, "trigger", b"1234")\n'
        "\n"
        "    # CRASH: the guest does not get as far as here.\n"
        '    guest.remove_driver("wild_write")\n'
    )
    assert (tmp_path / "wild_write.sys").is_file()


def test_in_the_model(tmp_path: Path) -> None:
    pytest.importorskip("unicorn", reason="the reference guest needs unicorn")
    red, repro, shrink, bisect = commands("In the model")
    assert run(red, tmp_path)[0] == RED
    code, said = run(repro, tmp_path)
    assert (code, "reproduced: " in said) == (0, True), said
    code, said = run(shrink, tmp_path)
    assert code == 0, said
    assert body(tmp_path / "test_model.py") == (
        "    with registry.program() as p:\n"
        '        key = p.create_key(p.test_root / "app")\n'
        '        p.set_value(key, "colour", "red")\n'
        '        read = p.query_value(key, "colour")\n'
        "\n"
        '    assert read.text == "red"\n'
    )
    code, said = run(bisect, tmp_path)
    assert (code, "reference:6.1 is the first bad one" in said) == (0, True), said


def held_before_the_request(bundle: Path) -> None:
    """The machine waits for a debugger before what hung it, until Ctrl-C."""
    holder = subprocess.Popen(
        [sys.executable, "-m", "harness", "repro", str(bundle), "--before-op", "failure"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell's background jobs ignore SIGINT, and so would this one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert holder.stdout is not None
        said = ""
        while not said.endswith("Ctrl-C here ends the machine.\n"):
            line = holder.stdout.readline()
            assert line, said
            said += line
        assert r"paused before the call request 0x22e024 of \\.\RegProbe" in said
        found = re.search(r"target remote (\S+)'", said)
        assert found is not None
        assert ask_gdb(Path(found[1]), "?")[0].startswith("$T05")
        holder.send_signal(signal.SIGINT)
        assert holder.wait(timeout=600) == 0
        assert not Path(found[1]).exists()
    finally:
        holder.kill()
        holder.communicate()


def test_in_a_machine(tmp_path: Path) -> None:
    stand_in_image()
    red, repro, shrink = commands("In a machine")
    # A request hangs after seconds here, not after minutes; the bundle names the plugin, so it goes along.
    code, said = run(red, tmp_path, "-p", "tests.repro.impatient", "--memory-dump", "0")
    assert (code, "HANG" in said) == (RED, True), said
    code, said = run(repro, tmp_path)
    assert (code, "reproduced: " in said) == (0, True), said
    held_before_the_request(next(tmp_path.glob("machine/*/bundles/*.zip")))
    code, said = run(shrink, tmp_path)
    assert code == 0, said
    assert "registry.program" not in body(tmp_path / "test_machine.py")
    assert r'r"\\.\RegProbe", 0x22e024' in body(tmp_path / "test_machine.py")
