"""How exports that never return to their caller say where the guest goes on."""

from __future__ import annotations

from harness.reference.registers import Registers

__all__ = ["Resume", "UnwindTo"]


class UnwindTo(BaseException):
    """Unwind to the frame `establisher` and go on at `target` (a __except block was chosen)."""

    def __init__(self, establisher: int, target: int, value: int) -> None:
        super().__init__()
        self.establisher = establisher
        self.target = target
        self.value = value


class Resume(BaseException):
    """Go on with exactly these registers."""

    def __init__(self, registers: Registers) -> None:
        super().__init__()
        self.registers = registers
