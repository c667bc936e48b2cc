"""Drivers of a bundle as files, with their symbols beside them, for as long as they are needed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from harness.cleanup import Closing
from harness.machine.keep.scratch import scratch
from harness.repro.bundle import Bundle, DriverRecord

__all__ = ["Unpacked"]

#: What a service's name may become as a file's name.
_ALLOWED: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


class Unpacked(Closing):
    """A temporary folder of a bundle's drivers; a context manager. `folder` may hold more."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._stack = ExitStack()
        self.folder = self._stack.enter_context(scratch())

    def driver(self, record: DriverRecord) -> Path:
        """The image as ``SERVICE.sys``, in a folder named by its digest."""
        name = "".join(char for char in record.service if char in _ALLOWED).strip(".") or "driver"
        place = self.folder / record.sha256[:16]
        image = place / f"{name}.sys"
        if not image.is_file():
            place.mkdir(exist_ok=True)
            image.write_bytes(self._bundle.image(record))
            for member in record.symbols:
                suffix = Path(member).suffix
                if suffix in (".debug", ".pdb", ".map"):
                    image.with_suffix(suffix).write_bytes(self._bundle.read(member))
        return image

    def remember_symbols(self) -> None:
        """Let stacks of these drivers be symbolised in this process."""
        from harness.driver.symbols import remember_symbols

        for record in self._bundle.manifest.drivers:
            image = self.driver(record)
            debug = image.with_suffix(".debug")
            if debug.is_file():
                remember_symbols(image.read_bytes(), debug)

    def close(self) -> None:
        self._stack.close()
