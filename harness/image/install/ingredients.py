"""What an install is made of besides its recipe and its medium, gathered: runner, certificates, secrets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.driver.authenticode import SignatureDigest
from harness.driver.certificate import signing_certificate
from harness.driver.program import runner_image
from harness.errors import UsageError
from harness.guest.base import GuestKind
from harness.image.images import image_keys
from harness.image.install.credentials import Credentials, credentials, read_product_key
from harness.image.install.plan import Ingredients
from harness.image.installspec import Install
from harness.image.keys import GuestKeys, guest_keys
from harness.image.recipe import AccessKind, Recipe
from harness.image.store import ImageStore
from harness.image.virtio import VirtioDrivers, find_drivers
from harness.registry.version import WIN11_24H2, WindowsVersion

__all__ = ["InstallRequest", "gather", "throwaway"]

_OPENSSH_PROGRAM: Final = "install-sshd.ps1"
_OPENSSH_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """What the user chose. `openssh` is the unpacked folder of a Win32-OpenSSH release, `virtio_win` a disc
    image.
    """

    product_key_file: Path | None = None
    openssh: Path | None = None
    hibernation: bool = False
    virtio_win: Path | None = None


def gather(recipe: Recipe, request: InstallRequest, store: ImageStore) -> Ingredients:
    """The real ones; secrets are made on first use. Raises `UsageError` for what the user has to mend."""
    with store.locked(f"{recipe.name}-keys"):
        own = credentials(store.folder / "keys" / recipe.name)
    keys = image_keys(recipe, store=store) if recipe.access(AccessKind.SSH) else None
    return _ingredients(recipe, request, own, keys)


@contextmanager
def throwaway(recipe: Recipe, request: InstallRequest) -> Iterator[Ingredients]:
    """Ingredients of the same form for looking at them: secrets are made for this once."""
    with tempfile.TemporaryDirectory(prefix="harness-dry-") as folder:
        keys = guest_keys(Path(folder)) if recipe.access(AccessKind.SSH) else None
        yield _ingredients(recipe, request, credentials(Path(folder)), keys)


def _ingredients(
    recipe: Recipe, request: InstallRequest, own: Credentials, keys: GuestKeys | None
) -> Ingredients:
    has_winrm = recipe.access(AccessKind.WINRM) is not None
    return Ingredients(
        runner=runner_image(recipe.arch),
        certificate=_driver_certificate(recipe.version),
        password=own.password,
        winrm=own.winrm() if has_winrm else None,
        openssh=_openssh(recipe, request.openssh, keys),
        product_key=read_product_key(request.product_key_file) if request.product_key_file else "",
        hibernation=request.hibernation,
        drivers=_drivers(recipe, request.virtio_win),
    )


def _drivers(recipe: Recipe, disc: Path | None) -> VirtioDrivers | None:
    if disc is None:
        return None
    if recipe.kind is not GuestKind.WINDOWS or not isinstance(recipe.source, Install):
        raise UsageError(f"{recipe.name} is no Windows that is installed; leave --virtio-win out")
    return find_drivers(disc, recipe.version, recipe.arch, server=recipe.source.media.is_server)


def _driver_certificate(version: WindowsVersion) -> bytes:
    """What the harness signs drivers with for that system, as Windows imports it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    pem = signing_certificate(digest=SignatureDigest.for_version(version)).certificate.read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def _openssh(recipe: Recipe, folder: Path | None, keys: GuestKeys | None) -> dict[str, bytes]:
    if keys is None:
        if folder is not None:
            raise UsageError(
                f"{recipe.name} has no channel of kind ssh; write a recipe that is based_on it and has one"
            )
        return {}
    files: dict[str, bytes] = {}
    if folder is not None or not _brings_openssh(recipe):
        files = _openssh_release(recipe, folder)
    files["ssh/ssh_host_ed25519_key"] = keys.host.read_bytes()
    files["ssh/ssh_host_ed25519_key.pub"] = f"{keys.host_public}\n".encode()
    files["ssh/administrators_authorized_keys"] = f"{keys.client_public}\n".encode()
    return files


def _brings_openssh(recipe: Recipe) -> bool:
    """Server 2025 has the server installed, and only not started
    (windows-server/administration/openssh/openssh-overview).
    """
    is_server = isinstance(recipe.source, Install) and recipe.source.media.is_server
    return is_server and recipe.version >= WIN11_24H2


def _openssh_release(recipe: Recipe, folder: Path | None) -> dict[str, bytes]:
    if folder is None or not (folder / _OPENSSH_PROGRAM).is_file():
        raise UsageError(
            f"{recipe.name} has an SSH channel: give the unpacked folder of a Win32-OpenSSH release, which "
            f"holds {_OPENSSH_PROGRAM}, with --openssh"
        )
    files = {
        f"OpenSSH/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    if sum(map(len, files.values())) > _OPENSSH_BYTES:
        raise UsageError(f"{folder} holds more than {_OPENSSH_BYTES >> 20} MiB, which no OpenSSH release has")
    return files
