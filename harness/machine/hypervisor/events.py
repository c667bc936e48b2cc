"""What happens to a machine, as libvirt and QEMU report it: typed, bounded, in order.

Two sources feed one list per machine: libvirt's lifecycle events (started, stopped) and QEMU's own, which
carry the details: the bugcheck code and its parameters, which disk failed, who asked for a reset.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

__all__ = ["EventKind", "MachineEvent", "Panic", "Subscriber", "from_qemu"]


class EventKind(StrEnum):
    STARTED = "started"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    RESET = "reset"  # also a triple fault: the virtual CPU resets the machine
    POWERDOWN = "powerdown"  # the power button was pressed
    SHUTDOWN = "shutdown"  # the guest switched itself off
    PANIC = "panic"  # the guest told a panic device: `panic` has what it said
    WATCHDOG = "watchdog"
    IO_ERROR = "io-error"
    TRAY = "tray"  # a CD drive was opened or closed
    DUMPED = "dumped"  # a memory dump ended
    EXIT = "exit"  # the domain is gone, for whatever reason
    OTHER = "other"  # any other event of QEMU's, by its name


@dataclass(frozen=True, slots=True)
class Panic:
    """What a guest said when it died. Hyper-V's crash registers hold a bugcheck; pvpanic says nothing."""

    code: int | None = None
    parameters: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __str__(self) -> str:
        if self.code is None:
            return "the guest panicked; its panic device carries no details"
        return f"{self.code:#x} ({', '.join(f'{p:#x}' for p in self.parameters)})"


@dataclass(frozen=True, slots=True)
class MachineEvent:
    """One event. `name` is the source's own word, `data` its details; `when` is `time.monotonic()`."""

    kind: EventKind
    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    panic: Panic | None = None
    when: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        details = f": {self.panic}" if self.panic else f" {dict(self.data)}" if self.data else ""
        return f"{self.kind} ({self.name}){details}"


#: Called with each event, in libvirt's event thread: must return soon and must not call the machine.
Subscriber = Callable[[MachineEvent], None]

_QEMU: Final = {
    "STOP": EventKind.SUSPENDED,
    "RESUME": EventKind.RESUMED,
    "RESET": EventKind.RESET,
    "POWERDOWN": EventKind.POWERDOWN,
    "SHUTDOWN": EventKind.SHUTDOWN,
    "GUEST_PANICKED": EventKind.PANIC,
    "WATCHDOG": EventKind.WATCHDOG,
    "BLOCK_IO_ERROR": EventKind.IO_ERROR,
    "DEVICE_TRAY_MOVED": EventKind.TRAY,
    "DUMP_COMPLETED": EventKind.DUMPED,
}


def from_qemu(name: str, data: Mapping[str, Any]) -> MachineEvent:
    """An event of QEMU's monitor. Raises nothing: what it can't read it keeps as it came."""
    kind = _QEMU.get(name, EventKind.OTHER)
    panic = _panic(data.get("info")) if kind is EventKind.PANIC else None
    return MachineEvent(kind, name, data, panic)


def _panic(info: object) -> Panic:
    """`GuestPanicInformation` of QEMU's qapi/run-state.json: "hyper-v" has arg1 (the code) to arg5."""
    if not isinstance(info, Mapping) or info.get("type") != "hyper-v":
        return Panic()
    words = [info.get(f"arg{n}", 0) for n in range(1, 6)]
    # QEMU prints unsigned 64-bit numbers; libvirt's JSON may hand the upper half on as negative ones.
    code, *rest = (word & (2**64 - 1) if isinstance(word, int) else 0 for word in words)
    return Panic(code, (rest[0], rest[1], rest[2], rest[3]))
