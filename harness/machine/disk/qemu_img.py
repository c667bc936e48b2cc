"""qemu-img on a disk from elsewhere: within bounds of memory, time and output."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from harness.errors import ToolMissingError, UsageError

__all__ = ["run_qemu_img"]

#: What it may use to look at an image: address space in bytes, seconds of a processor, seconds in all.
_MEMORY_LIMIT: Final = 1 << 30
_CPU_LIMIT: Final = 30
_TIME_LIMIT: Final = 600.0
_OUTPUT_LIMIT: Final = 1 << 20


def run_qemu_img(command: str, disk: Path, *options: str, also: tuple[int, ...] = ()) -> bytes:
    """``qemu-img COMMAND OPTIONS DISK``; what it printed. Exit codes in `also` are as good as 0.

    qemu-img opens whatever other files the disk names, unless `command` says otherwise: look at its header
    first. Raises `UsageError` with what qemu-img says of the disk, `ToolMissingError` without qemu-img.
    """
    program = shutil.which("qemu-img")
    if program is None:
        raise ToolMissingError("qemu-img is missing: apt-get install qemu-utils")
    line = [program, command, *options, str(disk.absolute())]
    if limiter := shutil.which("prlimit"):
        line = [limiter, f"--as={_MEMORY_LIMIT}", f"--cpu={_CPU_LIMIT}", *line]
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                timeout=_TIME_LIMIT,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                f"qemu-img looks at {disk} for more than {_TIME_LIMIT:g} s; it is damaged"
            ) from error
        output.seek(0)
        said = output.read(_OUTPUT_LIMIT)
    if done.returncode and done.returncode not in also:
        detail = done.stderr[-500:].decode(errors="replace").strip()
        raise UsageError(f"{disk}: qemu-img {command} failed: {detail}")
    return said
