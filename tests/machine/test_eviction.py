"""Templates that nobody uses make room in memory: the right ones, no more than needed, never one in use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.machine.clones.admission import Admission
from harness.machine.keep.eviction import SUPERSEDED_SECONDS, free_up, remove_superseded
from harness.machine.keep.ledger import SessionId
from harness.machine.keep.places import Places, private_folder
from harness.machine.keep.store import Environment, Fingerprint, Manifest, TemplateLock, TemplateStore, Way

SIZE = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> TemplateStore:
    return TemplateStore(Places(tmp_path / "cache", tmp_path / "run", private_folder(tmp_path / "memory")))


def stored(store: TemplateStore, image: str, key: str, *, idle: float, in_memory: bool = True) -> Path:
    """A complete template that was last used `idle` seconds ago."""
    folder = private_folder(store.folder(key * 32))
    memory = store.places.memory
    assert memory is not None
    ram = memory / f"{SessionId.new()}.{folder.name}.ram" if in_memory else folder / "ram"
    ram.write_bytes(bytes(SIZE))
    environment = Environment(key * 32, "", "", "", "", "")
    files = (Fingerprint.of(folder, str(ram)),)
    Manifest(image, environment, Way.CLONED, files, (), None, ram, None, None, 1.0).write(folder)
    used = time.time() - idle
    os.utime(folder, (used, used))
    return folder


def taken(store: TemplateStore) -> int:
    assert store.places.memory is not None
    return sum(path.stat().st_size for path in store.places.memory.glob("*.ram"))


def test_those_used_longest_ago_go_and_no_more_than_needed(store: TemplateStore) -> None:
    old, older, new = (
        stored(store, image, key, idle=idle)
        for image, key, idle in (("a", "a", 50), ("b", "b", 90), ("c", "c", 5))
    )
    free_up(store, 2 * SIZE, lambda: 3 * SIZE - taken(store))
    assert [folder.exists() for folder in (old, older, new)] == [False, False, True]
    assert taken(store) == SIZE
    free_up(store, 2 * SIZE, lambda: 3 * SIZE - taken(store))
    assert new.exists()


def test_one_in_use_or_on_disk_stays(store: TemplateStore) -> None:
    used = stored(store, "a", "a", idle=500)
    on_disk = stored(store, "b", "b", idle=900, in_memory=False)
    with TemplateLock(used).held(exclusive=False, timeout=0):
        free_up(store, SIZE, lambda: 0)
    assert used.exists()
    assert on_disk.exists()


def test_an_outdated_template_of_the_same_image_goes(store: TemplateStore) -> None:
    idle = SUPERSEDED_SECONDS + 60
    before = stored(store, "win", "a", idle=idle)
    in_turn = stored(store, "win", "b", idle=5)
    other = stored(store, "win+verifier", "c", idle=idle)
    present = stored(store, "win", "d", idle=idle)
    remove_superseded(store, "win", present)
    assert [folder.exists() for folder in (before, in_turn, other, present)] == [False, True, True, True]
    assert taken(store) == 3 * SIZE


def test_a_machine_that_finds_no_memory_has_unused_templates_removed(store: TemplateStore) -> None:
    stored(store, "a", "a", idle=5)
    admission = Admission(
        available=lambda: 2 * SIZE - taken(store),
        total=1 << 40,
        reserve=0,
        free_up=lambda size: free_up(store, size, lambda: 2 * SIZE - taken(store)),
    )
    admission.memory(2 * SIZE, "a clone", timeout=0).release()
    assert taken(store) == 0
