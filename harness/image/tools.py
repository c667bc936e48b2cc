"""Programs of this host that make images: found, run, and told about when they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from harness.errors import InfrastructureError, ToolMissingError

__all__ = ["Progress", "find_tool", "quiet", "run"]

#: Called with one short line that says what is being done now.
Progress = Callable[[str], None]

#: Debian's and Ubuntu's package of each program.
_PACKAGES: Final = {
    "apt-config": "apt",
    "apt-get": "apt",
    "mcopy": "mtools",
    "mformat": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.fat": "dosfstools",
    "mmd": "mtools",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
}
#: Where a plain user's PATH does not lead.
_SYSTEM_FOLDERS: Final = ("/usr/sbin", "/sbin")
_TAIL: Final = 30  # lines of a failed program's words that are shown


def quiet(_: str) -> None:
    """Progress nobody looks at."""


def find_tool(name: str) -> str:
    """The program's path. Raises `ToolMissingError` that names its package."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS))
    found = shutil.which(name, path=path)
    if found is None:
        package = _PACKAGES.get(name, name)
        raise ToolMissingError(
            f"{name} is missing, which makes images: apt-get install {package} "
            "(tools/bootstrap.sh machines installs all that machines need)"
        )
    return found


def run(
    argv: Sequence[str],
    *,
    progress: Progress = quiet,
    stdin: IO[bytes] | None = None,
    pass_fds: tuple[int, ...] = (),
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program to its end and return what it wrote; each line also goes to `progress`.

    Raises `InfrastructureError` with its last lines when it fails. It is ended when the caller is.
    """
    env = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}
    env["PATH"] = os.pathsep.join((env.get("PATH", os.defpath), *_SYSTEM_FOLDERS))
    lines: list[str] = []
    with subprocess.Popen(
        argv,
        stdin=stdin if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=pass_fds,
        env=env,
        cwd=cwd,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                line = raw.decode("utf-8", errors="replace").rstrip()
                lines.append(line)
                progress(line)
        except BaseException:
            process.terminate()  # mmdebstrap and our scripts tidy up when told to end
            raise
    if process.returncode:
        tail = "\n".join(f"  {line}" for line in lines[-_TAIL:])
        raise InfrastructureError(f"{' '.join(argv[:1])} failed with exit code {process.returncode}:\n{tail}")
    return "\n".join(lines)
