"""Test signing of a system that is installed with Secure Boot on: switched on afterwards, with it off.

With Secure Boot on, Windows refuses to change that boot entry ("The value is protected by Secure Boot
policy"), so the first boot can't do it (install/the-testsigning-boot-configuration-option; AutoHCK of HCK-CI
has a second stage for it too). Templates have Secure Boot off: on their firmware the system is started once
more, on its own disks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from harness.channel.opening import open_channel
from harness.channel.runner import RunnerClient
from harness.errors import InfrastructureError
from harness.image.install.start import answered, started
from harness.image.recipe import Recipe
from harness.machine.describe.spec import Accelerator, SealedImage
from harness.machine.hypervisor.events import EventKind
from harness.machine.hypervisor.host import Host
from harness.machine.keep.session import Session

__all__ = ["SwitchTestSigning", "switch_test_signing_on"]

_COMMAND: Final = ("bcdedit.exe", "/set", "{current}", "testsigning", "on")
_COMMAND_SECONDS: Final = 120.0
_CONNECT_SECONDS: Final = 30.0

#: Changes an installed system for good; raises where it does not take it.
SwitchTestSigning = Callable[[Recipe, SealedImage, Session, Host, Accelerator, Path], None]


def switch_test_signing_on(
    recipe: Recipe,
    image: SealedImage,
    session: Session,
    host: Host,
    accelerator: Accelerator,
    evidence: Path,
) -> None:
    """Start `image` on its own disks, have it switch test signing on, and wait until it has shut down.

    Raises `InfrastructureError` when its runner does not answer, when the command fails, or when the machine
    does not end; its evidence is in the folder `evidence` then.
    """
    with started(image, session, host, accelerator, evidence=evidence, lasting=True) as machine:
        answered(machine, recipe.name, recipe.boot_seconds)
        mark = machine.events_seen
        with open_channel(machine.spec.channel_socket, timeout=_CONNECT_SECONDS) as channel:
            runner = RunnerClient(channel)
            done = runner.execute(_COMMAND, timeout=_COMMAND_SECONDS)
            if done.exit_code != 0:
                said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()[-500:]
                raise InfrastructureError(
                    f"{recipe.name} was installed, but {' '.join(_COMMAND)!r} ended with {done.exit_code}: "
                    f"{said or 'it said nothing'}; is Secure Boot off in the recipe's [hardware]?"
                )
            runner.shutdown()
        machine.wait_for(EventKind.EXIT, timeout=recipe.boot_seconds, since=mark)
