"""Where systems are put together: a folder for temporary files, and processes that end with the build.

A build runs programs as root, of this host or of a user namespace; they mount file systems and make files
that a plain user can't remove. So that a killed build leaves nothing, root's programs get a mount and a
process namespace of their own; a user's (mmdebstrap, in namespaces of its making) are told to end. The folder
is found and removed by the next build.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.image.tools import find_tool, run

__all__ = ["confined", "workspace"]

_PREFIX: Final = "harness-image-"
_LOCK: Final = "lock"


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder that namespaced root may use, too; gone afterwards, and so are those of killed builds."""
    mine = f"{_PREFIX}{os.geteuid()}-"
    for left in Path(tempfile.gettempdir()).glob(f"{mine}*"):
        if left.lstat().st_uid == os.geteuid() and not _in_use(left):
            _remove(left)
    unnamed = Path(tempfile.mkdtemp(prefix="harness-"))
    with (unnamed / _LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.chmod(0o1777)
        # Locked before it has the name that others look for.
        folder = unnamed.rename(unnamed.with_name(mine + unnamed.name.removeprefix("harness-")))
        try:
            yield folder
        finally:
            _remove(folder)


def _in_use(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # files of a user namespace's other users
        run([find_tool("mmdebstrap"), "--unshare-helper", "find", str(folder), "-mindepth", "1", "-delete"])
        shutil.rmtree(folder)


def confined(argv: list[str]) -> list[str]:
    """The command line that runs `argv` so that it ends with this process.

    As root everything it started and mounted goes with it, at once; as a user it gets SIGTERM.
    """
    return [*_confinement(), *argv]


@functools.cache
def _confinement() -> tuple[str, ...]:
    if os.geteuid() != 0:  # mmdebstrap makes its own namespaces
        return ("setpriv", "--pdeathsig", "TERM")
    wrapper = (
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    )
    # Not in every container.
    tried = subprocess.run([*wrapper, "true"], capture_output=True, check=False)
    return wrapper if tried.returncode == 0 else ("setpriv", "--pdeathsig", "TERM")
