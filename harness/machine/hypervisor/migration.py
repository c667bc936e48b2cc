"""A machine's state to a file and back, by QEMU's migration.

QEMU gets the file as a descriptor: sandboxed, it can't start the program that `exec:` would need. With
x-ignore-shared the stream has no RAM in it: that stays in its file, which QEMU maps
(https://www.qemu.org/docs/master/devel/migration/main.html, qapi/migration.json).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from harness.errors import InfrastructureError
from harness.machine.hypervisor.events import EventKind, MachineEvent
from harness.machine.hypervisor.machine import Machine

__all__ = ["ignore_shared", "keep_ram", "load_state", "save_state"]

_IGNORE_SHARED: Final = "x-ignore-shared"
_ENDED: Final = frozenset({"completed", "failed", "cancelled"})
#: Bytes per second: a file is not a network that others use too.
_UNLIMITED: Final = 1 << 40


def ignore_shared(machine: Machine) -> None:
    """Leave RAM in its file. Raises `InfrastructureError` when this QEMU can't."""
    machine.qmp("migrate-set-capabilities", capabilities=[{"capability": _IGNORE_SHARED, "state": True}])


def keep_ram(machine: Machine) -> None:
    """Save RAM with the rest from now on, also where `ignore_shared` was said to the machine before."""
    machine.qmp("migrate-set-capabilities", capabilities=[{"capability": _IGNORE_SHARED, "state": False}])


def save_state(machine: Machine, path: Path, *, timeout: float) -> None:
    """Write the state of a suspended or crashed machine to the new file `path`.

    Raises `InfrastructureError` when a device can't be saved, the disk is full, or `timeout` seconds pass.
    """
    parameters: dict[str, Any] = {"max-bandwidth": _UNLIMITED}
    machine.qmp("migrate-set-parameters", **parameters)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        machine.qmp("getfd", fdname="state", files=[descriptor])
    finally:
        os.close(descriptor)
    _run(machine, lambda: machine.qmp("migrate", uri="fd:state"), f"save the state to {path}", timeout)


def load_state(machine: Machine, path: Path, *, timeout: float) -> None:
    """Give a machine that waits for it (`MachineSpec.incoming`) the state in `path`; it stays suspended.

    Raises `InfrastructureError` when the state does not fit the machine, or `timeout` seconds pass.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InfrastructureError(f"can't read the saved state {path}: {error.strerror}") from error
    try:
        machine.qmp("getfd", fdname="state", files=[descriptor])
    finally:
        os.close(descriptor)
    _run(machine, lambda: machine.qmp("migrate-incoming", uri="fd:state"), f"load the state {path}", timeout)


def _run(machine: Machine, start: Callable[[], object], what: str, timeout: float) -> None:
    ended = threading.Event()

    def watch(event: MachineEvent) -> None:
        if event.kind is EventKind.EXIT or (event.name == "MIGRATION" and event.data.get("status") in _ENDED):
            ended.set()

    unsubscribe = machine.subscribe(watch)
    try:
        start()
        told = ended.wait(timeout)
    finally:
        unsubscribe()
    answer = machine.qmp("query-migrate") if told else {}
    if answer.get("status") != "completed":
        reason = answer.get("error-desc") or answer.get("status") or f"not done after {timeout:.0f} s"
        raise InfrastructureError(f"machine {machine.name} can't {what}: {reason}; see {machine.qemu_log}")
