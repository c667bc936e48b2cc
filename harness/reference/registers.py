"""The processor state that exceptions and stack walks work on."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Final

import unicorn.x86_const as x86

from harness.guest import Arch

__all__ = ["AX", "BP", "BX", "CX", "DI", "DX", "R8", "R9", "SI", "SP", "RegisterFile", "Registers"]

#: Indices into `Registers.general`, in the order of the processor's encoding (and of unwind codes).
AX, CX, DX, BX, SP, BP, SI, DI, R8, R9 = range(10)

_NAMES64: Final = (
    "RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15 RIP EFLAGS".split()  # noqa: SIM905
)
_NAMES32: Final = "EAX ECX EDX EBX ESP EBP ESI EDI EIP EFLAGS".split()  # noqa: SIM905
_XMM: Final = 16


@dataclass(slots=True)
class Registers:
    """General registers by encoding number, instruction pointer, flags; `xmm` by number where it matters."""

    general: list[int]
    ip: int
    flags: int = 0x202
    xmm: dict[int, int] = field(default_factory=dict)

    @property
    def sp(self) -> int:
        """The stack pointer."""
        return self.general[SP]

    def copy(self) -> Registers:
        """An independent copy."""
        return Registers(list(self.general), self.ip, self.flags, dict(self.xmm))


class RegisterFile:
    """Reads and writes all registers of a unicorn engine in one call each."""

    def __init__(self, lib: Any, handle: Any, arch: Arch) -> None:
        self._lib = lib
        self._handle = handle
        names = _NAMES64 if arch is Arch.X64 else _NAMES32
        self._general = len(names) - 2
        self._count = len(names)
        self._ids = (ctypes.c_int * self._count)(*[getattr(x86, f"UC_X86_REG_{n}") for n in names])
        written = [i for i, n in zip(self._ids, names, strict=True) if not n.endswith("IP")]
        self._write_ids = (ctypes.c_int * len(written))(*written)
        self._values = (ctypes.c_uint64 * self._count)()
        self._pointers = _pointers(self._values, 8, self._count)
        self._cr2 = (ctypes.c_int * 1)(x86.UC_X86_REG_CR2)
        self._ip_id = (ctypes.c_int * 1)(self._ids[len(names) - 2])
        self._ip = (ctypes.c_uint64 * 1)()
        self._ip_pointer = _pointers(self._ip, 8, 1)
        self._wide = arch is Arch.X64
        xmm = _XMM if self._wide else 8
        self._xmm_count = xmm
        self._xmm_ids = (ctypes.c_int * xmm)(*[x86.UC_X86_REG_XMM0 + i for i in range(xmm)])
        self._xmm_values = (ctypes.c_uint64 * (2 * xmm))()
        self._xmm_pointers = _pointers(self._xmm_values, 16, xmm)

    def read(self, *, xmm: bool = False) -> Registers:
        """The current state; ``xmm=True`` includes the vector registers."""
        for i in range(self._count):
            self._values[i] = 0  # 32-bit reads leave the upper half alone
        self._lib.uc_reg_read_batch(self._handle, self._ids, self._pointers, self._count)
        values = list(self._values)
        found = Registers(values[: self._general], values[-2], values[-1])
        if xmm:
            self._lib.uc_reg_read_batch(self._handle, self._xmm_ids, self._xmm_pointers, self._xmm_count)
            cells = self._xmm_values
            found.xmm = {i: cells[2 * i] | cells[2 * i + 1] << 64 for i in range(self._xmm_count)}
        return found

    def ip(self) -> int:
        """The instruction pointer alone."""
        self._lib.uc_reg_read_batch(self._handle, self._ip_id, self._ip_pointer, 1)
        return self._ip[0]

    def get_general(self, number: int) -> int:
        """One general register."""
        return self.read().general[number]

    def set_general(self, number: int, value: int) -> None:
        """Load one general register."""
        self._values[0] = value
        ids = (ctypes.c_int * 1)(self._ids[number])
        self._lib.uc_reg_write_batch(self._handle, ids, self._pointers, 1)

    def set_cr2(self, value: int) -> None:
        """Load CR2."""
        self._values[0] = value
        self._lib.uc_reg_write_batch(self._handle, self._cr2, self._pointers, 1)

    def write(self, registers: Registers) -> None:
        """Load `registers`; vector registers it does not mention keep their value.

        Not the instruction pointer: code goes on where `Engine.start` says, and writing it inside a hook
        would run the hooked instruction again.
        """
        for i, value in enumerate((*registers.general, registers.flags)):
            self._values[i] = value
        self._lib.uc_reg_write_batch(self._handle, self._write_ids, self._pointers, self._count - 1)
        for number, value in registers.xmm.items():
            self._xmm_values[0] = value & 0xFFFF_FFFF_FFFF_FFFF
            self._xmm_values[1] = value >> 64
            ids = (ctypes.c_int * 1)(x86.UC_X86_REG_XMM0 + number)
            self._lib.uc_reg_write_batch(self._handle, ids, self._xmm_pointers, 1)


def _pointers(values: Any, stride: int, count: int) -> Any:
    start = ctypes.addressof(values)
    return (ctypes.c_void_p * count)(*[start + stride * i for i in range(count)])
