"""`make bench`, second part: how fast machines are reverted and talked to, side by side in one run.

Reverts are of the tests' tiny guest, whose RAM has any size; channels are measured on the stand-in. That has
no WinRM server: the tests' endpoint speaks the protocol and passes commands on over SSH, which every figure
of WinRM here includes.

python benchmarks/machines.py [revert] [memory] [channels] [bulk]   default: all
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("HARNESS_CACHE", str(Path.home() / ".cache" / "regfilter-harness"))

import paramiko
import winrm

from benchmarks.measure import Measure, show
from harness.channel.access import WinRmAccess
from harness.channel.base import Channel
from harness.channel.deadline import Deadline
from harness.channel.ssh_connect import connect_ssh
from harness.channel.winrm import WinRmChannel
from harness.guests import Guests, GuestSettings
from harness.machine.clones.admission import own_memory
from harness.machine.clones.clone import Clone
from harness.machine.clones.pool import ClonePool
from harness.machine.clones.reverts import Revert, reverts_by_pool, reverts_by_template
from harness.machine.clones.template import Template, machine_spec
from harness.machine.describe.spec import Accelerator, Disk, DiskBus, DiskFormat, SealedImage
from harness.machine.disk.disks import create_overlay
from harness.machine.guest import MachineGuest
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.session import Session
from harness.machine.keep.store import TemplateStore
from harness.registry.paths import MACHINE
from harness.targets import parse_target
from harness.workload import Registry
from tests.channel.winrm_endpoint import WinRmEndpoint
from tests.machine.stand_in_winrm import OverSsh, ssh_access
from tests.machine.tinyguest import TinyLine, build, tiny_boot, tiny_hardware

ROUNDS = 7
REVERTS = 3  # of libvirt's own snapshots, each takes seconds
CLONES = 4
BULK = 100_000_000
STAND_IN = "vm:stand-in"


def median(work: Callable[[], float], rounds: int = ROUNDS) -> float:
    return statistics.median(work() for _ in range(rounds))


def middle(reverts: Iterable[Revert]) -> float:
    return statistics.median(each.seconds for each in reverts)


def answers(machine: Machine) -> None:
    with TinyLine(machine.spec.channel_socket) as line:
        line.ask("ping")


class Reverts:
    """The tiny guest with some size of RAM, 60% of it written, as a template."""

    def __init__(self, stack: ExitStack) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rf-bench-")))
        self._session = stack.enter_context(Session.open())
        self._host = stack.enter_context(Host.open(root=self._session.libvirt_root))
        self._kernel = build(self._folder)
        self._disk = self._folder / "disk.raw"
        self._disk.write_bytes(bytes(1 << 20))

    def image(self, memory_mib: int) -> SealedImage:
        hardware = tiny_hardware(disk_bus=DiskBus.IDE, memory_mib=memory_mib)
        salt = f"bench {memory_mib} {os.getpid()}"
        return SealedImage(
            name=f"bench{memory_mib}",
            digest=hashlib.sha256(salt.encode()).hexdigest(),
            hardware=hardware,
            disks=(Disk(self._disk, DiskFormat.RAW),),
            boot=tiny_boot(self._kernel, hardware),
            boot_seconds=120,
        )

    @contextmanager
    def template(self, memory_mib: int) -> Iterator[Template]:
        def ready(machine: Machine) -> None:
            with TinyLine(machine.spec.channel_socket) as line:
                line.ask(f"dirty {memory_mib * 6 // 10}")

        image = self.image(memory_mib)
        try:
            with Template.open(
                image,
                session=self._session,
                host=self._host,
                ready=ready,
                accelerator=Accelerator.TCG,
            ) as template:
                yield template
        finally:  # no other run has this image
            store = TemplateStore(self._session.places)
            folder = store.folder(image.digest)
            store.discard(folder, store.ram_files(folder))

    def snapshot_seconds(self, memory_mib: int) -> float:
        """What `virsh snapshot-revert` does, on the same guest: libvirt's revertToSnapshot."""
        image = self.image(memory_mib)
        folder = self._session.machine_folder(name := self._session.new_name("s"))
        overlay = folder / "disk.qcow2"
        create_overlay(overlay, image.disks[0].path, image.disks[0].format)
        spec = machine_spec(
            image,
            name=name,
            folder=folder,
            disks=(replace(image.disks[0], path=overlay, format=DiskFormat.QCOW2),),
            accelerator=Accelerator.TCG,
        )
        with self._host.start(spec) as machine:
            with TinyLine(spec.channel_socket) as line:
                line.ask(f"dirty {memory_mib * 6 // 10}")
            snapshot = machine.domain.snapshotCreateXML("<domainsnapshot><name>clean</name></domainsnapshot>")

            def revert() -> float:
                begin = time.perf_counter()
                machine.domain.revertToSnapshot(snapshot)
                answers(machine)
                return time.perf_counter() - begin

            took = median(revert, REVERTS)
            snapshot.delete()
        return took


def revert() -> Iterator[Measure]:
    with ExitStack() as stack:
        reverts = Reverts(stack)
        found: dict[int, float] = {}
        for memory in (1024, 2048, 4096):
            with reverts.template(memory) as template:
                found[memory] = middle(reverts_by_template(template, answers, ROUNDS))
                yield Measure(
                    f"revert to answer, {memory >> 10} GiB, libvirt", found[memory], "s", 0.4, False
                )
                with ClonePool(template, size=1) as pool:
                    pooled = middle(reverts_by_pool(pool, answers, ROUNDS))
                yield Measure(f"revert to answer, {memory >> 10} GiB, pool", pooled, "s", 0.1, False)
        yield Measure("4 GiB over 1 GiB, through libvirt", found[4096] / found[1024], "x", 1.5, False)
        snapshot = reverts.snapshot_seconds(1024)
        yield Measure("libvirt's own snapshot revert, 1 GiB", snapshot, "s")
        yield Measure("a clone against it", snapshot / found[1024], "x", 4)


def memory() -> Iterator[Measure]:
    with ExitStack() as stack:
        template = stack.enter_context(Reverts(stack).template(2048))
        clones = [stack.enter_context(Clone.start(template)) for _ in range(CLONES)]
        for clone in clones:
            answers(clone.resume())
        used = sum(own_memory(clone.machine.pid or 0) for clone in clones)
        yield Measure("memory of 4 clones of a 2 GiB guest", used / (1 << 20), "MiB", 1024, False)


@contextmanager
def stand_in(channel: str) -> Iterator[MachineGuest]:
    with Guests(GuestSettings(channel=channel)) as guests, guests.boot(parse_target(STAND_IN)) as guest:
        assert isinstance(guest, MachineGuest)
        yield guest


READ = ("reg.exe", "query", r"HKLM\Software\Microsoft\Windows NT\CurrentVersion", "/v", "CurrentBuild")


def read_by_program(guest: MachineGuest) -> float:
    """One registry value, by a program of the runner."""
    registry = Registry(guest)
    begin = time.perf_counter()
    with registry.program() as p:
        key = p.open_key(MACHINE / "Software" / "Microsoft" / "Windows NT" / "CurrentVersion")
        value = p.query_value(key, "CurrentBuild")
    took = time.perf_counter() - begin
    assert value.succeeded
    return took


def timed(work: Callable[[], bytes]) -> Callable[[], float]:
    """Seconds of a round trip whose answer has the value that was asked for."""

    def run() -> float:
        begin = time.perf_counter()
        answer = work()
        took = time.perf_counter() - begin
        assert b"CurrentBuild" in answer, answer
        return took

    run()  # what runs first in the guest starts what the others find there
    return run


@contextmanager
def over_ssh(guest: MachineGuest) -> Iterator[paramiko.SSHClient]:
    client = connect_ssh(ssh_access(guest), Deadline.after(60))
    try:
        yield client
    finally:
        client.close()


def channels() -> Iterator[Measure]:
    """The same task by each channel: read one value of the registry."""
    with stand_in("serial") as guest:
        Registry(guest).set_up()
        read_by_program(guest)
        serial = median(lambda: read_by_program(guest))
        yield Measure("read a registry value: serial, a program", serial * 1000, "ms")

        by_command = median(timed(lambda: guest.execute(READ).stdout))
        yield Measure("the same: serial, reg.exe", by_command * 1000, "ms")

        # Neither of the two quotes arguments; both hand over a command line.
        line = subprocess.list2cmdline(READ)
        with over_ssh(guest) as client:
            ssh = median(timed(lambda: bytes(client.exec_command(line)[1].read())))
            yield Measure("the same: paramiko, exec of reg.exe", ssh * 1000, "ms")
            yield Measure("serial against paramiko", ssh / serial, "x", 10)
            with WinRmEndpoint(OverSsh(client), "user", "password") as endpoint:
                session = winrm.Session(endpoint.url, auth=("user", "password"), transport="ntlm")
                by_winrm = median(timed(lambda: bytes(session.run_cmd(line).std_out)))
        yield Measure("the same: pywinrm, run_cmd of reg.exe", by_winrm * 1000, "ms")
        yield Measure("serial against pywinrm", by_winrm / serial, "x", 20)


@contextmanager
def winrm_channel(guest: MachineGuest) -> Iterator[Channel]:
    """The harness's WinRM channel into the stand-in, through the tests' endpoint."""
    with ExitStack() as stack:
        client = stack.enter_context(over_ssh(guest))
        endpoint = stack.enter_context(WinRmEndpoint(OverSsh(client), "user", "password"))
        secret = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rf-bench-"))) / "password"
        secret.touch(0o600)
        secret.write_text("password")
        access = WinRmAccess("127.0.0.1", "user", secret, port=endpoint.port)
        yield stack.enter_context(WinRmChannel.connect(access))


def bulk() -> Iterator[Measure]:
    """100 MB that can't be compressed, into a file of the guest; every channel compares digests."""
    data = os.urandom(BULK)
    path = r"C:\harness\bulk.bin"

    def seconds(put: Callable[[], object]) -> float:
        begin = time.perf_counter()
        put()
        return time.perf_counter() - begin

    for channel in ("serial", "ssh"):
        with stand_in(channel) as guest:
            took = seconds(lambda guest=guest: guest.put(path, data, by_disc=False))  # type: ignore[misc]
            yield Measure(f"100 MB into the guest: {channel}", took, "s")
    with stand_in("serial") as guest:
        yield Measure("100 MB: disc", seconds(lambda: guest.put(path, data, by_disc=True)), "s")
    with stand_in("serial") as guest, winrm_channel(guest) as channel:
        took = seconds(lambda: channel.put(path, data, timeout=1800))
        yield Measure("100 MB: WinRM, parts side by side", took, "s")


PARTS = {"revert": revert, "memory": memory, "channels": channels, "bulk": bulk}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(PARTS)
    show(PARTS[name] for name in chosen)
