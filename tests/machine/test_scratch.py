"""Temporary folders: gone with their block, and found when their process was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.machine.keep.clean import find_leftovers, remove
from harness.machine.keep.places import Places
from harness.machine.keep.scratch import scratch

_HOLD = """
import sys
from pathlib import Path
from harness.machine.keep.places import Places
from harness.machine.keep.scratch import scratch
with scratch(Places(Path(sys.argv[1]), Path(sys.argv[2]), None)) as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_it_is_left_alone_as_long_as_it_is_used(tmp_path: Path) -> None:
    places = Places(tmp_path / "cache", tmp_path / "runtime", None)
    with scratch(places) as folder:
        (folder / "file").write_text("x")
        assert folder not in [path for each in find_leftovers(places) for path in each.paths]
    assert not folder.exists()


def test_a_killed_process_leaves_it_to_be_found(tmp_path: Path) -> None:
    places = Places(tmp_path / "cache", tmp_path / "runtime", None)
    command = [sys.executable, "-c", _HOLD, str(places.cache), str(places.runtime)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        assert (folder / "file").is_file()
        holder.kill()
    (found,) = [each for each in find_leftovers(places) if folder in each.paths]
    remove([found])
    assert not folder.exists()
