"""An installed disk between its install and its image: a first start that fails does not throw an hour away.

What setup made is put aside before it is started for the first time. It is taken back as soon as it answered;
until then the next build of the same recipe and medium goes on from it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from harness.driver.build import write_atomically
from harness.image.store import KEPT, KEY_DIGITS, ImageStore
from harness.machine.keep.places import private_folder

__all__ = ["KeptInstall"]

_NOTE: Final = "installed.json"


class KeptInstall:
    """The place of one recipe's installed disk with one key; hold the store's lock of that image."""

    def __init__(self, store: ImageStore, name: str, key: str) -> None:
        self.folder = store.folder / f"{KEPT}{name}-{key[:KEY_DIGITS]}"
        self._others = re.compile(rf"{re.escape(KEPT + name)}-[0-9a-f]{{{KEY_DIGITS}}}")

    def find(self) -> Mapping[str, Any] | None:
        """What is known of the disk; None where there is none, or not all of it."""
        try:
            note = json.loads((self.folder / _NOTE).read_bytes())
            sizes, facts = note["sizes"], note["facts"]
            whole = all((self.folder / name).stat().st_size == size for name, size in sizes.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return facts if whole and isinstance(facts, dict) else None

    def put(self, made: Path, facts: Mapping[str, Any]) -> None:
        """Move everything in `made` here; it counts from when all of it is there."""
        self.discard()
        private_folder(self.folder)
        _move(made, self.folder)
        self._note(facts)

    @contextmanager
    def changing(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """While its disk is written to. Killed in between, it counts no longer."""
        (self.folder / _NOTE).unlink()
        try:
            yield
        finally:
            self._note(facts)

    def _note(self, facts: Mapping[str, Any]) -> None:
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.name != _NOTE]
        sizes = {str(path.relative_to(self.folder)): path.stat().st_size for path in files}
        note = json.dumps({"facts": dict(facts), "sizes": sizes}).encode()
        write_atomically(self.folder / _NOTE, note, mode=0o600)

    def take(self, into: Path) -> None:
        """Move everything to `into`. Killed in between, it counts no longer: the next build starts over."""
        (self.folder / _NOTE).unlink()
        _move(self.folder, into)
        self.discard()

    def discard(self) -> None:
        """Delete it, and what was kept of the same recipe before it changed or with another medium."""
        for folder in self.folder.parent.glob(f"{KEPT}*"):
            if folder == self.folder or self._others.fullmatch(folder.name):
                shutil.rmtree(folder)


def _move(source: Path, target: Path) -> None:
    for path in source.iterdir():
        path.replace(target / path.name)
