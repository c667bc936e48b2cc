"""A running machine: its life, its monitor, what can be asked of it from outside.

Nothing here needs the guest's help. Talking to the guest is a channel's business; judging it a watcher's.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from xml.etree.ElementTree import Element, SubElement, tostring

from harness.errors import InfrastructureError, UsageError
from harness.machine.describe.drives import DriveKind, lay_out
from harness.machine.describe.spec import MachineSpec
from harness.machine.hypervisor.eventlog import EventLog
from harness.machine.hypervisor.events import EventKind, MachineEvent, Subscriber
from harness.machine.hypervisor.libvirt_api import is_gone, libvirt, libvirt_qemu, translated
from harness.machine.hypervisor.reaper import Reaper
from harness.machine.hypervisor.waits import waits

__all__ = ["DumpKind", "Machine", "MachineState"]

_DESTROY_SECONDS: Final = 30.0
_LAST_EVENT_SECONDS: Final = 5.0
_FORWARD: Final = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)\s")
_KEY: Final = re.compile(r"[a-z0-9_]{1,32}")


class MachineState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    CRASHED = "crashed"  # its panic device was told; it stays, stopped
    SHUT_OFF = "shut off"  # also: gone


class DumpKind(StrEnum):
    """Formats of a memory dump, by QEMU's names."""

    WINDOWS = (
        "win-dmp"  # for Windows debuggers; the guest must have told QEMU how (virtio-win's fwcfg driver)
    )
    ELF = "elf"  # any guest; physical memory and the registers of each processor


class Machine:
    """One domain; a context manager that ends it. Made by `Host.start`.

    Every libvirt or QEMU error is an `InfrastructureError`. Safe for several threads.
    """

    def __init__(
        self,
        spec: MachineSpec,
        domain: Any,
        log: EventLog,
        *,
        pid: int | None,
        reaper: Reaper,
        qemu_log: Path,
        resources: ExitStack,
    ) -> None:
        self.spec = spec
        self.domain = domain
        #: Where QEMU's own output goes: its command line, warnings, why it ended.
        self.qemu_log = qemu_log
        self._log = log
        self._pid = pid
        self._reaper = reaper
        self._resources = resources

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """QEMU's process, where libvirt runs it on this host and lets it be known."""
        return self._pid

    @property
    def exit_code(self) -> int | None:
        """How QEMU ended, negative for a signal; None while it runs or when it isn't this process's child."""
        return self._reaper.exit_code

    @property
    def state(self) -> MachineState:
        try:
            state, _ = self.domain.state()
        except libvirt.libvirtError as error:
            if is_gone(error):
                return MachineState.SHUT_OFF
            raise InfrastructureError(
                f"machine {self.name}: can't be asked for its state: {error}"
            ) from error
        found = _STATES.get(state, MachineState.SHUT_OFF)
        # libvirt takes note of a panic a moment after QEMU has told it and stopped.
        return MachineState.CRASHED if found is MachineState.PAUSED and self._panicked() else found

    def _panicked(self) -> bool:
        turns = {EventKind.PANIC, EventKind.RESUMED, EventKind.RESET}
        last = next((event.kind for event in reversed(self.events) if event.kind in turns), None)
        return last is EventKind.PANIC

    @property
    def running(self) -> bool:
        """Whether its processors run: neither paused, crashed nor gone."""
        return self.state is MachineState.RUNNING

    def waits(self) -> dict[int, float]:
        """Seconds that each of QEMU's threads has waited for the host: `harness.machine.hypervisor.waits`."""
        return waits(self.pid)

    @property
    def xml(self) -> str:
        """The domain as libvirt runs it, with every address it chose."""
        with translated(f"machine {self.name}: can't get its description"):
            return str(self.domain.XMLDesc())

    # -- the monitor -----------------------------------------------------------------------------------------

    def qmp(self, command: str, /, *, files: Sequence[int] = (), **arguments: Any) -> Any:
        """One command to QEMU's monitor; its "return".

        Arguments have QEMU's names, hyphens and all: ``qmp("send-key", **{"hold-time": 50, "keys": keys})``.
        `files` are descriptors that go along, for `getfd` and `add-fd`. QEMU is sandboxed and can't start
        programs: migrate to and from a file by ``qmp("getfd", fdname="f", files=[fd])`` and ``uri="fd:f"``.
        """
        text = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        with translated(f"machine {self.name}: QEMU's monitor, {command}"):
            if files:
                answer, _ = libvirt_qemu.qemuMonitorCommandWithFiles(self.domain, text, list(files))
            else:
                answer = libvirt_qemu.qemuMonitorCommand(self.domain, text, 0)
        reply = json.loads(answer)
        if "error" in reply:
            description = reply["error"].get("desc", reply["error"])
            raise InfrastructureError(
                f"machine {self.name}: QEMU refused {command}: {description}; see {self.qemu_log}"
            )
        return reply.get("return")

    def hmp(self, line: str) -> str:
        """One line to the monitor for people, whose answer is text; for what QMP lacks."""
        arguments: dict[str, Any] = {"command-line": line}
        return str(self.qmp("human-monitor-command", **arguments))

    # -- events ----------------------------------------------------------------------------------------------

    @property
    def events(self) -> tuple[MachineEvent, ...]:
        """What happened so far, oldest first."""
        return self._log.events

    @property
    def events_seen(self) -> int:
        """A mark for `wait_for`: taken before an action, it leaves out what happened before."""
        return self._log.seen

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every event from now on, in libvirt's thread; returns what ends that."""
        return self._log.subscribe(subscriber)

    def wait_for(self, *kinds: EventKind, timeout: float, since: int = 0) -> MachineEvent:
        """The first event of one of `kinds` after the first `since`; `EventLog.wait_for`."""
        return self._log.wait_for(*kinds, timeout=timeout, since=since)

    # -- life ------------------------------------------------------------------------------------------------

    def suspend(self) -> None:
        """Stop the processors; the machine keeps everything."""
        with translated(f"can't suspend machine {self.name}"):
            self.domain.suspend()

    def resume(self) -> None:
        with translated(f"can't resume machine {self.name}"):
            self.domain.resume()

    def reset(self) -> None:
        """The reset button: RAM is kept as it is, the firmware starts anew."""
        with translated(f"can't reset machine {self.name}"):
            self.domain.reset(0)

    def shutdown(self, timeout: float) -> None:
        """Press the power button and wait until the guest has switched itself off, `timeout` seconds at most.

        Raises `InfrastructureError` when it hasn't; the machine runs on then.
        """
        mark = self._log.seen
        if self.state is not MachineState.SHUT_OFF:
            with translated(f"can't shut down machine {self.name}"):
                self.domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            self._log.wait_for(EventKind.EXIT, timeout=timeout, since=mark)
        self.destroy()

    def destroy(self) -> None:
        """End the machine at once, with all that belongs to it. May be called again."""
        try:
            self.domain.destroy()
        except libvirt.libvirtError as error:
            if not is_gone(error):
                raise InfrastructureError(
                    f"can't end machine {self.name}: {error}; end process {self.pid}, or use `harness clean`"
                ) from error
        self._reaper.join(_DESTROY_SECONDS)
        with suppress(InfrastructureError):
            self._log.wait_for(EventKind.EXIT, timeout=_LAST_EVENT_SECONDS)
        self._resources.close()

    # -- from outside ----------------------------------------------------------------------------------------

    def screenshot(self, path: Path) -> Path:
        """What the display shows, as a PNG file. Works on a stopped or crashed machine too."""
        self.qmp("screendump", filename=str(path.absolute()), format="png")
        return path

    def memory_dump(self, path: Path, kind: DumpKind | None = None, *, timeout: float = 600.0) -> DumpKind:
        """Write the guest's memory to `path`; returns the format it got.

        `kind` None is the Windows format where the guest supports it, ELF otherwise.
        """
        if kind is None:
            try:
                return self.memory_dump(path, DumpKind.WINDOWS, timeout=timeout)
            except InfrastructureError:  # most guests haven't got the driver
                return self.memory_dump(path, DumpKind.ELF, timeout=timeout)
        # Never by QMP: libvirt 9.0 falls over QEMU's event about the end of a dump that it did not start.
        overdue = threading.Timer(timeout, self._abort)
        overdue.start()
        try:
            with translated(f"machine {self.name}: no {kind} memory dump to {path} within {timeout:g} s"):
                self.domain.coreDumpWithFormat(
                    str(path.absolute()), _DUMP_FORMATS[kind], libvirt.VIR_DUMP_MEMORY_ONLY
                )
        finally:
            overdue.cancel()
        return kind

    def _abort(self) -> None:
        with suppress(libvirt.libvirtError):
            self.domain.abortJob()

    def forwarded_port(self, guest_port: int) -> int:
        """The port of 127.0.0.1 that leads to `guest_port`; QEMU chose it where the description doesn't."""
        ports = {int(guest): int(host) for host, guest in _FORWARD.findall(self.hmp("info usernet") + "\n")}
        if guest_port not in ports:
            raise UsageError(f"machine {self.name}: the guest's port {guest_port} is not among its forwards")
        return ports[guest_port]

    def change_disc(self, path: Path | None, *, drive: int = 0) -> None:
        """Put another disc into the CD drive number `drive`, or take it out. A locked tray is forced open."""
        drives = [d for d in lay_out(self.spec) if d.kind is DriveKind.CD]
        if not 0 <= drive < len(drives):
            raise UsageError(f"machine {self.name} has {len(drives)} CD drives; there is no number {drive}")
        disk = Element("disk", type="file", device="cdrom")
        SubElement(disk, "driver", name="qemu", type="raw")
        if path is not None:
            SubElement(disk, "source", file=str(path.absolute()))
        SubElement(disk, "target", dev=drives[drive].target, bus=drives[drive].bus)
        SubElement(disk, "readonly")
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE
        with translated(f"machine {self.name}: can't change the disc to {path}"):
            self.domain.updateDeviceFlags(tostring(disk, encoding="unicode"), flags)

    def send_keys(self, *keys: str) -> None:
        """Press keys together: ``send_keys("ctrl", "alt", "delete")``; QKeyCode of QEMU's qapi/ui.json."""
        for key in keys:
            if not _KEY.fullmatch(key):
                raise UsageError(f"key {key!r} is none of QEMU's names, such as 'ret', 'f8', 'a'")
        self.qmp("send-key", keys=[{"type": "qcode", "data": key} for key in keys])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.destroy()


_STATES: Final = {
    libvirt.VIR_DOMAIN_RUNNING: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: MachineState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: MachineState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: MachineState.RUNNING,  # on its way
    libvirt.VIR_DOMAIN_SHUTOFF: MachineState.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: MachineState.CRASHED,
}
_DUMP_FORMATS: Final = {
    DumpKind.WINDOWS: libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_WIN_DMP,
    DumpKind.ELF: libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_RAW,
}
