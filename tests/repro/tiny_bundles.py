"""Bundles of tiny guests with their machines, and commands on them: all but image and channel is real."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine.keep.places import Places
from harness.repro.archive import write_archive
from tests.machine.station import listen_to_interrupts
from tests.machine.tinyguest import build
from tests.machine.tinyguest.recipe import write_tiny_recipe
from tests.repro.commands import ROOT

__all__ = ["IMAGE_SAYS", "TinyBundles", "altered", "tiny_bundles"]

#: More than any of these commands takes, on a host that has other things to do.
_SECONDS = 120.0
#: What a sector of the image says that no guest has written to.
IMAGE_SAYS = "the image"
_TESTS = """
def test_panics(guest):
    assert guest.execute(["write", "3", "written before"]).stdout == b"written"
    guest.execute(["add", "7"])
    guest.execute(["pvpanic"])

def test_fails(guest):
    assert guest.execute(["write", "3", "written before"]).stdout == b"written"
    assert guest.execute(["add", "7"]).stdout == b"sum 8"
"""
_INSTALLED = "from tests.plugin.tiny_machines import install; install()"
_COMMAND = f"{_INSTALLED}; from harness.cli import main; main()"


@dataclass(frozen=True)
class TinyBundles:
    """A bundle of a guest that panicked and of one that did not; the folders they were made in.

    Both have written to sector 3, and have a 7 in memory.
    """

    panicked: Path
    failed: Path
    places: Places
    disk: Path
    environment: dict[str, str]

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """One command; what it prints is a pipe."""
        return subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *map(str, arguments)],
            cwd=self.disk.parent,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=listen_to_interrupts,
        )

    def refused(self, *arguments: str | Path, **environment: str) -> str:
        """What a command says that can't do what it was asked for."""
        with self.start(*arguments, **environment) as process:
            try:
                out, err = process.communicate(timeout=_SECONDS)
            finally:
                process.kill()
        assert process.returncode == 2, out + err
        return err


@contextmanager
def tiny_bundles(folder: Path) -> Iterator[TinyBundles]:
    """Made by an inner run of pytest in `folder`, with caches and sockets of its own."""
    short = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # a name of sockets, which have little room
    places = Places.beside(short / "cache")
    try:
        yield _made(folder, short)
    finally:
        for each in (short, places.memory):
            if each is not None and each.exists():
                shutil.rmtree(each)


def _made(folder: Path, short: Path) -> TinyBundles:
    write_tiny_recipe(folder / "recipes")
    disk = folder / "image.raw"
    disk.write_bytes(IMAGE_SAYS.encode().ljust(512, b"\0") * 2048)
    (folder / "conftest.py").write_text(f"{_INSTALLED}\n")
    (folder / "test_tiny.py").write_text(_TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "HARNESS_CACHE": str(short / "cache"),
        "XDG_RUNTIME_DIR": str(short),
        "TINY_KERNEL": str(build(folder)),
        "TINY_DISK": str(disk),
        "TINY_DIGEST": secrets.token_hex(16),
    }
    options = ["--recipes", "recipes", "--target", "vm:tiny", "--isolation", "test", "--evidence", "never"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        *options,
    ]
    done = subprocess.run(
        [*command, "--bundle-machine"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 failed" in done.stdout, done.stdout + done.stderr
    (panicked,) = folder.glob("results/*/bundles/*panics*.zip")
    (failed,) = folder.glob("results/*/bundles/*fails*.zip")
    places = Places(short / "cache", short / "regfilter-harness", None)
    return TinyBundles(panicked, failed, places, disk, environment)


def altered(bundle: Path, to: Path, change: Callable[[dict[str, Any], dict[str, bytes]], object]) -> Path:
    """A copy of a bundle with another manifest or other members; `change` is given both.

    It has no dump of the memory, which is the most of it and which no machine starts on.
    """
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith(".elf")}
    manifest = json.loads(members.pop("bundle.json"))
    manifest["machine"] = [file for file in manifest["machine"] if file["kind"] != "elf"]
    change(manifest, members)
    write_archive(to, {"bundle.json": json.dumps(manifest).encode(), **members})
    return to
