"""Room in memory: templates nobody uses give their RAM back when it is needed, or when they are outdated.

A template whose RAM is gone is of no use, so it goes as a whole; it is made again when it is needed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from harness.machine.keep.places import mebibytes
from harness.machine.keep.store import StoredTemplate, TemplateStore

__all__ = ["SUPERSEDED_SECONDS", "free_up", "remove_superseded"]

log = logging.getLogger(__name__)

#: An older template of an image may be in turn with the new one: two checkouts, two hosts' settings. Beyond
#: this long without use it is not.
SUPERSEDED_SECONDS: Final = 900.0


def free_up(store: TemplateStore, size: int, free: Callable[[], int]) -> None:
    """Remove templates with RAM in memory, those used longest ago first, until `free()` is `size` bytes.

    Those in use stay; there may be less room than was asked for afterwards.
    """
    for stored in _unused(store):
        if free() >= size:
            return
        _remove(store, stored, f"{mebibytes(size)} of memory are needed")


def remove_superseded(store: TemplateStore, image: str, current: Path) -> None:
    """Remove templates that were made of the image `image` when it, or its hardware, was another.

    `current` is the folder of the present one. Only those with RAM in memory, in which they pile up.
    """
    for stored in _unused(store):
        outdated = stored.manifest is not None and stored.manifest.image == image
        if outdated and stored.folder != current and time.time() - stored.used > SUPERSEDED_SECONDS:
            _remove(store, stored, "the image is another by now")


def _unused(store: TemplateStore) -> Iterator[StoredTemplate]:
    """Templates with RAM in memory and no user, the one used longest ago first."""
    for stored in reversed(store.stored()):
        if store.ram_files(stored.folder) and not stored.in_use():
            yield stored


def _remove(store: TemplateStore, stored: StoredTemplate, why: str) -> None:
    files = store.ram_files(stored.folder)
    size = sum(path.stat().st_blocks * 512 for path in files if path.exists())
    image = stored.manifest.image if stored.manifest is not None else stored.folder.name
    problems = store.discard(stored.folder, files)
    if problems:
        log.warning("an old template of %s stays: %s", image, "; ".join(problems))
    elif not stored.folder.exists():
        log.info("an unused template of %s is removed, %s in memory: %s", image, mebibytes(size), why)
