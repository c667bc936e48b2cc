"""The host: libvirt inside this process, many machines, what is refused, what a killed process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError, InfrastructureError, UsageError
from harness.machine.describe.spec import Disk, DiskFormat, Firmware, MachineSpec, PanicModel
from harness.machine.disk.seal import seal
from tests.machine.tinyguest import TinyLine, tiny_hardware

if TYPE_CHECKING:
    from harness.machine.hypervisor.host import Host

Tiny = Callable[..., MachineSpec]
REPOSITORY = Path(__file__).resolve().parents[2]


def command_line(pid: int | None) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_qemu_is_sandboxed_without_display_or_network_and_by_nobody_elses_rights(
    host: Host, tiny: Tiny, tmp_path: Path
) -> None:
    with host.start(tiny()) as machine:
        arguments = command_line(machine.pid)
        assert Path(f"/proc/{machine.pid}").stat().st_uid == os.geteuid()
        status = Path(f"/proc/{machine.pid}/status").read_text()
        with pytest.raises(InfrastructureError, match="migrate"):
            machine.qmp("migrate", uri=f"exec:cat > {tmp_path}/shell")  # would start a shell
    # Older QEMU is ended for trying, QEMU 10 is told that it can't.
    assert machine.exit_code in {-signal.SIGSYS, 0}
    assert not (tmp_path / "shell").exists()
    assert "Seccomp:\t2" in status
    assert arguments[arguments.index("-sandbox") + 1].startswith("on,")
    assert arguments[arguments.index("-display") + 1] == "none"
    assert "-netdev" not in arguments


def test_machines_run_side_by_side_and_each_hears_its_own_events(host: Host, tiny: Tiny) -> None:
    hardware = tiny_hardware(panic=(PanicModel.ISA,))
    specs = [tiny(hardware=hardware) for _ in range(3)]
    with host.start(specs[0]) as one, host.start(specs[1]) as two, host.start(specs[2]) as three:
        for number, spec in enumerate(specs, start=1):
            with TinyLine(spec.channel_socket) as line:
                assert line.ask(f"add {number}") == f"sum {number}"
        two.reset()
        assert "RESET" not in {event.name for event in (*one.events, *three.events)}
        assert len({machine.pid for machine in (one, two, three)}) == 3


def test_several_threads_start_machines_at_once(host: Host, tiny: Tiny) -> None:
    answers: list[str] = []

    def run(spec: MachineSpec) -> None:
        with host.start(spec), TinyLine(spec.channel_socket) as line:
            answers.append(line.ask("ping"))

    threads = [threading.Thread(target=run, args=(tiny(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["pong 0"] * 3


def test_a_name_runs_once_at_a_time_and_can_be_used_again(host: Host, tiny: Tiny) -> None:
    spec = tiny()
    for _ in range(2):
        with host.start(spec), pytest.raises(InfrastructureError, match="already exists"):
            host.start(spec)


def test_a_machine_that_cannot_start_says_why_and_leaves_nothing(
    host: Host, tiny: Tiny, tmp_path: Path
) -> None:
    spec = tiny(disks=(Disk(tmp_path / "none.qcow2"),))
    with pytest.raises(InfrastructureError, match=rf"can't start machine {spec.name}: .*none\.qcow2"):
        host.start(spec)
    assert not [d for d in host.connection.listAllDomains() if d.name() == spec.name]
    with host.start(replace(spec, disks=())) as machine:  # its name and its folder are free
        assert machine.pid


def test_libvirts_errors_are_raised_and_not_printed(
    host: Host, tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InfrastructureError):
        host.start(tiny(disks=(Disk(tmp_path / "none.qcow2"),)))
    with host.start(tiny()):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_sealed_image_is_never_written_by_a_machine(host: Host, tiny: Tiny, tmp_path: Path) -> None:
    image = tmp_path / "image.img"
    image.write_bytes(bytes(1 << 20))
    seal(image)
    disk = Disk(image, DiskFormat.RAW)
    with pytest.raises(UsageError, match="is sealed"):
        host.start(tiny(disks=(disk,)))


def test_uefi_variables_are_made_from_the_hosts_template(host: Host, tiny: Tiny) -> None:
    hardware = tiny_hardware(machine="q35", firmware=Firmware.UEFI)
    spec = tiny(hardware=hardware)
    spec = replace(spec, firmware_variables=spec.folder / "vars.fd")
    with host.start(spec, paused=True) as machine:
        assert spec.firmware_variables
        assert spec.firmware_variables.stat().st_size > 1 << 16
        assert str(spec.firmware_variables) in machine.xml


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("qemu+ssh://elsewhere/system", "on another host"),
        ("xen:///system", "only QEMU"),
        ("test:///default", "only QEMU"),
    ],
)
def test_a_uri_that_cannot_work_is_refused_with_the_reason(tmp_path: Path, uri: str, said: str) -> None:
    from harness.machine.hypervisor.host import Host

    with pytest.raises(UsageError, match=said):
        Host.open(uri, root=tmp_path)


def test_a_libvirt_that_is_not_there_is_named(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.machine.hypervisor.host import Host as AnyHost

    monkeypatch.setenv("LIBVIRT_AUTOSTART", "0")
    with pytest.raises(
        InfrastructureError, match=r"can't connect to libvirt at qemu.*is its daemon running\?"
    ):
        AnyHost.open(f"qemu+unix:///system?socket={tmp_path}/none.sock", root=tmp_path)


def test_a_second_root_and_one_too_long_are_refused(host: Host, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a process of its own"):
        type(host).open(root=host.root.with_name("lw"))
    with pytest.raises(UsageError, match="bytes long"):
        type(host).open(root=tmp_path / ("x" * 80))


# -- a process that is killed --------------------------------------------------------------------------------

_HOLDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from harness.machine.hypervisor.host import Host
from harness.machine.describe.spec import MachineSpec
from tests.machine.tinyguest import tiny_boot, tiny_hardware
root, kernel, folder = map(Path, sys.argv[2:5])
host = Host.open(root=root)
machine = host.start(MachineSpec("held", tiny_hardware(), folder, boot=tiny_boot(kernel)))
print(machine.pid, flush=True)
sys.stdin.read()
host.close()
"""


def hold(root: Path, kernel: Path, folder: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(REPOSITORY), str(root), str(kernel), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, int(process.stdout.readline())


def gone(pid: int) -> bool:
    """No process, or one that has ended and that PID 1 has yet to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_machine_left_by_a_killed_process_is_ended_by_the_next_in_its_root(
    host: Host, short_folder: Path, tiny_kernel: Path
) -> None:
    root, folder = short_folder / "killed", short_folder / "killed-m"
    first, left = hold(root, tiny_kernel, folder)
    with first:
        first.send_signal(signal.SIGKILL)
    assert not gone(left)
    orphan = threading.Thread(target=os.waitpid, args=(left, 0))  # this process is a subreaper, so it got it
    orphan.start()
    second, new = hold(
        root, tiny_kernel, folder
    )  # the same name: it would be refused, were the old one there
    orphan.join()
    with second:
        second.communicate("")
    assert gone(new)


def test_two_processes_do_not_share_a_root(host: Host, short_folder: Path, tiny_kernel: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _HOLDER,
            str(REPOSITORY),
            str(host.root),
            str(tiny_kernel),
            str(short_folder / "x"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert HarnessError.__module__ in done.stderr
    assert "can't connect to libvirt" in done.stderr


def test_a_process_may_open_its_host_any_number_of_times(host: Host, tiny: Tiny) -> None:
    """libvirt has room for sixteen registrations of its drivers in a process; hosts share one."""
    from harness.machine.hypervisor.host import Host

    for _ in range(20):
        with Host.open(root=host.root) as again:
            assert again.connection.isAlive()
    with host.start(tiny()) as machine:
        assert machine.running
