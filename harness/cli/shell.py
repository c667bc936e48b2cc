"""A prompt of a guest's cmd.exe: each line is one command, the folder is kept between them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.machine.desk import Desk

__all__ = ["run_shell"]

_CHANGES_FOLDER: Final = ("cd ", "cd\\", "cd..", "chdir ")
_START: Final = "C:\\"


def run_shell(desk: Desk, *, timeout: float) -> None:
    """Read lines from standard input until its end or `exit`; a failed command ends nothing."""
    interactive = sys.stdin.isatty()
    if interactive:
        import readline  # noqa: F401 - line editing and history for input()
    folder = _START
    while True:
        try:
            line = input(f"{folder}> " if interactive else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line.lower() in ("exit", "quit"):
            return
        if not line:
            continue
        try:
            if line.lower().startswith(_CHANGES_FOLDER):
                folder = _changed(desk, line, folder, timeout)
            else:
                done = desk.line(line, folder, timeout)
                sys.stdout.write(_text(done.stdout))
                sys.stdout.flush()
                sys.stderr.write(_text(done.stderr))
        except HarnessError as error:
            sys.stderr.write(f"{error}\n")


def _changed(desk: Desk, line: str, folder: str, timeout: float) -> str:
    """Where `cd` leads from `folder`, as cmd.exe says it."""
    command = line if " /d" in line.lower() or line[2:3] != " " else f"cd /d{line[2:]}"
    done = desk.line(f"{command} && cd", folder, timeout)
    if done.exit_code:
        sys.stderr.write(_text(done.stderr) or _text(done.stdout))
        return folder
    return _text(done.stdout).strip().splitlines()[-1]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\r\n", "\n")
