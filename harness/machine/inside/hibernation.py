"""Hibernation, done: a guest writes itself to its disk, its machine ends, another goes on where it stopped.

Before a template with that axis is frozen its guest goes through it once, so that tests run on a system that
was resumed. What proves it: QEMU ended because the guest asked for the sleep state S4, and the guest that
answers on the next machine is the same boot.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from typing import Final

from harness.channel.environment import Environment
from harness.channel.errors import ChannelError
from harness.channel.runner import RunnerClient
from harness.errors import InfrastructureError
from harness.machine.hypervisor.events import EventKind
from harness.machine.hypervisor.machine import Machine
from harness.machine.inside.axes import is_another_boot

__all__ = ["check_resumed", "hibernate"]

#: windows-server/administration/windows-commands/shutdown: /h.
_COMMAND: Final = ("shutdown.exe", "/h")
_COMMAND_SECONDS: Final = 60.0
#: What QEMU says when a guest enters S4 (qapi/run-state.json).
_ASLEEP: Final = "SUSPEND_DISK"


def hibernate(machine: Machine, runner: RunnerClient, name: str, *, timeout: float) -> None:
    """Have the guest hibernate, and wait until its machine has ended, `timeout` seconds at most.

    Raises `InfrastructureError` when it refuses, does not end, or ends in another way.
    """
    mark, asleep = machine.events_seen, threading.Event()
    command = " ".join(_COMMAND)
    with ExitStack() as stack:
        stack.callback(machine.subscribe(lambda event: asleep.set() if event.name == _ASLEEP else None))
        with suppress(ChannelError):  # it may be asleep before it has answered
            done = runner.execute(_COMMAND, timeout=_COMMAND_SECONDS)
            if done.exit_code != 0:
                said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()[-500:]
                raise InfrastructureError(
                    f"{name} does not hibernate: {command} ended with {done.exit_code}: {said}"
                )
        try:
            machine.wait_for(EventKind.EXIT, timeout=timeout, since=mark)
        except InfrastructureError as error:
            raise InfrastructureError(f"{name} did not end after {command}: {error}") from error
        if not asleep.is_set():
            raise InfrastructureError(f"{name} switched itself off instead of hibernating")


def check_resumed(before: Environment, found: Environment, name: str) -> None:
    """Raise `InfrastructureError` with both values when the guest that answers is not the one that slept."""
    if is_another_boot(before, found):
        raise InfrastructureError(
            f"{name} did not resume, it started anew: boot {_boot(before)} before it hibernated, "
            f"{_boot(found)} now; is its disk the same, and large enough for its memory?"
        )


def _boot(environment: Environment) -> str:
    return f"{environment.boot_id or '?'} ({environment.uptime_ms // 1000} s up)"
