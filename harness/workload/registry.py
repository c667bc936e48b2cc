"""The registry of a guest as a test uses it: a root of its own, programs, hive files, clean-up."""

from __future__ import annotations

import itertools
import os
import secrets
from typing import Final, Self

from harness.cleanup import Closing
from harness.errors import InfrastructureError, UsageError
from harness.registry.access import DELETE, KEY_READ, ObjectAttributes
from harness.registry.infoclasses import KeyInformationClass
from harness.registry.paths import MACHINE, RegistryPath
from harness.registry.status import NTSTATUS, status_name
from harness.workload.builder import ProgramBuilder
from harness.workload.recorder import SupportsRun
from harness.workload.step import Step

__all__ = ["HARNESS_FOLDER", "HARNESS_KEY", "MAX_CLEANUP_KEYS", "Registry"]

#: Everything tests write to the registry is below this key ...
HARNESS_KEY: Final = MACHINE / "Software" / "RegFilterHarness"
#: ... and their files below this folder of the guest.
HARNESS_FOLDER: Final = "C:\\harness"
#: Clean-up gives up beyond this many keys.
MAX_CLEANUP_KEYS: Final = 100_000
_BATCH: Final = 512
_THE_LINK_ITSELF: Final = ObjectAttributes.CASE_INSENSITIVE | ObjectAttributes.OPENLINK
_GONE: Final = frozenset(
    {NTSTATUS.OBJECT_NAME_NOT_FOUND, NTSTATUS.OBJECT_PATH_NOT_FOUND, NTSTATUS.KEY_DELETED}
)
_numbers = itertools.count(1)


class Registry(Closing):
    """Programs on a guest, below a test root that nobody else uses.

    A context manager: entering creates the root, leaving removes everything the programs made, also after
    failures: hives are unmounted, keys deleted (links themselves, not their targets), files removed.

        with Registry(guest) as registry, registry.program() as p:
            p.create_key(p.test_root / "app")
    """

    def __init__(self, guest: SupportsRun, *, name: str | None = None) -> None:
        self.guest = guest
        self._name = name or f"{os.getpid():x}-{next(_numbers)}-{secrets.token_hex(3)}"
        self._root = HARNESS_KEY / self._name
        self._ready = False
        self._keys: set[RegistryPath] = set()
        self._mounts: set[RegistryPath] = set()
        self._files: set[str] = set()
        self._hives = itertools.count(1)

    def __repr__(self) -> str:
        return f"<registry {self._root}>"

    def __enter__(self) -> Self:
        self.set_up()
        return self

    # -- what tests use -------------------------------------------------------------------------------

    @property
    def test_root(self) -> RegistryPath:
        r"""`\REGISTRY\MACHINE\Software\RegFilterHarness\<unique>`."""
        return self._root

    def program(self) -> ProgramBuilder:
        """A new program; use it as a context manager. Creates the test root when that is still to be done."""
        self.set_up()
        return ProgramBuilder(self.guest, self)

    def file(self, name: str) -> str:
        """The guest path of this test's file `name`, removed at the end; a full path stays as it is."""
        if not name:
            raise UsageError("a file needs a name")
        own = f"{HARNESS_FOLDER}\\{self._name}-"
        path = name if name[1:2] == ":" else own + name
        if path.lower().startswith(own.lower()):
            self._files.add(path)
        return path

    def app_hive(self, name: str = "") -> str:
        """A new hive file path for `p.load_app_key`; the file comes into being with the first load."""
        return self.file(name or f"app{next(self._hives)}.dat")

    # -- what programs leave behind -------------------------------------------------------------------

    def note_key(self, path: RegistryPath) -> None:
        """Remember a key below the test root for removal."""
        if self._root.contains(path) and path != self._root:
            self._keys.add(path)

    def note_mount(self, path: RegistryPath) -> None:
        """Remember a mounted hive for unloading."""
        self._mounts.add(path)

    # -- set-up and clean-up --------------------------------------------------------------------------

    def set_up(self) -> None:
        """Create the test root once."""
        if self._ready:
            return
        made = self._create(self._root)
        if made.status in _GONE:  # the first use of this guest
            self._create(HARNESS_KEY)
            made = self._create(self._root)
        if not made.succeeded:
            raise InfrastructureError(
                f"the test root {self._root} could not be created: {made.status_name}; "
                "a filter that blocks creates may be active already"
            )
        self._ready = True

    def _create(self, path: RegistryPath) -> Step:
        with ProgramBuilder(self.guest, self) as p:
            return p.create_key(path)  # the program's end closes the handle

    def close(self) -> None:
        """Unmount, delete and remove what the programs made; returns with nothing left, or raises.

        Raises `InfrastructureError` naming the key that can't be removed. May be called again.
        """
        if not self._ready:
            return
        with ProgramBuilder(self.guest, self) as p:
            for mount in sorted(self._mounts, reverse=True):
                p.force_unload(mount)
            for path in sorted(self._keys, key=lambda item: len(item.names), reverse=True):
                self._delete(p, path)
            removed = self._delete(p, self._root)
            opened = p.steps[removed.index - 1]
            for file in sorted(self._files):
                for suffix in ("", ".LOG1", ".LOG2"):
                    p.delete_file(file + suffix)
        self._keys.clear()
        self._mounts.clear()
        self._files.clear()
        if not removed.succeeded and opened.status not in _GONE:
            self._remove_tree()
        self._ready = False

    @staticmethod
    def _delete(program: ProgramBuilder, path: RegistryPath) -> Step:
        """Open a key (the link itself where it is one) and delete it; the program's end closes the handle."""
        return program.delete_key(program.open_key(path, access=DELETE, attributes=_THE_LINK_ITSELF))

    def _remove_tree(self) -> None:
        """Find every key below the root level by level, then delete from the deepest up."""
        levels: list[list[RegistryPath]] = [[self._root]]
        seen = 1
        while levels[-1]:
            below = self._children(levels[-1])
            seen += len(below)
            if seen > MAX_CLEANUP_KEYS:
                raise InfrastructureError(
                    f"more than {MAX_CLEANUP_KEYS} keys are left below {self._root}; "
                    "delete them by hand or take a fresh guest"
                )
            levels.append(below)
        for level in reversed(levels):
            for start in range(0, len(level), _BATCH):
                self._remove(level[start : start + _BATCH])

    def _children(self, keys: list[RegistryPath]) -> list[RegistryPath]:
        found: list[RegistryPath] = []
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            with ProgramBuilder(self.guest, self) as p:
                counts = []
                for key in batch:
                    opened = p.open_key(key, access=KEY_READ, attributes=_THE_LINK_ITSELF)
                    counts.append(p.query_key(opened, KeyInformationClass.FULL))
                    p.close(opened)
            for key, count in zip(batch, counts, strict=True):
                if not count.output:
                    continue
                subkeys = count.key_information.subkeys or 0
                if subkeys > MAX_CLEANUP_KEYS:
                    raise InfrastructureError(f"{key} has {subkeys} subkeys; take a fresh guest")
                if subkeys:
                    found += self._names(key, subkeys)
        return found

    def _names(self, key: RegistryPath, count: int) -> list[RegistryPath]:
        with ProgramBuilder(self.guest, self) as p:
            opened = p.open_key(key, access=KEY_READ, attributes=_THE_LINK_ITSELF)
            listed = p.enumerate_keys(opened, count)
            p.close(opened)
        return [key / name for name in listed.names]

    def _remove(self, keys: list[RegistryPath]) -> None:
        with ProgramBuilder(self.guest, self) as p:
            steps = [self._delete(p, key) for key in keys]
        for key, step in zip(keys, steps, strict=True):
            opened = p.steps[step.index - 1]
            if not step.succeeded and step.status not in _GONE and opened.status not in _GONE:
                status = opened.status if not opened.succeeded else step.status
                raise InfrastructureError(
                    f"{key} can't be removed: {status_name(status)}; a handle, a filter or its security "
                    "keeps it: remove the filters first or take a fresh guest"
                )
