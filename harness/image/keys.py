"""Keys of built images: made once per image store, readable by their owner only, never in the repository.

The host's public key is known before the guest first runs, because it is put there; whoever connects pins it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from harness.driver.build import write_atomically
from harness.errors import InfrastructureError

__all__ = ["GuestKeys", "guest_keys"]


@dataclass(frozen=True, slots=True)
class GuestKeys:
    """The keys of one image's guests. The public halves are lines as OpenSSH writes them, without a comment.

    `client` is the private key to log in with, `host` the one the guest identifies itself by; both are files
    in OpenSSH's format.
    """

    client: Path
    host: Path
    client_public: str
    host_public: str


def guest_keys(folder: Path) -> GuestKeys:
    """The keys in `folder`, made on first use; hold the store's lock. Raises `InfrastructureError`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    client, host = folder / "client_ed25519", folder / "host_ed25519"
    for path in (client, host):
        if not path.exists():
            private = Ed25519PrivateKey.generate()
            text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            write_atomically(path, text, mode=0o600)
    return GuestKeys(client, host, _public(client), _public(host))


def _public(path: Path) -> str:
    try:
        private = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise InfrastructureError(
            f"{path}: not a private key ({error}); delete the file, a new one is made with the next build"
        ) from error
    return private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
