"""A killed build leaves no process, no mount, and no folder that the next build does not remove."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.image.tools import run
from harness.image.workspace import confined, workspace

BUILD = """
from harness.image.tools import run
from harness.image.workspace import confined, workspace

# What a namespace takes with it; a user's builds, and root's in some containers, have none of their own.
SCRIPT = '''
if [ "$NAMESPACE" = own ]; then
    mkdir "$TMPDIR/mounted"
    mount -t tmpfs none "$TMPDIR/mounted"
    sleep 3600 &
fi
echo "ready"
exec sleep 3600
'''
with workspace() as folder:
    print(folder, flush=True)
    run(confined(["sh", "-c", SCRIPT]), progress=lambda line: print(line, flush=True),
        environment={"TMPDIR": str(folder), "NAMESPACE": "own" if "unshare" in confined([]) else "shared"})
"""


def processes_of(folder: Path) -> list[int]:
    """Every process whose environment names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"TMPDIR={folder}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # ended, or somebody else's
    return found


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_nothing_outlives_a_killed_build(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUILD], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as build:
        assert build.stdout is not None
        folder = Path(build.stdout.readline().strip())
        assert build.stdout.readline() == "ready\n"
        assert processes_of(folder)
        build.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 300
    while processes_of(folder):
        assert time.monotonic() < deadline, f"still there: {processes_of(folder)}"
        time.sleep(0.05)
    assert str(folder) not in Path("/proc/self/mounts").read_text()
    assert folder.exists()
    with workspace() as another:
        assert not folder.exists()
        assert another.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_runs_is_left_alone(tmp_path: Path) -> None:
    with workspace() as first, workspace() as second:
        assert first != second
        assert first.exists()
        (first / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(InfrastructureError, match=r"(?s)failed with exit code 3.*the reason"):
        run(confined(["sh", "-c", "echo the reason; exit 3"]))


def test_what_a_program_says_is_told_as_it_comes() -> None:
    lines: list[str] = []
    assert run(confined(["printf", "one\\ntwo"]), progress=lines.append) == "one\ntwo"
    assert lines == ["one", "two"]
