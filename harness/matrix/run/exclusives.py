"""What there is one of on a host, held by one job at a time across processes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from harness.locks import held
from harness.machine.keep.places import private_folder

__all__ = ["Exclusives"]

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


class Exclusives:
    """What there is one of on this host, for this user: a lock file each, in a folder of the user's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def taken(self, names: Iterable[str]) -> Iterator[bool]:
        """Hold all of `names` for the time of the block; False, and none of them, where one is taken."""
        with ExitStack() as stack:
            for name in sorted(set(names)):
                file = private_folder(self._folder) / f"{_UNSAFE.sub('_', name)}.lock"
                if not stack.enter_context(held(file)):
                    stack.close()
                    yield False
                    return
            yield True
