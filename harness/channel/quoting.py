"""Command lines for the shells that stand between a channel and a program."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence

from harness.channel.access import RemoteShell
from harness.errors import UsageError

__all__ = ["command_line", "shell_line"]


def command_line(argv: Sequence[str]) -> str:
    """Arguments as the C runtime's parser takes them apart again.

    Source: "Parsing C command-line arguments" of Microsoft's C++ documentation. Raises `UsageError` for what
    no command line can carry.
    """
    if not argv or not argv[0]:
        raise UsageError("a command needs a program")
    if any("\0" in each for each in argv):
        raise UsageError("an argument of a command holds no NUL character")
    return subprocess.list2cmdline(argv)


def shell_line(shell: RemoteShell, argv: Sequence[str]) -> str:
    """What to hand to `shell` so that a program gets exactly these arguments. Raises `UsageError`."""
    if shell is RemoteShell.POSIX:
        command_line(argv)  # for its checks
        return shlex.join(argv)
    line = command_line(argv)
    if re.search(r"[\r\n]", line):
        raise UsageError("cmd.exe ends a command at the line's end: an argument can't hold one")
    # With every quote escaped cmd sees none, so each caret holds. %NAME^% names no variable and stays.
    # Source: "Everyone quotes command line arguments the wrong way", Microsoft's developer blog, 2011.
    return re.sub(r'[()%!^"<>&|]', r"^\g<0>", line)
