"""Ends and removes everything of one session, whatever state it is in.

Used by the guard when its process is gone, by the next start, and by `harness clean`: at once, if need be.
Imports little, because every session starts a guard that imports this.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from harness.machine.keep.ledger import Entry, EntryKind, Ledger, Owner
from harness.machine.keep.processes import end, of_folders

__all__ = ["folders_of", "remove_path", "sweep"]

#: A process that was being started while its folder went away shows up in the next round.
_ROUNDS: Final = 5


def folders_of(folder: Path) -> tuple[Path, ...]:
    """All folders of the session that `folder` is one of, `folder` last."""
    owner = Owner.read(folder)
    others = (Path(path) for path in owner.folders) if owner is not None else ()
    # The name is the session's id: a path with another name is none of its folders, whatever is written.
    return (*(path for path in others if path.name == folder.name and path != folder), folder)


def sweep(folders: Sequence[Path]) -> list[str]:
    """End the machines of the session with these `folders`, then remove them; returns what went wrong.

    May be called again, and by two processes at once.
    """
    entries = {entry for folder in folders for entry in Ledger(folder).entries()}
    paths = [Path(entry.name) for entry in entries if entry.kind is EntryKind.PATH]
    everything = (*paths, *folders)
    problems: list[str] = []
    for _ in range(_ROUNDS):
        problems = _destroy(entry for entry in entries if entry.kind is EntryKind.MACHINE)
        stubborn = end(of_folders(everything))
        problems += [f"process {process.pid} can't be ended: {process.command[:200]}" for process in stubborn]
        if problems:  # what remains needs its ledger
            break
        for path in everything:
            remove_path(path)
        problems += [f"{path} can't be removed" for path in everything if path.exists()]
        if not problems and not of_folders(everything):
            break
    return problems


def remove_path(path: Path) -> None:
    """Remove a file, or a folder with all in it; what resists is left."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _destroy(machines: Iterable[Entry]) -> list[str]:
    """End domains of a libvirt that runs by itself: their processes need not be this user's."""
    problems = []
    for entry in machines:
        import libvirt  # seldom needed, and slow to import

        try:
            connection = libvirt.open(entry.uri)
            try:
                domain = connection.lookupByName(entry.name)
                if domain.isActive():
                    domain.destroy()
                if domain.isPersistent():
                    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            finally:
                connection.close()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                problems.append(f"machine {entry.name} of {entry.uri}: {error}")
    return problems
