"""A connection to libvirt and the events that arrive on it, each added to the log of its machine."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any, Final

from harness.machine.hypervisor.eventlog import EventLog
from harness.machine.hypervisor.events import EventKind, MachineEvent, from_qemu
from harness.machine.hypervisor.libvirt_api import libvirt, libvirt_qemu, translated

__all__ = ["Connection"]

_LIFECYCLE: Final = {libvirt.VIR_DOMAIN_EVENT_STARTED: EventKind.STARTED}
_STOPPED: Final = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "failed",
}


class Connection:
    """Opened and listened to once; several hosts may share it. Safe for several threads.

    `api` is libvirt's own connection. Raises `InfrastructureError` with `advice` when libvirt refuses.
    """

    def __init__(self, uri: str, advice: str) -> None:
        with translated(f"can't connect to libvirt at {uri}", advice):
            self.api = libvirt.open(uri)
        self._lock = threading.Lock()
        self._logs: dict[str, EventLog] = {}
        with translated("can't listen to libvirt's events"):
            self._lifecycle = self.api.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None
            )
            self._monitor = libvirt_qemu.qemuMonitorEventRegister(
                self.api, None, None, self._on_monitor, None
            )

    def listen(self, uuid: str, log: EventLog) -> None:
        """Add the events of the domain `uuid` to `log` from now on."""
        with self._lock:
            self._logs[uuid] = log

    def forget(self, uuid: str) -> None:
        with self._lock:
            self._logs.pop(uuid, None)

    def close(self) -> None:
        with suppress(libvirt.libvirtError):  # a daemon may be gone by itself
            self.api.domainEventDeregisterAny(self._lifecycle)
            libvirt_qemu.qemuMonitorEventDeregister(self.api, self._monitor)
            self.api.close()

    def _log_of(self, domain: Any) -> EventLog | None:
        with self._lock:
            return self._logs.get(domain.UUIDString())

    def _on_lifecycle(self, connection: Any, domain: Any, event: int, detail: int, opaque: object) -> None:
        log = self._log_of(domain)
        if log is None:
            return
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            log.add(MachineEvent(EventKind.EXIT, _STOPPED.get(detail, f"stopped {detail}")))
        elif event in _LIFECYCLE:
            log.add(MachineEvent(_LIFECYCLE[event], "started"))

    def _on_monitor(
        self,
        connection: Any,
        domain: Any,
        event: str,
        seconds: int,
        micros: int,
        details: str,
        opaque: object,
    ) -> None:
        log = self._log_of(domain)
        if log is None:
            return
        data: object = None
        with suppress(ValueError):
            data = json.loads(details) if details else {}
        log.add(from_qemu(event, data if isinstance(data, dict) else {}))
