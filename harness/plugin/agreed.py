"""What the processes of one run have in common: its folder and its seed. pytest-xdist's controller decides
them, its workers are told.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["run_folder", "seed_of", "tell_worker"]

#: Keys of what pytest-xdist hands to a worker.
_FOLDER_INPUT: Final = "harness_run_folder"
_SEED_INPUT: Final = "harness_seed"

_FOLDER = pytest.StashKey[Path]()
_SEED = pytest.StashKey[str]()


def run_folder(config: pytest.Config) -> Path:
    """The folder of the run; nobody makes it before there is something to keep."""
    found = config.stash.get(_FOLDER, None)
    if found is None:
        given = _told(config).get(_FOLDER_INPUT) or config.getoption("--run-folder")
        found = config.stash[_FOLDER] = Path(given) if given else _new_folder(config)
    return found


def _new_folder(config: pytest.Config) -> Path:
    from harness.results.folder import new_run_folder

    return new_run_folder(Path(config.getoption("--results") or config.rootpath / "results"))


def seed_of(config: pytest.Config) -> str:
    """The run's seed: the controller's, the one given, or a new one."""
    found = config.stash.get(_SEED, "")
    if not found:
        found = str(_told(config).get(_SEED_INPUT) or config.getoption("--seed") or secrets.token_hex(4))
        config.stash[_SEED] = found
    return found


def tell_worker(node: Any) -> None:
    """Before a worker of pytest-xdist starts; `node` is what the controller knows it by."""
    node.workerinput[_FOLDER_INPUT] = str(run_folder(node.config))
    node.workerinput[_SEED_INPUT] = seed_of(node.config)


def _told(config: pytest.Config) -> dict[str, Any]:
    told: dict[str, Any] = getattr(config, "workerinput", {})
    return told
