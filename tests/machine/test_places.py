"""Folders are where the user says, for the user alone, and large enough."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.machine.keep import places
from harness.machine.keep.clean import find_leftovers, remove
from harness.machine.keep.places import Places, private_folder, require_space, runtime_candidates


def test_the_environment_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "mine"))
    assert Places.standard().templates == tmp_path / "mine/templates"

    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Places.standard().cache == tmp_path / "xdg/regfilter-harness"


def test_two_caches_never_share_ram_files(tmp_path: Path) -> None:
    """Cleaning one would take RAM files that templates of the other need."""
    one, other = Places.beside(tmp_path / "one"), Places.beside(tmp_path / "other")
    assert one.memory != other.memory
    assert one.memory == Places.beside(tmp_path / "one").memory


def test_the_runtime_folder_leaves_room_for_socket_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    first, *others = runtime_candidates()
    assert len(bytes(first)) <= 40
    assert long / "regfilter-harness" in others  # where an earlier process may have been


def test_a_usable_runtime_folder_of_the_user_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    assert runtime_candidates()[0] == Path("/tmp/regfilter-harness")


def test_a_private_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        made = private_folder(tmp_path / "a/b")
    finally:
        os.umask(old)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700

    made.chmod(0o777)
    assert stat.S_IMODE(private_folder(made).stat().st_mode) == 0o700


def test_a_link_somebody_prepared_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(InfrastructureError, match="is no folder"):
        private_folder(tmp_path / "link")


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    mine = os.geteuid()
    monkeypatch.setattr(places.os, "geteuid", lambda: mine + 1)
    with pytest.raises(InfrastructureError, match=f"belongs to user {mine}, not to you"):
        private_folder(folder)


def test_too_little_space_is_said_before_anything_starts(tmp_path: Path) -> None:
    require_space(tmp_path / "not/there/yet", 1, "a test")
    with pytest.raises(InfrastructureError, match=r"a test needs [\d,]+ MiB below .*HARNESS_CACHE"):
        require_space(tmp_path, 1 << 60, "a test")


def test_ram_files_leave_memory_when_there_is_no_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = Places(tmp_path / "cache", tmp_path / "run", tmp_path / "memory")
    assert where.room_in_memory(1 << 20) == tmp_path / "memory"
    assert not caplog.messages
    assert where.room_in_memory(1 << 60) is None
    assert "does not fit into memory" in caplog.text


def test_memory_of_a_cache_that_is_gone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes a cache by hand leaves the RAM files of its templates."""
    monkeypatch.setattr(places, "_SHARED_MEMORY", tmp_path)
    gone, there = Places.beside(tmp_path / "gone"), Places.beside(tmp_path / "there")
    there.cache.mkdir()
    for where in (gone, there):
        folder = where.room_in_memory(1)
        assert folder is not None
        (folder / "x.ram").write_bytes(b"x")
    assert there.lost_memory() == ((gone.memory, gone.cache),)
    # Runtime folders are everybody's: others may have left something just now.
    (found,) = (each for each in find_leftovers(there) if each.paths == (gone.memory,))
    remove([found])
    assert gone.memory is not None
    assert not gone.memory.exists()
    assert there.lost_memory() == ()


def test_memory_of_another_containers_cache_needs_to_be_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever shares /dev/shm with it sees its RAM files, and not its cache."""
    monkeypatch.setattr(places, "_SHARED_MEMORY", tmp_path)
    here = Places.beside(tmp_path / "cache")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(places, "_file_system", lambda: "another")
        theirs = Places.beside(tmp_path / "cache")
        assert theirs.room_in_memory(1) == theirs.memory
    assert theirs.memory != here.memory
    assert here.lost_memory() == ()
    assert here.lost_memory(everything=True) == ((theirs.memory, theirs.cache),)


def test_a_control_group_limits_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(places, "_GROUP_LIMIT", limit)
    whole = places.total_memory()
    limit.write_text("max\n")
    assert places.total_memory() == whole
    limit.write_text("4096\n")
    assert places.total_memory() == 4096
