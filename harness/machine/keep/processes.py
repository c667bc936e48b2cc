"""Processes that belong to a folder: who they are, whether they still run, and ending them for sure.

A process is its id AND its start time: ids are used again. It belongs to a folder when it is QEMU or swtpm
and a path below that folder is in its command line. The folder's name is unique and made before the process,
so there is no moment at which a machine runs and nothing says whose it is.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Process", "boot_id", "end", "of_folders", "start_time"]

_PROC: Final = Path("/proc")
#: Programs that machines consist of, by how their names begin (qemu-system-x86_64, qemu-img, swtpm_setup).
_PROGRAMS: Final = (b"qemu", b"swtpm")
#: The one helper of the harness that works in a session's folder (`harness.machine.hypervisor.capabilities`).
_HELPER: Final = b"\0harness.machine.hypervisor.capabilities\0"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    start: int  # clock ticks since boot: field 22 of /proc/PID/stat, proc(5)
    command: str  # the command line, for messages

    @property
    def running(self) -> bool:
        """Whether this very process still runs; one that has ended and waits for its parent doesn't."""
        return start_time(self.pid) == self.start


def boot_id() -> str:
    """Changes with every boot of the host (random(4))."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot; None when there is none or it has ended."""
    try:
        content = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command's name is in brackets and may contain anything.
    fields = content[content.rfind(b")") + 1 :].split()
    if len(fields) < 20 or fields[0] in {b"Z", b"X"}:
        return None
    return int(fields[19])


def of_folders(folders: Iterable[Path]) -> tuple[Process, ...]:
    """The running processes of machines whose command line names a path below one of `folders`."""
    marks = tuple(os.fsencode(folder) + b"/" for folder in folders)
    found = []
    for entry in os.scandir(_PROC):
        if entry.name.isdecimal():
            process = _machine_process(int(entry.name), marks)
            if process is not None:
                found.append(process)
    return tuple(found)


def _machine_process(pid: int, marks: tuple[bytes, ...]) -> Process | None:
    start = start_time(pid)
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    program = command.split(b"\0", 1)[0].rsplit(b"/", 1)[-1]
    if start is None or not (program.startswith(_PROGRAMS) or _HELPER in command):
        return None
    if not any(mark in command for mark in marks) or not _has_our_files(pid):
        return None
    return Process(pid, start, command.replace(b"\0", b" ").decode(errors="replace").strip())


def _has_our_files(pid: int) -> bool:
    """Whether a path means the same file to that process: a container's or chroot's has files of its own."""
    try:
        return os.path.samestat((_PROC / str(pid) / "root").stat(), Path("/").stat())
    except OSError:
        return True  # it is ending, or it hides: its command line is all there is


def end(processes: Iterable[Process], *, timeout: float = 60.0) -> tuple[Process, ...]:
    """Kill `processes` and wait until they are gone; returns those that are not after `timeout` seconds."""
    waiting: dict[int, Process] = {}
    refused = []
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        for process in processes:
            try:
                descriptor = os.pidfd_open(process.pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, descriptor)
            # From here on the descriptor means one process, whatever becomes of its id.
            if not process.running:
                continue
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            except ProcessLookupError:
                continue
            except PermissionError:
                refused.append(process)
                continue
            waiting[descriptor] = process
            poll.register(descriptor, select.POLLIN)  # readable once it has ended: pidfd_open(2)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                poll.unregister(descriptor)
                del waiting[descriptor]
    return (*refused, *(process for process in waiting.values() if process.running))
