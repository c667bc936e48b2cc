"""Installed disks that have not answered yet: whole or not there, one for each recipe, for a month."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from harness.image.install.kept import KeptInstall
from harness.image.store import ImageStore

KEY, OTHER = "a" * 64, "b" * 64


def made(folder: Path) -> Path:
    (folder / "tpm").mkdir(parents=True)
    (folder / "disk.qcow2").write_bytes(b"disk")
    (folder / "tpm" / "tpm2-00.permall").write_bytes(b"tpm")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    store = ImageStore(tmp_path / "images")
    store.folder.mkdir()
    return store


def test_it_comes_back_as_it_was_put(store: ImageStore, tmp_path: Path) -> None:
    kept = KeptInstall(store, "tiny", KEY)
    assert kept.find() is None
    kept.put(made(tmp_path / "a"), {"stages": ["ready"]})
    assert KeptInstall(store, "tiny", KEY).find() == {"stages": ["ready"]}
    assert KeptInstall(store, "tiny", OTHER).find() is None
    (tmp_path / "b").mkdir()
    kept.take(tmp_path / "b")
    assert (tmp_path / "b" / "tpm" / "tpm2-00.permall").read_bytes() == b"tpm"
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["disk.qcow2", "tpm"]
    assert (kept.find(), list(store.folder.iterdir())) == (None, [])


def test_what_is_not_whole_counts_as_none(store: ImageStore, tmp_path: Path) -> None:
    kept = KeptInstall(store, "tiny", KEY)
    kept.put(made(tmp_path / "a"), {})
    disk = kept.folder / "disk.qcow2"
    disk.write_bytes(b"dis")
    assert kept.find() is None
    disk.unlink()
    assert kept.find() is None
    disk.write_bytes(b"disk")
    assert kept.find() == {}
    for damage in ("", "[]", '{"facts": 1, "sizes": {}}'):
        (kept.folder / "installed.json").write_text(damage)
        assert kept.find() is None


def test_while_it_is_written_to_it_counts_for_nothing(store: ImageStore, tmp_path: Path) -> None:
    kept = KeptInstall(store, "tiny", KEY)
    kept.put(made(tmp_path / "a"), {"stages": ["ready"]})
    with kept.changing({"stages": ["ready"]}):
        (kept.folder / "disk.qcow2").write_bytes(b"a larger disk")
        assert kept.find() is None
    assert kept.find() == {"stages": ["ready"]}
    with suppress(OSError), kept.changing({}):
        (kept.folder / "disk.qcow2").write_bytes(b"larger still")
        raise OSError("full")
    assert kept.find() == {}  # type: ignore[unreachable]


def test_one_recipe_has_one_and_leaves_others_alone(store: ImageStore, tmp_path: Path) -> None:
    longer = KeptInstall(store, "tiny-x86", KEY)
    longer.put(made(tmp_path / "a"), {})
    old, new = KeptInstall(store, "tiny", KEY), KeptInstall(store, "tiny", OTHER)
    old.put(made(tmp_path / "b"), {})
    new.put(made(tmp_path / "c"), {})
    assert (old.find(), new.find(), longer.find()) == (None, {}, {})


def test_what_nobody_asks_for_goes_after_a_month_unless_it_is_in_use(
    store: ImageStore, tmp_path: Path
) -> None:
    kept = KeptInstall(store, "tiny", KEY)
    kept.put(made(tmp_path / "a"), {})
    assert store.remove_unused() == []
    long_ago = time.time() - 31 * 86400
    os.utime(kept.folder, (long_ago, long_ago))
    with store.locked(f"tiny-{KEY[:16]}"):
        assert store.remove_unused() == []
    assert store.remove_unused() == [kept.folder]
