"""Booting the guests of targets, and keeping in between what is costly: a machine's template and clones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.channel.access import SshAccess, WinRmAccess
from harness.channel.base import ChannelKind
from harness.cleanup import Closing
from harness.errors import InfrastructureError, ToolMissingError, UsageError
from harness.guest.base import Guest
from harness.targets import Target

if TYPE_CHECKING:
    from harness.channel.base import Channel
    from harness.image.recipe import Recipe
    from harness.machine.describe.spec import SealedImage
    from harness.machine.drive import Machines, Make, WayIn
    from harness.machine.hypervisor.machine import Machine

__all__ = ["LIBVIRT_VARIABLE", "GuestSettings", "Guests", "boot", "boot_reference"]

#: Names another libvirt than the one in this process: "qemu:///system".
LIBVIRT_VARIABLE: Final = "HARNESS_LIBVIRT"

_EXTRA: Final = "pip install 'regfilter-harness[machines]'"


@dataclass(frozen=True, slots=True)
class GuestSettings:
    """`clones` of each machine wait to be taken; `channel` is a kind a recipe has, empty: its first.

    `verified` are the file names of further drivers that Driver Verifier watches, on targets with that axis.
    """

    clones: int = 1
    channel: str = ""
    verified: tuple[str, ...] = ()


class Guests(Closing):
    """Boots guests; a context manager that ends the machines and what they were made of.

    A reference guest is made anew each time. A machine's guest is the next clone of its template, which is
    made with the first one: booting an image takes as long as that, a clone a fraction of a second.
    """

    def __init__(self, settings: GuestSettings | None = None) -> None:
        self.settings = settings or GuestSettings()
        self._machines: Machines | None = None
        self._images: dict[Target, SealedImage] = {}
        self._drilled: dict[str, bool] = {}

    def boot(self, target: Target) -> Guest:
        """A fresh guest of `target`; the caller closes it.

        Raises `ToolMissingError` when packages or programs are missing, `InfrastructureError` when the image
        isn't built, the guest does not come up or is not what its recipe promises.
        """
        if target.recipe is None:
            return boot_reference(target)
        make = self.make(target)
        return self.machines.guest(make.image, make.identity, make.ways)

    @property
    def machines(self) -> Machines:
        """What runs the machines. Raises `ToolMissingError` when a package for that is missing."""
        if self._machines is None:
            with _needing("a machine"):
                from harness.machine.drive import Machines, MachineSettings
                from harness.machine.keep.session import EMBEDDED

                uri = os.environ.get(LIBVIRT_VARIABLE) or EMBEDDED
                self._machines = Machines(MachineSettings(clones=self.settings.clones, uri=uri))
        return self._machines

    def make(self, target: Target, *, digest: str = "") -> Make:
        """What a machine of `target` is made of.

        With `digest` it is of that image, if it is still on this host; else of the one that the recipe means
        now. Raises as `boot`, as far as no guest has to run.
        """
        with _needing(str(target)):
            from harness.image.recipe import load_recipe
            from harness.machine.drive import Make
            from harness.machine.guest import Identity
            from harness.machine.inside.attest import Promise
            from harness.machine.inside.axes import SwitchedOn, image_with
            from harness.machine.inside.nested import on_this_host

            assert target.recipe is not None
            recipe = load_recipe(target.recipe)
            on = SwitchedOn.of(target.axes, self.settings.verified)
            bases = self._images_of(target, recipe, earlier=bool(digest))
            images = [on_this_host(image_with(base, on), on) for base in bases]
            image = next((one for one in images if one.digest == digest), images[0])
            identity = Identity(
                target.name,
                Promise.of(recipe.kind, recipe.version, recipe.arch, image.hardware),
                recipe.limits,
                on=on,
                drilled=self._is_drilled(image),
            )
            return Make(image, identity, self._ways(recipe))

    def _images_of(self, target: Target, recipe: Recipe, *, earlier: bool) -> Iterator[SealedImage]:
        """The target's image, and then those before it."""
        from harness.image.earlier import earlier_images
        from harness.image.images import is_built

        others = list(earlier_images(recipe)) if earlier else []
        if is_built(recipe) or not others:
            yield self._image(target, recipe)
        yield from others

    def _image(self, target: Target, recipe: Recipe) -> SealedImage:
        """The target's image, which must be there: making one takes minutes and is asked for by name."""
        from harness.image.images import ensure_image, is_built

        found = self._images.get(target)
        if found is None:
            if not is_built(recipe):
                raise InfrastructureError(f"the image of {target} is not built; run: {recipe.build_command}")
            found = self._images[target] = ensure_image(recipe)
        return found

    def _is_drilled(self, image: SealedImage) -> bool:
        """Whether a crash of it is known to be noticed; asked once, as the answer holds for the session."""
        from harness.drill.admission import is_admitted

        if image.digest not in self._drilled:
            self._drilled[image.digest] = is_admitted(image)
        return self._drilled[image.digest]

    def _ways(self, recipe: Recipe) -> tuple[WayIn, ...]:
        """How the guest is reached: first by the channel that was asked for, or the recipe's first."""
        kinds = [ChannelKind(access.kind) for access in recipe.channels]
        wanted = self.settings.channel or kinds[0].value
        if wanted not in kinds:
            raise UsageError(f"{recipe.name} has no channel {wanted!r}; its recipe names {', '.join(kinds)}")
        first = ChannelKind(wanted)
        return tuple(_way_in(recipe, kind) for kind in dict.fromkeys([first, *kinds]))

    def close(self) -> None:
        """End all machines. Guests that are still open are closed before."""
        machines, self._machines = self._machines, None
        if machines is not None:
            machines.close()


@contextmanager
def _needing(what: str) -> Iterator[None]:
    """Say how to install a package that is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("harness"):
            raise
        raise ToolMissingError(f"{what} needs {error.name}: {_EXTRA}") from error


def boot(target: Target) -> Guest:
    """Boot the target's guest; the caller closes it, and with it everything that was started for it.

    Raises `ToolMissingError` when packages or programs that the guest needs aren't installed. Whoever boots
    several guests of a machine uses `Guests`, which keeps the template and its clones in between.
    """
    if target.recipe is None:
        return boot_reference(target)
    from harness.machine.guest import MachineGuest

    with ExitStack() as stack:
        guest = stack.enter_context(Guests()).boot(target)
        assert isinstance(guest, MachineGuest)
        guest.on_close(stack.pop_all().close)
    return guest


def boot_reference(target: Target) -> Guest:
    """Boot a reference guest. Raises `ToolMissingError` when the extra `reference` isn't installed."""
    try:
        from harness import reference
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("harness"):
            raise
        raise ToolMissingError(
            f"the reference guest needs {error.name}: pip install 'regfilter-harness[reference]'"
        ) from error
    return reference.boot(target.version, arch=target.arch)


def _way_in(recipe: Recipe, kind: ChannelKind) -> WayIn:
    from harness.channel.opening import open_channel
    from harness.image.access import network_access
    from harness.machine.drive import WayIn

    def connect(machine: Machine, timeout: float) -> Channel:
        if kind is ChannelKind.SERIAL:
            return open_channel(machine.spec.channel_socket, timeout=timeout)
        ports = {port: machine.forwarded_port(port) for port in recipe.guest_ports}
        kinds = {ChannelKind.SSH: SshAccess, ChannelKind.WINRM: WinRmAccess}
        (access, *_) = (way for way in network_access(recipe, ports) if isinstance(way, kinds[kind]))
        return open_channel(access, timeout=timeout)

    return WayIn(kind, connect)
