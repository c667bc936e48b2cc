"""How to log in to a running machine of a recipe: its ways in, at the ports where the host reaches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from harness.channel.access import RUNNER_PATH, SshAccess, WinRmAccess
from harness.errors import InfrastructureError
from harness.image.images import image_keys
from harness.image.install.credentials import credentials
from harness.image.installspec import Install
from harness.image.recipe import Access, AccessKind, Adopt, Recipe
from harness.image.store import ImageStore

__all__ = ["network_access", "ways_in"]

#: Guests are reached by forwards of QEMU's, which nobody else's machine gets to.
_HOST: Final = "127.0.0.1"


def ways_in(recipe: Recipe, *, store: ImageStore | None = None) -> tuple[Access, ...]:
    """The recipe's channels in the order of preference, with the keys of built images filled in."""
    if isinstance(recipe.source, Adopt):
        return recipe.channels
    if isinstance(recipe.source, Install):
        return _installed(recipe, store or ImageStore())
    keys = image_keys(recipe, store=store)
    return tuple(
        replace(access, key_file=keys.client, host_key=keys.host_public)
        if access.kind is AccessKind.SSH
        else access
        for access in recipe.channels
    )


def _installed(recipe: Recipe, store: ImageStore) -> tuple[Access, ...]:
    """The password and the pinned certificate that the image was installed with; the same keys for SSH."""
    with store.locked(f"{recipe.name}-keys"):
        own = credentials(store.folder / "keys" / recipe.name)
    found = []
    for access in recipe.channels:
        if access.kind is AccessKind.WINRM:
            access = replace(access, password_file=own.password_file, certificate=own.fingerprint)
        elif access.kind is AccessKind.SSH:
            keys = image_keys(recipe, store=store)
            access = replace(access, key_file=keys.client, host_key=keys.host_public)
        found.append(access)
    return tuple(found)


def network_access(
    recipe: Recipe, ports: Mapping[int, int], *, store: ImageStore | None = None
) -> tuple[SshAccess | WinRmAccess, ...]:
    """What `harness.channel` opens, for every channel of the recipe that goes over the network.

    `ports` says at which port of this host each port of the guest is reached. Raises `InfrastructureError`
    for one that is not forwarded.
    """
    found: list[SshAccess | WinRmAccess] = []
    for access in ways_in(recipe, store=store):
        if access.kind is AccessKind.SERIAL:
            continue
        if access.guest_port not in ports:
            raise InfrastructureError(
                f"port {access.guest_port} of {recipe.name} is not forwarded, and {access.kind} needs it; "
                f"forwarded: {', '.join(map(str, ports)) or 'none'}"
            )
        found.append(_opened(access, ports[access.guest_port]))
    return tuple(found)


def _opened(access: Access, port: int) -> SshAccess | WinRmAccess:
    runner = access.runner or RUNNER_PATH
    if access.kind is AccessKind.SSH:
        return SshAccess(
            _HOST,
            access.user,
            access.host_key,
            port=port,
            key_file=access.key_file,
            password_file=access.password_file,
            runner=runner,
        )
    if access.password_file is None:  # a recipe without one was refused
        raise InfrastructureError("WinRM needs a password file")
    certificate = access.certificate or None
    return WinRmAccess(
        _HOST, access.user, access.password_file, port=port, certificate=certificate, runner=runner
    )
