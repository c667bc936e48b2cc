"""A second driver for what the probe can't do: transactions of its own, handles that outlive a callback.

It is driver-src/field/features.c: each request runs one feature below a key, with a filter at the altitude
of the middle test filter, and answers eight numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

from harness.driver import build_signed, find_project_root
from harness.guest import Guest
from harness.registry.paths import RegistryPath
from harness.registry.status import NTSTATUS

__all__ = ["Feature", "Features"]

_SERVICE: Final = "features"
_DEVICE: Final = r"\\.\FieldFeatures"
_RESULTS: Final = struct.Struct("<8I")


class Feature(IntEnum):
    """The requests of the driver that suites use."""

    ENLIST = 4
    REPLAY = 5
    ABANDON = 11
    LATE = 12
    CAPTURE_START = 13
    CAPTURE_STOP = 14

    @property
    def code(self) -> int:
        """CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + n, METHOD_BUFFERED, FILE_ANY_ACCESS)."""
        return 0x22 << 16 | (0x800 + self) << 2


class Features:
    """The loaded driver."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def run(self, feature: Feature, root: RegistryPath) -> tuple[int, ...]:
        """What the driver saw and did, below the key `root`."""
        reply = self._guest.ioctl(_DEVICE, feature.code, str(root).encode("utf-16-le"), output=_RESULTS.size)
        assert reply.status == NTSTATUS.SUCCESS
        return _RESULTS.unpack(reply.data)

    @contextmanager
    def capturing(self) -> Iterator[list[int]]:
        """Probes the data of values called "captured"; the list has the status of the last one afterwards."""
        assert self._guest.ioctl(_DEVICE, Feature.CAPTURE_START.code).status == NTSTATUS.SUCCESS
        probed: list[int] = []
        try:
            yield probed
        finally:
            reply = self._guest.ioctl(_DEVICE, Feature.CAPTURE_STOP.code, output=4)
            probed.append(int.from_bytes(reply.data, "little"))

    @classmethod
    @contextmanager
    def loaded(cls, guest: Guest) -> Iterator[Features]:
        """Build, install and start the driver; it is gone afterwards."""
        source = find_project_root() / "driver-src" / "field" / "features.c"
        image = build_signed(source, str(guest.info.arch), version=guest.info.version).read()
        guest.install_driver(_SERVICE, image)
        try:
            assert guest.start_driver(_SERVICE) == NTSTATUS.SUCCESS
            yield cls(guest)
        finally:
            guest.remove_driver(_SERVICE)
