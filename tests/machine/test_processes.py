"""Which processes belong to a folder: by their command lines, and only where a path means the same file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.machine.keep.processes import end, of_folders


@contextmanager
def qemu_of(folder: Path, prepare: str = "") -> Iterator[int]:
    """A process that calls itself QEMU and names a file of `folder`, once it has done `prepare`."""
    code = f"import os\n{prepare}\nprint('ready', flush=True)\ninput()"
    with subprocess.Popen(
        ["qemu-system-test", "-I", "-c", code, f"{folder}/disk"],
        executable=os.path.realpath(sys.executable),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_machine_of_the_folder_is_found_and_ended(tmp_path: Path) -> None:
    with qemu_of(tmp_path) as pid:
        (found,) = of_folders([tmp_path])
        assert found.pid == pid
        assert of_folders([tmp_path / "other"]) == ()
        assert end([found]) == ()
        assert not found.running


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its root folder")
def test_a_machine_of_another_root_folder_is_somebody_elses(tmp_path: Path) -> None:
    """A harness in a chroot or container has folders of the same names; its machines are not ours to end."""
    elsewhere = tmp_path / "root"
    elsewhere.mkdir()
    with qemu_of(tmp_path, prepare=f"os.chroot({str(elsewhere)!r})"):
        assert of_folders([tmp_path]) == ()
