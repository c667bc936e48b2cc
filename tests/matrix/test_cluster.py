"""Plans on a cluster of two hosts: work goes where it can run, and a lost host costs one test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.cli.cluster import join
from harness.drill import DrillReport, DrillResult, DrillStore, Fault, Verdict
from harness.errors import HarnessError, InfrastructureError, UsageError
from harness.history import EvidenceState, open_history
from harness.image.finding import find_recipe
from harness.image.images import ensure_image
from harness.image.store import ImageStore
from harness.image.tools import find_tool
from harness.machine.clones.identity import emulator
from harness.machine.hypervisor.accelerator import choose_accelerator
from harness.matrix.cluster.hosts import machines_of
from harness.matrix.cluster.offer import drill_resource, image_resource, needs, offer
from harness.matrix.cluster.parcel import Began, Ended, Message, Row, Told
from harness.matrix.cluster.placing import Cluster, ClusterRun
from harness.matrix.cluster.rays import ClusterHost, connected, environment_for, make_token, parse_address
from harness.matrix.plan.jobs import Job, read_frozen
from harness.matrix.plan.plan import NotDrilled, Plan
from harness.matrix.plan.planfile import read_plan
from harness.matrix.run.folder import JobFolder
from harness.matrix.run.guard import marked
from harness.matrix.schedule.scheduler import Part
from harness.plugin.journal import Entry, Kind
from harness.results.folder import RunReader
from harness.results.model import RunResult
from harness.results.outcome import Outcome
from harness.strict import ConfigError
from harness.targets import parse_target
from tests.matrix.test_resume import ROOT, rows_so_far, run_in, started, wait_for
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

def test_fails(probe, registry):
    probe.add("380010")
    with registry.program() as program:
        program.create_key(program.test_root / "app")
    assert 0

def test_last(target): pass
"""


@dataclass
class Hosts:
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
def cluster(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    place = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))  # sockets need a short path
    (place / "ray").mkdir()
    token = place / "token"
    token.touch(mode=0o600)
    token.write_text("ab" * 32)
    for name, value in {
        "RAY_TMPDIR": str(place),
        "RAY_AUTH_TOKEN_PATH": str(token),
        "HARNESS_CACHE": str(place / "conductor"),
        "XDG_RUNTIME_DIR": str(place),
    }.items():
        monkeypatch.setenv(name, value)
    recipes = world.root / "machines"
    if recipes.is_dir():
        drilled(recipes, "far", place / "host-2")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HARNESS_ROOT": str(world.root),
        "CACHES_OF_HOSTS": str(place),
        "RECIPES_OF_HOST_2": str(recipes) if recipes.is_dir() else "",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # stay on loopback: harness.matrix.cluster.rays
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
        found = Hosts(place, address, process)
        yield found
        process.stdin.close()
        process.wait(600)
        wait_for("the cluster's processes to end", lambda: not found.processes())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        shutil.rmtree(place, ignore_errors=True)


def test_nobody_joins_a_head_on_loopback() -> None:
    """Ray would say that multi-node clusters are not supported on Windows and OSX."""
    with pytest.raises(UsageError, match="harness cluster head ADDRESS:6379"):
        join("127.0.0.1:6379")


def test_a_lost_host_costs_one_test_and_its_work_is_done_elsewhere(cluster: Hosts, world: World) -> None:
    assert cluster.listening() == {"127.0.0.1"}
    with started(world, "--cluster", cluster.address) as process:
        wait_for("the test that blocks", (world.marks / "blocks").exists, process)
        cluster.kill_second()
        said, _ = process.communicate(timeout=900)
        assert process.returncode == 1, said
    run = run_in(world.results)
    rows = tuple(RunReader(run.path))
    assert essence(row for row in rows if not row.test.endswith("::leak-gate")) == {
        (f"test_a.py::{test}", target, "", "FAIL" if test == "test_fails" else "PASS")
        for test in ("test_first", "test_blocks", "test_fails", "test_last")
        for target in (NEW, OLD)
    }
    _, jobs = read_frozen(run.path)
    tried = Counter((row.test, row.target) for job in jobs for row in run.job(job.id).rows)
    # The test that ran there, once the conductor had heard of it; what had no row is run again in any case.
    assert {key[0]: count for key, count in tried.items() if count > 1} in ({}, {"test_a.py::test_blocks": 2})
    lost = [row for job in jobs for row in run.job(job.id).rows if row.outcome == "INFRA"]
    assert all("was lost" in row.message and "while this test ran" in row.message for row in lost)
    ends = [run.job(job.id).end for job in jobs]
    assert sum(bool(end and end.notes) for end in ends) == 1
    assert all(run.job(job.id).output.is_file() for job in jobs)
    # Neither the killed host nor the other has anything left of it.
    wait_for("what the host had started to end", lambda: not marked(cluster.place))
    sessions = cluster.place / "host-1" / "sessions"
    wait_for("the other host to tidy up", lambda: not list(sessions.iterdir()))
    # Whichever host it was made on, evidence is in the one folder, and in the one history.
    failures = [row for row in rows if row.outcome == "FAIL"]
    assert all(row.evidence and row.bundle for row in failures)
    with open_history(world.results / "history.sqlite") as history:
        kept = history.evidence(run.name)
        assert {each.state for each in kept} == {EvidenceState.KEPT}
        named = {name for row in failures for name in (*row.evidence, row.bundle)}
        assert named <= {each.name for each in kept}
        assert not history.verify().problems


MACHINE = """
name = "far"
title = "an empty disk that one host has"
kind = "windows"
version = "10.0.19045"
arch = "x64"

[hardware]
memory_mib = 64
channel = "virtio"

[[channels]]
kind = "serial"

[adopt]
disk = "disk.raw"
format = "raw"
"""

FAR_PLAN = f"""
name = "far"
targets = ["{NEW}", "vm:far"]
suites = ["test_a.py"]
recipes = ["machines"]
"""

#: Says where it runs, and boots nothing.
FAR_SUITE = """
from pathlib import Path

def test_where(target):
    place = target.name.replace(":", "-") + "-on-host-" + os.environ["HOST_NUMBER"]
    (Path(__file__).parent / "marks" / place).touch()
"""


@pytest.fixture
def far(world: World) -> Path:
    """The recipe of a machine; the `cluster` offers it, image and drill, on its second host alone."""
    for name in ("qemu-system-x86_64", "qemu-img"):  # a drill is of this host's QEMU
        try:
            find_tool(name)
        except HarnessError as error:
            pytest.skip(str(error))
    folder = world.root / "machines" / "far"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(MACHINE)
    (folder / "disk.raw").write_bytes(bytes(1 << 20))
    (world.root / "plan.toml").write_text(FAR_PLAN)
    (world.root / "test_a.py").write_text(f"import os\n{FAR_SUITE}")
    return folder


def drilled(recipes: Path, name: str, cache: Path) -> None:
    """Keep a drill of the machine that passed, as `harness image drill` would, in the cache of one host."""
    recipe = find_recipe(name, [recipes])
    image = ensure_image(recipe, store=ImageStore(cache / "images"))
    report = DrillReport(
        target=f"vm:{name}",
        image=image.digest,
        emulator=emulator(image.hardware.arch),
        accelerator=choose_accelerator(cache),
        results=tuple(DrillResult(fault, Verdict.PASSED) for fault in Fault),
    )
    DrillStore(cache / "drills").keep(report)


def test_a_machine_is_judged_on_the_host_that_has_it(far: Path, cluster: Hosts, world: World) -> None:
    """Nothing was drilled on the conductor's own host, and nobody asks it."""
    with started(world) as alone:
        said, _ = alone.communicate(timeout=900)
        assert "vm:far: a crash may go unnoticed" in said
        assert alone.returncode == 2
    plan = [sys.executable, "-m", "harness", "matrix", "plan", "plan.toml", "--cluster", cluster.address]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(plan, cwd=world.root, env=environment, capture_output=True, text=True, timeout=900)
    assert shown.returncode == 0, shown.stderr
    assert "on the cluster (2 cores" in shown.stdout
    with started(world, "--cluster", cluster.address) as process:
        said, _ = process.communicate(timeout=900)
        assert process.returncode == 0, said
    marks = {mark.name for mark in world.marks.iterdir()}
    assert "vm-far-on-host-2" in marks
    assert "vm-far-on-host-1" not in marks
    # What a host offered when it joined is looked at again when a job begins there.
    record = cluster.place / "host-2" / "drills" / "far.json"
    record.write_text(record.read_text().replace('"emulator": "', '"emulator": "0.'))
    with started(world, "--cluster", cluster.address) as process:
        said, _ = process.communicate(timeout=900)
        assert process.returncode == 3, said
        assert "it was drilled with QEMU 0." in said


def test_a_killed_conductor_leaves_hosts_idle_and_goes_on(cluster: Hosts, world: World) -> None:
    with started(world, "--cluster", cluster.address) as process:
        wait_for("the test that blocks", (world.marks / "blocks").exists, process)
        wait_for("a row", lambda: rows_so_far(world.results), process)
        process.kill()
        process.wait()
    run = run_in(world.results)
    before = {rows: rows.read_bytes() for rows in run.jobs.glob("*/rows.jsonl")}
    wait_for("the jobs on the hosts to end", lambda: not marked(cluster.place))
    with started(world, "--resume", "--cluster", cluster.address) as process:
        said, _ = process.communicate(timeout=900)
        assert process.returncode == 1, said
    _, jobs = read_frozen(run.path)
    tried = Counter((row.test, row.target) for job in jobs for row in run.job(job.id).rows)
    assert set(tried.values()) == {1}
    assert len([key for key in tried if not key[0].endswith("::leak-gate")]) == 8
    for rows, text in before.items():
        assert rows.read_bytes().startswith(text[: text.rfind(b"\n") + 1])


class OneStream:
    """As much of a `Cluster` as one job needs: each attempt brings the messages of a host, or its loss."""

    errors = (RuntimeError,)

    def __init__(self, *attempts: list[Message | RuntimeError]) -> None:
        self._attempts = iter(attempts)

    def submit(self, job: Job, folder: JobFolder, tests: object) -> AsyncIterator[Awaitable[Message]]:
        return self._stream(next(self._attempts))

    async def _stream(self, messages: list[Message | RuntimeError]) -> AsyncIterator[Awaitable[Message]]:
        for message in messages:
            yield self._one(message)

    async def _one(self, message: Message | RuntimeError) -> Message:
        if isinstance(message, RuntimeError):
            raise message
        return message

    def can_run(self, job: Job) -> bool:
        return True

    def cancel(self, stream: object) -> None:
        pass


def test_the_test_that_ran_on_a_lost_host_is_infra_and_tried_again(world: World) -> None:
    plan = world.plan()
    (job,) = jobs = world.jobs(plan)
    run = world.begin(plan, jobs)
    row = RunResult("test_a.py::test_first", NEW, Outcome.PASS)
    begun = Told(Entry(Kind.BEGUN, "test_a.py::test_blocks", NEW).to_line())
    again = replace(row, test="test_a.py::test_blocks", attempt=2)
    cluster = OneStream(
        [Began("host-2"), Row(json.dumps(row.to_json())), begun, RuntimeError("the node died")],
        [Began("host-1"), Row(json.dumps(again.to_json())), Ended(1.0, 1, ())],
    )
    heard: list[Entry] = []
    one = ClusterRun(cluster, run)  # type: ignore[arg-type]
    end = asyncio.run(one.run(job, stop=asyncio.Event(), listen=heard.append))
    assert end is not None
    assert (end.host, end.notes) == ("host-1", ("host host-2 was lost: the node died",))
    rows = [(each.test.split("::")[1], each.outcome.value, each.attempt) for each in run.job(job.id).rows]
    assert rows == [("test_first", "PASS", 1), ("test_blocks", "INFRA", 1), ("test_blocks", "PASS", 2)]
    assert heard[-1].why.endswith("host host-2 was lost: the node died, while this test ran")


class TwoHosts:
    """As much of Ray as tells which hosts there are."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self._nodes = [
            {"NodeName": f"host-{number}", "Alive": True, "Resources": each}
            for number, each in enumerate(resources, 1)
        ]

    def nodes(self) -> list[dict[str, object]]:
        return [*self._nodes, {"NodeName": "gone", "Alive": False, "Resources": {"CPU": 64.0}}]

    def remote(self, function: object) -> object:
        return function


def host(*things: str, cores: int = 2, gigabytes: int = 4) -> dict[str, float]:
    return {"CPU": float(cores), "memory": float(gigabytes << 30), **dict.fromkeys(things, 1.0)}


def test_a_plan_that_no_host_can_run_is_refused_with_what_is_missing(world: World) -> None:
    plan = world.plan()
    (job,) = world.jobs(plan)
    machine = replace(job, target="vm:stand-in", memory_mib=3000)
    own, image, drill = needs(machine, plan)
    assert needs(job, plan).keys() == {own}
    assert needs(machine, replace(plan, not_drilled=NotDrilled.RUN)).keys() == {own, image}
    Cluster(TwoHosts(host(own), host(own, image, drill)), plan).check([job, machine])
    other = host("harness:another", image, drill)
    for hosts, why in (
        (TwoHosts(host(own, drill), other), f"host-1 lacks {image}; host-2 lacks {own}"),
        (TwoHosts(host(own, image)), f"host-1 lacks {drill}"),
        (TwoHosts(host(own, image, drill, gigabytes=2)), "host-1 has 2 cores and 2048 MiB"),
        (TwoHosts(), "no host is alive"),
    ):
        with pytest.raises(UsageError, match="can't run all of the plan") as caught:
            Cluster(hosts, plan).check([machine])
        assert why in str(caught.value)


def test_the_hosts_that_are_alive_are_the_capacity(world: World) -> None:
    plan = world.plan()
    (job,) = world.jobs(plan)
    machine = replace(job, target="vm:stand-in")
    own, *more = needs(machine, plan)
    cluster = Cluster(TwoHosts(host(own, cores=2), host(own, *more, cores=6, gigabytes=8)), plan)
    capacity = cluster.capacity([job, machine])
    assert (capacity.cores, capacity.memory_mib) == (8, 12 << 10)
    # Every host can run the one, and only the second the other.
    assert capacity.parts == {"vm:stand-in": Part("host-2", 6, 8 << 10)}
    assert cluster.capacity([job], 3).cores == 3


def test_a_plan_is_read_for_the_machines_that_hosts_have(world: World) -> None:
    file = world.root / "plan.toml"
    file.write_text('targets = ["vm:stand-in"]\nsuites = ["test_a.py"]\n')
    target = parse_target("vm:stand-in")
    image, drill = image_resource(find_recipe("stand-in")), drill_resource(target)

    def read(*things: str) -> Plan:
        hosts = (ClusterHost("a", {"CPU": 1.0}), ClusterHost("b", dict.fromkeys(things, 1.0)))
        return read_plan(file, machines=machines_of(hosts))

    with pytest.raises(ConfigError, match="no host of the cluster offers its image"):
        read(drill)
    with pytest.raises(ConfigError, match="no host of the cluster has drilled it"):
        read(image)
    assert read(image, drill).targets == ("vm:stand-in",)


def test_a_host_offers_the_images_that_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find_recipe("stand-in")
    for built in (True, False):
        monkeypatch.setattr("harness.matrix.cluster.offer.is_built", lambda each, built=built: built)
        assert (image_resource(recipe) in offer().things) is built
    assert offer(cores=3, memory_mib=77).cores == 3


def test_a_token_is_made_once_and_for_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ray" / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with pytest.raises(UsageError, match="no token for the cluster"):
        environment_for("10.0.0.1")
    assert make_token() == file
    token = file.read_text()
    assert len(token) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    make_token()
    assert file.read_text() == token
    assert environment_for("10.0.0.1")["RAY_AUTH_MODE"] == "token"


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
    found = ClusterHost("a", {"CPU": 2.0, "memory": float(2 << 30), "image:x": 1.0})
    assert (found.cores, found.memory_mib, found.things) == (2, 2048, ("image:x",))
    assert found.lacks({"image:x": 0.0001, "image:y": 0.0001}) == ("image:y",)
