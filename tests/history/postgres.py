"""A PostgreSQL of the tests' own: in a temporary folder, on a Unix socket, ended with whoever asked for it.

Run as a program it is the server's guard: it makes the folder, starts the server, prints where it is, and
ends and removes everything when its standard input ends, which it does even when the test is killed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "harness"
_READY = b"ready to accept connections"


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None without one."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if initdb := shutil.which("initdb"):
        found.append(Path(initdb).resolve().parent)
    return max(found, key=lambda path: path.parent.name.zfill(4), default=None)


@contextmanager
def server() -> Iterator[Path]:
    """A running server; gives the folder of its socket."""
    command = [sys.executable, __file__]
    # In a session of its own: what ends the tests from a terminal must not end the guard before its work.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as guard:
        assert guard.stdin is not None
        assert guard.stdout is not None
        try:
            folder = guard.stdout.readline().strip()
            if not folder:
                raise RuntimeError("PostgreSQL did not start; its guard says why on standard error")
            yield Path(folder)
        finally:
            guard.stdin.close()
            guard.wait()


def _as_plain_user(folder: Path) -> list[str]:
    """What a command starts with so that it isn't root's, which PostgreSQL refuses to be."""
    if os.getuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def main() -> None:
    bin_folder = programs()
    assert bin_folder is not None
    with tempfile.TemporaryDirectory(prefix="harness-pg-") as place:
        folder = Path(place)
        prefix = _as_plain_user(folder)
        data = f"--pgdata={folder}/data"
        # The messages are read, so they must be in English.
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        options = {"env": environment, "cwd": folder}
        make = [*prefix, str(bin_folder / "initdb"), data, f"--username={USER}", "--auth=trust", "--no-sync"]
        made = subprocess.run([*make, "--encoding=UTF8"], capture_output=True, **options)  # type: ignore[call-overload]
        if made.returncode:
            sys.exit(f"initdb: {made.stderr.decode(errors='replace')}")
        start = [*prefix, str(bin_folder / "postgres"), "-D", f"{folder}/data", "-k", str(folder)]
        start += ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=32MB"]
        with subprocess.Popen(start, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options) as postgres:  # type: ignore[call-overload]
            log: list[bytes] = []
            for line in postgres.stderr:
                log.append(line)
                if _READY in line:
                    break
            else:
                sys.exit(f"postgres: {b''.join(log).decode(errors='replace')}")
            with (folder / "log").open("wb") as rest:
                # It keeps on writing; nobody must wait for that to be read.
                drain = subprocess.Popen(["cat"], stdin=postgres.stderr, stdout=rest)
            print(folder, flush=True)
            sys.stdin.read()
            # At once, without writing out what is removed; after SIGKILL shared memory would stay.
            postgres.send_signal(signal.SIGQUIT)
            postgres.wait()
            drain.wait()


if __name__ == "__main__":
    main()
