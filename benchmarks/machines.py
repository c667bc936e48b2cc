"""`make bench`, second part: how fast machines are reverted and talked to, side by side in one run.

Reverts are of the tests' tiny guest, whose RAM has any size; channels are measured on the stand-in. That has
no WinRM server: the tests' endpoint speaks the protocol and passes commands on over SSH, which every figure
of WinRM here includes.

python benchmarks/machines.py [revert] [memory] [channels] [bulk]   default: these; soak: 200 reverts
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("HARNESS_CACHE", str(Path.home() / ".cache" / "regfilter-harness"))

from benchmarks.measure import Measure, show
from harness.guests import Guests, GuestSettings
from harness.machine.admission import own_memory
from harness.machine.clone import Clone
from harness.machine.disks import create_overlay
from harness.machine.guest import MachineGuest
from harness.machine.host import Host
from harness.machine.machine import Machine
from harness.machine.pool import ClonePool
from harness.machine.reverts import Revert, reverts_by_pool, reverts_by_template
from harness.machine.session import Session
from harness.machine.spec import Accelerator, Disk, DiskBus, DiskFormat, SealedImage
from harness.machine.template import Template, machine_spec
from harness.targets import parse_target
from tests.channel.winrm_service import Command
from tests.machine.tinyguest import TinyLine, build, tiny_boot, tiny_hardware

ROUNDS = 7
REVERTS = 3  # of libvirt's own snapshots, each takes seconds
CLONES = 4
BULK = 100 << 20
SOAK = 200
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

        with Template.open(
            self.image(memory_mib),
            session=self._session,
            host=self._host,
            ready=ready,
            accelerator=Accelerator.TCG,
        ) as template:
            yield template

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
    from harness.registry.paths import MACHINE
    from harness.workload import Registry

    registry = Registry(guest)
    begin = time.perf_counter()
    with registry.program() as p:
        key = p.open_key(MACHINE / "Software" / "Microsoft" / "Windows NT" / "CurrentVersion")
        value = p.query_value(key, "CurrentBuild")
    took = time.perf_counter() - begin
    assert value.succeeded
    return took


def pass_to(guest: MachineGuest, command: Command) -> int:
    """What the endpoint is told to run, run in the guest."""
    done = guest.channel.execute(["cmd.exe", "/c", command.line])
    command.write_stdout(done.stdout)
    command.write_stderr(done.stderr)
    return done.exit_code


def channels() -> Iterator[Measure]:
    """The same task by each channel: read one value of the registry."""
    import winrm

    from harness.channel.ssh import SshChannel
    from tests.channel.winrm_endpoint import WinRmEndpoint

    with stand_in("serial") as guest:
        from harness.workload import Registry

        Registry(guest).set_up()
        read_by_program(guest)
        serial = median(lambda: read_by_program(guest))
    yield Measure("read a registry value: serial, a program", serial * 1000, "ms")
    with stand_in("ssh") as guest:
        assert isinstance(guest.channel, SshChannel)
        client = guest.channel._client

        def run_ssh() -> float:
            begin = time.perf_counter()
            _, out, _ = client.exec_command(" ".join(f'"{word}"' if " " in word else word for word in READ))
            assert b"CurrentBuild" in out.read()
            return time.perf_counter() - begin

        run_ssh()
        ssh = median(run_ssh)
        yield Measure("the same: paramiko, exec of reg.exe", ssh * 1000, "ms")
        yield Measure("serial against paramiko", ssh / serial, "x", 10)
        with WinRmEndpoint(lambda command: pass_to(guest, command), "user", "password") as endpoint:
            session = winrm.Session(endpoint.url, auth=("user", "password"), transport="ntlm")

            def run_winrm() -> float:
                begin = time.perf_counter()
                assert b"CurrentBuild" in session.run_cmd(READ[0], list(READ[1:])).std_out
                return time.perf_counter() - begin

            run_winrm()
            by_winrm = median(run_winrm)
    yield Measure("the same: pywinrm, run_cmd of reg.exe", by_winrm * 1000, "ms")
    yield Measure("serial against pywinrm", by_winrm / serial, "x", 20)


def bulk() -> Iterator[Measure]:
    data = os.urandom(1 << 20) * (BULK >> 20)
    for channel in ("serial", "ssh"):
        with stand_in(channel) as guest:
            begin = time.perf_counter()
            guest.put(r"C:\harness\bulk.bin", data)
            yield Measure(f"100 MB into the guest, {channel}", time.perf_counter() - begin, "s")


def soak() -> Iterator[Measure]:
    """Reverts of the stand-in in a row; each clone must answer, and find nothing of the one before."""
    left = r"C:\harness\left-behind.txt"
    clean = 0
    with Guests() as guests:
        for _ in range(SOAK):
            with guests.boot(parse_target(STAND_IN)) as guest:
                asked = guest.execute(["cmd.exe", "/c", f"if exist {left} exit 7"])
                guest.put(left, b"left")
                clean += asked.exit_code == 0
    yield Measure(f"clean answers of {SOAK} reverts", clean, "", SOAK)


PARTS = {"revert": revert, "memory": memory, "channels": channels, "bulk": bulk}
#: Only when it is named: it takes minutes and measures nothing.
ON_REQUEST = {"soak": soak}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(PARTS)
    PARTS |= ON_REQUEST
    show(PARTS[name] for name in chosen)
