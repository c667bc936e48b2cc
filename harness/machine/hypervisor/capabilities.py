"""Lets libvirt find out what QEMU can do, in a process where that takes a second instead of minutes.

libvirt starts QEMU in the background, asks it, ends it, and waits until it has been reaped. A process that is
a subreaper would have to do that, but can't know which of its children are libvirt's to wait for. So a helper
does nothing else and reaps them all. What libvirt learns is kept in its cache, where the embedded driver
finds it; libvirt checks by itself whether it still holds.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.hypervisor.reaper import become_subreaper

__all__ = ["learn_capabilities"]

_SECONDS: Final = 120.0


def learn_capabilities(root: Path, arch: str) -> None:
    """Fill the cache of the embedded driver in `root` for the emulator of `arch`; quick when it is filled."""
    command = [sys.executable, "-m", "harness.machine.hypervisor.capabilities", str(root), arch]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InfrastructureError(
            f"libvirt has not found out within {_SECONDS:g} s what QEMU for {arch} can do; "
            f"does `qemu-system-{arch} -version` answer?"
        ) from error
    if done.returncode:
        said = done.stderr.strip()[-500:]
        raise InfrastructureError(f"libvirt can't find out what QEMU for {arch} can do: {said}")


def _learn(root: Path, arch: str) -> None:
    """In the helper's child: `root` may be in use, so the driver gets a folder of its own beside it."""
    from harness.machine.hypervisor.libvirt_api import libvirt, run_event_loop, translated

    cache = root / "cache"
    cache.mkdir(exist_ok=True)
    own = root / "ask"
    (own / "etc").mkdir(parents=True, exist_ok=True)
    (own / "etc/qemu.conf").write_bytes((root / "etc/qemu.conf").read_bytes())
    if not (own / "cache").is_symlink():
        (own / "cache").symlink_to("../cache")
    with (cache / "lock").open("w") as lock:  # libvirt writes its cache in place
        fcntl.flock(lock, fcntl.LOCK_EX)
        run_event_loop()
        with translated("asking QEMU"):
            libvirt.open(f"qemu:///embed?root={own}").getDomainCapabilities(None, arch, None, None)


def _main(root: Path, arch: str) -> int:
    become_subreaper()
    child = os.fork()
    if child == 0:
        try:
            _learn(root, arch)
        except Exception as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)  # libvirt's threads run on; there is nothing to tidy in a forked child
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2]))
