"""The payload disk of a stand-in: the runner and the keys, on a small file system of their own.

The system's disk is the same for everybody and changes with its recipe; what changes with the checkout (the
runner) and must stay secret (the host key) is here, and made in a fraction of a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.image.debian import EPOCH, ROOT_UUID
from harness.image.ext4 import TarFile, make_ext4, make_tar
from harness.image.keys import GuestKeys

__all__ = ["COMMAND_LINE", "PAYLOAD", "make_stand_in_payload"]

PAYLOAD: Final = "payload.raw"
#: The recipe's fstab has it too.
_UUID: Final = "5354414e-4449-4e00-8000-000000000002"
_SIZE_MIB: Final = 16

#: The kernel's; a panic stays on the console's port and is told to the panic device.
COMMAND_LINE: Final = (
    f"root=UUID={ROOT_UUID} rw console=ttyS0,115200 quiet loglevel=4 panic=0 oops=panic mitigations=off "
    "nokaslr random.trust_cpu=on net.ifnames=0 fsck.mode=skip systemd.show_status=0 "
    "block.events_dfl_poll_msecs=500"  # how soon it notices a disc
)


def make_stand_in_payload(into: Path, *, runner: bytes, session: bytes, keys: GuestKeys) -> None:
    """Make `PAYLOAD` in the folder `into`; only its owner can read it.

    `session` is what a login runs its command line with (vm-images/stand-in/session).
    """
    archive = into / "payload.tar"
    files = [
        TarFile("regrun.exe", runner, 0o755),
        TarFile("session.exe", session, 0o755),
        TarFile("ssh_host_ed25519_key", keys.host.read_bytes(), 0o600),
        TarFile("authorized_keys", f"{keys.client_public}\n".encode()),
    ]
    archive.touch(mode=0o600)
    make_tar(archive, files, epoch=EPOCH)
    make_ext4(archive, into / PAYLOAD, size_mib=_SIZE_MIB, uuid=_UUID, label="payload", epoch=EPOCH)
    archive.unlink()
