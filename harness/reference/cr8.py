"""CR8: the IRQL as x64 drivers read and write it inline, in a register that the emulator does not keep.

KeGetCurrentIrql and KeRaiseIrql are inline on x64 (wdm.h). Bytes that look like such an instruction may be
data, so nothing happens before they are executed.
"""

from __future__ import annotations

import re
from typing import Final

from harness.reference.memory import EXECUTE
from harness.reference.modules import Driver
from harness.reference.processor import Processor

__all__ = ["serve_cr8"]

#: mov reg,cr8 and mov cr8,reg
_MOVE: Final = re.compile(rb"[\x44\x45]\x0f[\x20\x22][\xc0-\xc7]")
_MOV_TO_CR: Final = 0x22  # second opcode byte of mov crN,reg


def serve_cr8(processor: Processor, driver: Driver, content: bytearray) -> None:
    """Serve the inline reads and writes of CR8 in a driver's code; `content` is its mapped image."""
    for section in driver.sections:
        if not section.rights & EXECUTE:
            continue
        start = section.address - driver.base
        for found in _MOVE.finditer(content, start, start + section.size):
            address, instruction = driver.base + found.start(), found.group()
            register = (instruction[3] & 7) | (instruction[0] & 1) << 3
            if instruction[2] == _MOV_TO_CR:
                _serve_write(processor, address, register)
            else:
                _serve_read(processor, address, register, len(instruction))


def _serve_write(processor: Processor, address: int, register: int) -> None:
    """Copy what is written to the IRQL."""
    registers = processor.engine.registers

    def write(_address: int) -> None:
        processor.irql = registers.get_general(register) & 0xF

    processor.engine.on_code(address, address, write)


def _serve_read(processor: Processor, address: int, register: int, size: int) -> None:
    """Make the first read patch itself into a read of CR2.

    Nothing else uses CR2 here, and it follows the IRQL from then on.
    """
    registers = processor.engine.registers
    extended = b"\x41" if register & 8 else b""
    patch = (extended + bytes((0x0F, 0x20, 0xD0 | register & 7))).ljust(size, b"\x90")
    patched = False

    def read(_address: int) -> None:
        nonlocal patched
        if not patched:
            patched = True
            processor.patch(address, patch)
            processor.mirror_irql()
        elif not processor.flush_is_due:
            return  # what is translated now is the patch
        registers.set_general(register, processor.irql)
        processor.engine.set_ip(address + size)

    processor.engine.on_code(address, address, read)
