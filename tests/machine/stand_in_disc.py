"""Bring files into the stand-in on discs and print, as JSON, what came of it.

A process of its own: libvirt's driver belongs to one.

    python -m tests.machine.stand_in_disc CHANNEL
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelError
from harness.errors import UsageError
from harness.guests import Guests, GuestSettings
from harness.machine.guest import MachineGuest
from harness.machine.inside.delivery import DiscDrive
from harness.targets import parse_target

PATH = r"C:\harness\by disc\large.bin"
#: Beyond what goes by disc on its own over a virtio-serial port.
LARGE = 33 << 20


def use(guest: MachineGuest) -> dict[str, Any]:
    first = guest.put_disc({"folder/a name.txt": b"one", "empty": b""})
    found: dict[str, Any] = {"first": guest.get(first + r"folder\a name.txt").decode()}
    second = guest.put_disc({"other.txt": b"two"})
    found["second"] = guest.get(second + "other.txt").decode()
    found["first is gone"] = refused(ChannelError, lambda: guest.get(first + r"folder\a name.txt"))
    found["read-only"] = refused(ChannelError, lambda: guest.put(second + "new.txt", b""))
    found["the marker's name"] = refused(UsageError, lambda: guest.put_disc({"Harness.ID": b""}))

    data = os.urandom(300_000)
    guest.put(PATH, data, by_disc=True)
    found["copied"] = guest.get(PATH) == data
    guest.put(PATH, b"small")
    found["replaced"] = guest.get(PATH).decode()

    by_disc: list[str] = []
    put = DiscDrive.put

    def watched(drive: DiscDrive, path: str, source: bytes | Path, deadline: Deadline) -> None:
        by_disc.append(path)
        put(drive, path, source, deadline)

    with patch.object(DiscDrive, "put", watched):
        guest.put(PATH, bytes(LARGE))
    found["large"] = guest.runner.digest(PATH).size == LARGE
    found["large by disc"] = bool(by_disc)
    found["discs on the host"] = len(list(guest.machine.spec.disk_folder.glob("*.iso")))
    return found


def refused(error: type[Exception], call: Callable[[], object]) -> bool:
    try:
        call()
    except error:
        return True
    return False


def main(channel: str) -> dict[str, Any]:
    settings = GuestSettings(channel=channel)
    with Guests(settings) as guests, guests.boot(parse_target("vm:stand-in")) as guest:
        assert isinstance(guest, MachineGuest)
        return use(guest)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
