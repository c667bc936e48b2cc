"""A machine's life, with a real QEMU: start, ask, stop, crash, end, and what is asked of it from outside."""

from __future__ import annotations

import os
import queue
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.machine.describe.spec import (
    Disk,
    DiskBus,
    DiskFormat,
    Forward,
    MachineSpec,
    Nic,
    PanicModel,
    Removable,
)
from harness.machine.hypervisor.events import EventKind, MachineEvent
from harness.machine.hypervisor.machine import DumpKind, MachineState
from tests.machine.tinyguest import TinyLine, tiny_hardware

if TYPE_CHECKING:
    from harness.machine.hypervisor.host import Host

Tiny = Callable[..., MachineSpec]
#: Seconds that only a failing test waits for.
LONG = 300.0


def test_a_guest_answers_and_goes_with_its_machine(host: Host, tiny: Tiny) -> None:
    spec = tiny()
    with host.start(spec) as machine:
        with TinyLine(spec.channel_socket) as line:
            assert line.ask("add 5") == "sum 5"
        assert machine.state is MachineState.RUNNING
        pid = machine.pid
    assert machine.state is MachineState.SHUT_OFF
    assert not Path(f"/proc/{pid}").exists()
    assert machine.events[-1].kind is EventKind.EXIT
    machine.destroy()


def test_it_stands_still_until_resumed(host: Host, tiny: Tiny) -> None:
    spec = tiny()
    with host.start(spec, paused=True) as machine:
        assert machine.state is MachineState.PAUSED
        assert spec.debug_log.read_bytes() == b""
        machine.resume()
        with TinyLine(spec.channel_socket) as line:
            machine.suspend()
            assert machine.state is MachineState.PAUSED
            line.send("ping")
            machine.resume()
            assert line.ask("echo x") == "pong 0"
    assert spec.debug_log.read_bytes() == b"tiny: ready\n"


def test_the_power_button_ends_a_guest_that_obeys(host: Host, tiny: Tiny) -> None:
    spec = tiny()
    with host.start(spec) as machine:
        with TinyLine(spec.channel_socket):
            pass
        machine.shutdown(LONG)
        assert machine.state is MachineState.SHUT_OFF
        assert EventKind.SHUTDOWN in {event.kind for event in machine.events}
        machine.shutdown(LONG)


def test_a_guest_that_ignores_the_power_button_is_said_to(host: Host, tiny: Tiny) -> None:
    spec = tiny()
    with host.start(spec) as machine, TinyLine(spec.channel_socket) as line:
        assert line.ask("stubborn") == "stubborn"
        with pytest.raises(InfrastructureError, match=r"waited for exit for 0.5 s in vain"):
            machine.shutdown(0.5)
        machine.wait_for(EventKind.POWERDOWN, timeout=LONG)
        with pytest.raises(InfrastructureError, match="powerdown"):
            machine.shutdown(0.0)
        assert machine.state is MachineState.RUNNING


def test_a_guest_that_switches_itself_off_is_gone(host: Host, tiny: Tiny) -> None:
    spec = tiny()
    with host.start(spec) as machine, TinyLine(spec.channel_socket) as line:
        line.send("off")
        assert machine.wait_for(EventKind.EXIT, timeout=LONG).name == "shutdown"
        assert machine.state is MachineState.SHUT_OFF


def test_a_panic_is_told_and_the_machine_stays_for_a_look(host: Host, tiny: Tiny) -> None:
    spec = tiny(hardware=tiny_hardware(panic=(PanicModel.ISA,)))
    with host.start(spec) as machine, TinyLine(spec.channel_socket) as line:
        heard: queue.Queue[MachineEvent] = queue.Queue()
        machine.subscribe(heard.put)
        line.send("pvpanic")
        event = machine.wait_for(EventKind.PANIC, timeout=LONG)
        assert event.panic is not None
        assert event.panic.code is None  # pvpanic knows that, not what
        assert heard.get(timeout=LONG) == event
        machine.wait_for(EventKind.SUSPENDED, timeout=LONG)
        assert machine.state is MachineState.CRASHED
        assert machine.screenshot(spec.folder / "dead.png").read_bytes().startswith(b"\x89PNG")
        assert machine.memory_dump(spec.folder / "dead.dmp", timeout=LONG) is DumpKind.ELF


@pytest.mark.parametrize("command", ["fault", "reset"])
def test_a_reset_from_inside_is_told_and_the_guest_starts_anew(host: Host, tiny: Tiny, command: str) -> None:
    spec = tiny()
    with host.start(spec) as machine:
        with TinyLine(spec.channel_socket) as line:
            assert line.ask("add 1") == "sum 1"
            line.send(command)
            assert machine.wait_for(EventKind.RESET, timeout=LONG).data["guest"] is True
        with TinyLine(spec.channel_socket) as line:
            assert line.ask("ping") == "pong 0"


def test_a_reset_from_outside_is_told_apart(host: Host, tiny: Tiny) -> None:
    spec = tiny()
    with host.start(spec) as machine:
        mark = machine.events_seen
        machine.reset()
        assert machine.wait_for(EventKind.RESET, timeout=LONG, since=mark).data["guest"] is False


def test_a_qemu_that_dies_is_told(host: Host, tiny: Tiny) -> None:
    with host.start(tiny()) as machine:
        assert machine.pid
        os.kill(machine.pid, signal.SIGKILL)
        assert machine.wait_for(EventKind.EXIT, timeout=LONG).name in {"failed", "crashed"}
        assert machine.state is MachineState.SHUT_OFF
        with pytest.raises(InfrastructureError, match="ended"):
            machine.wait_for(EventKind.PANIC, timeout=LONG)
        with pytest.raises(InfrastructureError, match=machine.name):
            machine.qmp("query-status")
    assert machine.exit_code == -signal.SIGKILL


def test_a_listener_that_fails_or_has_left_disturbs_nobody(
    host: Host, tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    with host.start(tiny(), paused=True) as machine:
        heard: queue.Queue[MachineEvent] = queue.Queue()
        left: list[MachineEvent] = []

        def fail(event: MachineEvent) -> None:
            raise ValueError("a listener's mistake")

        machine.subscribe(fail)
        machine.subscribe(left.append)()
        machine.subscribe(heard.put)
        machine.resume()
        while heard.get(timeout=LONG).kind is not EventKind.RESUMED:
            pass
        assert not left
    assert "a listener failed" in caplog.text


# -- the monitor ---------------------------------------------------------------------------------------------


def test_qemus_monitor_answers_and_its_refusals_name_the_command(host: Host, tiny: Tiny) -> None:
    with host.start(tiny(), paused=True) as machine:
        assert machine.qmp("query-status")["running"] is False
        assert machine.qmp("human-monitor-command", **{"command-line": "info version"})
        assert "COM" not in machine.hmp("info version")
        with pytest.raises(InfrastructureError, match=r"QEMU refused device_del: .*nothing.*see .*\.log"):
            machine.qmp("device_del", id="nothing")


def test_a_descriptor_goes_to_qemu(host: Host, tiny: Tiny) -> None:
    with host.start(tiny(), paused=True) as machine, Path(os.devnull).open() as file:
        machine.qmp("getfd", fdname="one", files=[file.fileno()])
        machine.qmp("closefd", fdname="one")
        with pytest.raises(InfrastructureError, match="closefd"):
            machine.qmp("closefd", fdname="one")


# -- from outside --------------------------------------------------------------------------------------------


def test_a_forwarded_port_is_open_on_loopback_alone(host: Host, tiny: Tiny) -> None:
    spec = tiny(hardware=tiny_hardware(nic=Nic.RTL8139), forwards=(Forward(22), Forward(5986)))
    with host.start(spec) as machine:
        ports = {machine.forwarded_port(22), machine.forwarded_port(5986)}
        assert len(ports) == 2
        for port in ports:
            socket.create_connection(("127.0.0.1", port), timeout=LONG).close()
            with socket.socket() as other:  # taken on loopback, and there only
                other.bind(("127.0.0.2", port))
        with pytest.raises(UsageError, match="not among its forwards"):
            machine.forwarded_port(80)


def test_a_disc_is_changed_while_it_runs(host: Host, tiny: Tiny, tmp_path: Path) -> None:
    discs = [tmp_path / "one.iso", tmp_path / "two & more.iso"]
    for disc in discs:
        disc.write_bytes(bytes(4096))
    with host.start(tiny(removable=(Removable(discs[0]),)), paused=True) as machine:

        def inserted() -> list[str]:
            found = [drive.get("inserted") for drive in machine.qmp("query-block")]
            return [medium["file"] for medium in found if medium]

        assert inserted() == [str(discs[0])]
        machine.change_disc(discs[1])
        assert inserted() == [str(discs[1])]
        machine.change_disc(None)
        assert inserted() == []
        with pytest.raises(UsageError, match="has 1 CD drives"):
            machine.change_disc(None, drive=1)
        with pytest.raises(InfrastructureError, match=r"can't change the disc to .*three\.iso"):
            machine.change_disc(tmp_path / "three.iso")


def test_what_a_guest_writes_goes_to_its_disk(host: Host, tiny: Tiny, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    hardware = tiny_hardware(disk_bus=DiskBus.IDE)
    spec = tiny(hardware=hardware, disks=(Disk(disk, DiskFormat.RAW),))
    with host.start(spec), TinyLine(spec.channel_socket) as line:
        assert line.ask("write 2 hello") == "written"
        assert line.ask("read 2") == "read hello"
    assert disk.read_bytes()[1024:1029] == b"hello"


def test_keys_are_pressed_and_unknown_ones_refused(host: Host, tiny: Tiny) -> None:
    with host.start(tiny()) as machine:
        machine.send_keys("ctrl", "alt", "delete")
        with pytest.raises(InfrastructureError, match="send-key"):
            machine.send_keys("warp")
        with pytest.raises(UsageError, match="QEMU's names"):
            machine.send_keys("a b")


def test_a_memory_dump_holds_the_guests_memory(host: Host, tiny: Tiny, tmp_path: Path) -> None:
    spec = tiny()
    with host.start(spec) as machine, TinyLine(spec.channel_socket) as line:
        marker = "echo " + "needle" * 10
        line.ask(marker)
        assert machine.memory_dump(tmp_path / "dump", DumpKind.ELF, timeout=LONG) is DumpKind.ELF
        content = (tmp_path / "dump").read_bytes()
        assert content.startswith(b"\x7fELF")
        assert marker.encode() in content
        with pytest.raises(InfrastructureError, match="no win-dmp memory dump"):
            machine.memory_dump(tmp_path / "windows", DumpKind.WINDOWS, timeout=LONG)
        assert line.ask("ping") == "pong 0"  # it runs on
