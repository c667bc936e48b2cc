"""Plans on a cluster of two hosts: work goes where it can run, and a lost host costs one test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.matrix.guard import marked
from harness.matrix.jobs import read_frozen
from harness.matrix.rays import ClusterHost, connected, parse_address
from harness.results.folder import RunReader
from tests.matrix.test_resume import ROOT, run_in, started, wait_for
from tests.matrix.world import NEW, OLD, World, essence

pytest.importorskip("ray", reason="a cluster needs Ray: tools/bootstrap.sh cluster")

PLAN = f"""
name = "small"
targets = ["{NEW}", "{OLD}"]
suites = ["test_a.py"]
retries = 1
"""

#: On the second host the test in the middle blocks, once.
SUITE = """
import threading

def test_first(target): pass

def test_blocks(target, once):
    if os.environ.get("HOST_NUMBER") == "2" and once("blocks"):
        threading.Event().wait()

def test_fails(target): assert 0

def test_last(target): pass
"""


@dataclass
class Cluster:
    place: Path
    address: str
    process: subprocess.Popen[str]

    def kill_second(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"

    def listening(self) -> set[str]:
        """The addresses on which its servers take connections (proc(5), net/tcp)."""
        sockets = set()
        for pid in self.processes():
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(str(link.readlink()))
        lines = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        ]
        # State 0A is LISTEN; the last eight digits are the IPv4 address, also of one mapped into IPv6.
        return {
            socket.inet_ntoa(bytes.fromhex(line[1].split(":")[0][-8:])[::-1])
            for line in lines
            if line[3] == "0A" and f"socket:[{line[9]}]" in sockets
        }

    def processes(self) -> dict[int, str]:
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.place) in command:
                    found[int(entry.name)] = command[:200]
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "root")
    world.suite("test_a.py", SUITE)
    (world.root / "plan.toml").write_text(PLAN)
    return world


@pytest.fixture
def cluster(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    place = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))  # sockets need a short path
    (place / "ray").mkdir()
    token = place / "token"
    token.touch(mode=0o600)
    token.write_text("ab" * 32)
    for name, value in {
        "RAY_TMPDIR": str(place),
        "RAY_AUTH_TOKEN_PATH": str(token),
        "HARNESS_CACHE": str(place / "cache"),
        "XDG_RUNTIME_DIR": str(place),
    }.items():
        monkeypatch.setenv(name, value)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HARNESS_ROOT": str(world.root),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # stay on loopback: harness.matrix.rays
    }
    with (place / "hosts.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.matrix.ray_hosts"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, (place / "hosts.log").read_text()
        found = Cluster(place, address, process)
        yield found
        process.stdin.close()
        process.wait(120)
        wait_for("the cluster's processes to end", lambda: not found.processes())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        shutil.rmtree(place, ignore_errors=True)


def test_a_lost_host_costs_one_test_and_its_work_is_done_elsewhere(cluster: Cluster, world: World) -> None:
    assert cluster.listening() == {"127.0.0.1"}
    with started(world, "--cluster", cluster.address) as process:
        wait_for("the test that blocks", (world.marks / "blocks").exists, process)
        cluster.kill_second()
        said, _ = process.communicate(timeout=180)
        assert process.returncode == 1, said
    run = run_in(world.results)
    rows = tuple(RunReader(run.path))
    assert essence(rows) == {
        (f"test_a.py::{test}", target, "", "FAIL" if test == "test_fails" else "PASS")
        for test in ("test_first", "test_blocks", "test_fails", "test_last")
        for target in (NEW, OLD)
    }
    _, jobs = read_frozen(run.path)
    tried = Counter((row.test, row.target) for job in jobs for row in run.job(job.id).rows)
    ((again, times),) = ((test, count) for test, count in tried.items() if count > 1)
    assert (again[0], times) == ("test_a.py::test_blocks", 2)
    (lost,) = (row for job in jobs for row in run.job(job.id).rows if row.outcome == "INFRA")
    assert "was lost" in lost.message
    assert "while this test ran" in lost.message
    ends = [run.job(job.id).end for job in jobs]
    assert sum(bool(end and end.notes) for end in ends) == 1
    assert all(run.job(job.id).output.is_file() for job in jobs)
    # Neither the killed host nor the other has anything left of it.
    wait_for("what the host had started to end", lambda: not marked(cluster.place))
    sessions = cluster.place / "cache" / "sessions"
    wait_for("the other host to tidy up", lambda: len(list(sessions.iterdir())) <= 1)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        begun = time.monotonic()
        with (
            pytest.raises(InfrastructureError, match="no cluster answers at"),
            connected(f"127.0.0.1:{port}"),
        ):
            pass
        assert time.monotonic() - begun < 60  # Ray by itself goes on trying


@pytest.mark.parametrize("text", ["", "10.0.0.1", ":6379", "host:0", "host:99999", "host:x"])
def test_an_address_has_host_and_port(text: str) -> None:
    with pytest.raises(UsageError, match="is no address of a cluster"):
        parse_address(text)


def test_a_host_lacks_what_it_does_not_offer() -> None:
    host = ClusterHost("a", {"CPU": 2.0, "memory": float(2 << 30), "image:x": 1.0})
    assert (host.cores, host.memory_mib, host.things) == (2, 2048, ("image:x",))
    assert host.lacks({"image:x": 0.0001, "image:y": 0.0001}) == ("image:y",)
