"""The store of images: whole or absent, sealed, made once, whoever asks and whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.image.store import ImageStore

KEY = "a" * 64


def fill(into: Path) -> Mapping[str, Any]:
    (into / "disk.raw").write_bytes(b"content")
    key = into / "secret"
    key.touch(mode=0o600)
    key.write_text("key")
    return {"packages": ["wine64 8.0"]}


def entries(store: ImageStore) -> set[str]:
    return {path.name for path in store.folder.iterdir() if not path.name.endswith(".lock")}


def test_an_image_is_made_once_and_sealed(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    first = store.ensure("x", KEY, fill)
    assert first.facts == {"packages": ["wine64 8.0"]}
    assert first.path("disk.raw").stat().st_mode & 0o777 == 0o444
    assert first.path("secret").stat().st_mode & 0o777 == 0o400
    assert store.problems(first) == []

    def never(into: Path) -> Mapping[str, Any]:
        raise AssertionError("made a second time")

    assert store.ensure("x", KEY, never) == first
    assert entries(store) == {f"x-{KEY[:16]}"}


def test_one_that_is_made_anew_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    first = store.ensure("x", KEY, fill)

    def broken(into: Path) -> Mapping[str, Any]:
        (into / "disk.raw").write_bytes(b"half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        store.ensure("x", KEY, broken, anew=True)
    assert (store.find("x", KEY), store.problems(first)) == (first, [])

    def other(into: Path) -> Mapping[str, Any]:
        (into / "disk.raw").write_bytes(b"newer")
        return {}

    second = store.ensure("x", KEY, other, anew=True)
    assert second.path("disk.raw").read_bytes() == b"newer"
    assert set(second.files) == {"disk.raw"}
    assert entries(store) == {f"x-{KEY[:16]}"}


def test_another_key_is_another_image(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    store.ensure("x", KEY, fill)
    assert store.find("x", "b" * 64) is None
    # The same first digits: the folder's name is not all of the key.
    assert store.find("x", KEY[:16] + "b" * 48) is None


@pytest.mark.parametrize("harm", ["changed", "cut short", "writable", "gone"])
def test_harm_is_found(tmp_path: Path, harm: str) -> None:
    store = ImageStore(tmp_path / "images")
    stored = store.ensure("x", KEY, fill)
    disk = stored.path("disk.raw")
    disk.chmod(0o644)
    if harm == "changed":
        disk.write_bytes(b"kontent")
        disk.chmod(0o444)
    elif harm == "cut short":
        disk.write_bytes(b"con")
    elif harm == "gone":
        disk.unlink()
    (problem,) = store.problems(stored)[-1:]
    assert str(disk) in problem
    # A file of another size is no image at all; it is made anew.
    assert (store.find("x", KEY) is None) is (harm in {"cut short", "gone"})
    if harm in {"cut short", "gone"}:
        assert store.problems(store.ensure("x", KEY, fill)) == []


def test_what_nobody_asked_for_in_a_month_goes(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    keys = {name: name * 64 for name in "abc"}
    made = {name: store.ensure("x", key, fill) for name, key in keys.items()}
    month_ago = time.time() - 31 * 86400
    for name in "ab":
        os.utime(f"{made[name].folder}.lock", (month_ago, month_ago))
    store.ensure("x", keys["b"], fill)  # asked for again
    store.ensure("x", "d" * 64, fill)
    assert entries(store) == {f"x-{name * 16}" for name in "bcd"}


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")

    def fail(into: Path) -> Mapping[str, Any]:
        fill(into)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        store.ensure("x", KEY, fail)
    assert entries(store) == set()


KILLED = """
import sys
from pathlib import Path
from harness.image.store import ImageStore

def make(into):
    (into / "half").write_bytes(b"half")
    print("making", flush=True)
    sys.stdin.read()

ImageStore(Path(sys.argv[1])).ensure("x", sys.argv[2], make)
"""


def test_a_killed_build_leaves_no_image_and_no_lock(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.folder), KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "making\n"
        assert store.find("x", KEY) is None
        os.kill(process.pid, signal.SIGKILL)
    assert store.find("x", KEY) is None
    made = store.ensure("x", KEY, fill)
    assert store.problems(made) == []
    assert entries(store) == {f"x-{KEY[:16]}"}


def test_two_who_ask_at_once_get_one_image(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    making, go_on, waited = threading.Event(), threading.Event(), threading.Event()
    made: list[Path] = []

    def slow(into: Path) -> Mapping[str, Any]:
        made.append(into)
        making.set()
        assert go_on.wait(300)
        return fill(into)

    def waiting(line: str) -> None:
        assert "another process" in line
        waited.set()
        go_on.set()

    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda: results.append(store.ensure("x", KEY, slow).folder)),
        threading.Thread(
            target=lambda: results.append(store.ensure("x", KEY, slow, progress=waiting).folder)
        ),
    ]
    threads[0].start()
    assert making.wait(300)
    threads[1].start()
    for thread in threads:
        thread.join(300)
    assert waited.is_set()
    assert len(made) == 1
    assert len(set(results)) == 1
    assert len(results) == 2


def test_what_a_killed_process_was_making_goes_and_what_a_living_one_makes_stays(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    store.ensure("x", KEY, fill)
    for name in ("left", "made"):
        (store.folder / f".making-{name}-0").mkdir()
        (store.folder / f".making-{name}-0" / "disc.iso").write_bytes(b"a password")
    with store.locked("made-0"):
        assert store.remove_abandoned() == [store.folder / ".making-left-0"]
    assert (store.folder / ".making-made-0").is_dir()
    store.ensure("y", "b" * 64, fill)  # whoever makes something else tidies up as well
    assert entries(store) == {f"x-{KEY[:16]}", f"y-{'b' * 16}"}
