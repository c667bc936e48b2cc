"""Import thunks: functions of a driver that are nothing but an indirect jump to an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.guest import Arch
from harness.reference.faults import GuestFault

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.modules import Driver

__all__ = ["ImportThunks"]


class ImportThunks:
    """What the code of one machine's drivers jumps to; looked up once for each address."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._names: dict[int, str | None] = {}

    def name_at(self, address: int) -> str | None:
        """The export that code at `address` is, or is nothing but an indirect jump to."""
        if address in self._names:
            return self._names[address]
        machine = self._machine
        name = machine.exports.name_at(address)
        if name is None and machine.modules.at(address) is not None:
            name = self._target(address)
        self._names[address] = name
        return name

    def _target(self, address: int) -> str | None:
        machine, memory = self._machine, self._machine.memory
        try:
            if memory.read(address, 2) != b"\xff\x25":
                return None
            slot = memory.u32(address + 2)
            if machine.arch is Arch.X64:
                slot = (address + 6 + slot - ((slot & 0x8000_0000) << 1)) & memory.map.address_mask
            return machine.exports.name_at(memory.ptr(slot))
        except GuestFault:
            return None

    def forget(self, driver: Driver) -> None:
        """Drop what was learned about an unloaded image."""
        for address in [a for a in self._names if driver.base <= a < driver.end]:
            del self._names[address]
