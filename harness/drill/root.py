"""Root's login to the Linux below a stand-in: what no runner of a Windows could do."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from harness.channel.access import SshAccess
from harness.channel.deadline import Deadline
from harness.channel.ssh_connect import connect_ssh
from harness.errors import InfrastructureError
from harness.image.access import network_access
from harness.image.recipe import load_recipe

if TYPE_CHECKING:
    from harness.machine.guest import MachineGuest
    from harness.targets import Target

__all__ = ["connect_root"]

_SECONDS: Final = 300.0


def connect_root(guest: MachineGuest, target: Target) -> AbstractContextManager[Any]:
    """A paramiko client logged in as root with the image's own key; Wine's shell is not involved.

    Raises `InfrastructureError` where the recipe has no SSH, and what `connect_ssh` raises.
    """
    assert target.recipe is not None
    recipe = load_recipe(target.recipe)
    ports = {port: guest.machine.forwarded_port(port) for port in recipe.guest_ports}
    ways = (each for each in network_access(recipe, ports) if isinstance(each, SshAccess))
    access = next(ways, None)
    if access is None:
        raise InfrastructureError(f"{target} has no channel ssh, by which root would bring it down; add one")
    client: AbstractContextManager[Any] = connect_ssh(replace(access, user="root"), Deadline.after(_SECONDS))
    return client
