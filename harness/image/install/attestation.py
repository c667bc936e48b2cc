"""The first start of what was installed: its runner is asked what it is; that is compared with the recipe.

No Windows is at hand where this is built. So an image says what it is on the user's machine before it is
kept: build, architecture, test signing, Secure Boot. A difference is an error with both values.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.channel.environment import Environment
from harness.errors import InfrastructureError
from harness.guest.base import GuestKind
from harness.image.install.start import answered, started
from harness.image.recipe import Recipe
from harness.machine.describe.spec import Accelerator, SealedImage
from harness.machine.hypervisor.host import Host
from harness.machine.inside.attest import Promise, check_promise
from harness.machine.keep.session import Session

__all__ = ["AnotherSystemError", "Attest", "attest_image"]


class AnotherSystemError(InfrastructureError):
    """What was installed answers, and is not what its recipe promises: asking again changes nothing."""


#: Starts an image and returns what its runner says; raises where that is not what the recipe promises.
Attest = Callable[[Recipe, SealedImage, Session, Host, Accelerator, Path], Environment]


def attest_image(
    recipe: Recipe,
    image: SealedImage,
    session: Session,
    host: Host,
    accelerator: Accelerator,
    evidence: Path,
) -> Environment:
    """Start `image`, which stays as it is, and ask its runner on the serial port.

    Raises `InfrastructureError` when no runner answers in the recipe's time, with the machine's evidence in
    the folder `evidence`, and `AnotherSystemError` when the guest is another one.
    """
    with started(image, session, host, accelerator, evidence=evidence) as machine:
        found = answered(machine, recipe.name, recipe.boot_seconds)
    promise = Promise.of(recipe.kind, recipe.version, recipe.arch, recipe.hardware)
    try:
        check_promise(promise, found, recipe.name)
    except InfrastructureError as error:
        raise AnotherSystemError(str(error)) from error
    if recipe.kind is GuestKind.WINDOWS and found.service_pack != recipe.version.service_pack:
        raise AnotherSystemError(
            f"{recipe.name} is not what its recipe promises: service pack: the recipe says "
            f"{recipe.version.service_pack}, the guest {found.service_pack}"
        )
    return found
