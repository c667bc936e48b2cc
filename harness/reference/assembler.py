"""Just enough of an assembler for the kernel's own machine code (thunks, trap slots, stubs)."""

from __future__ import annotations

__all__ = ["Code"]


class Code:
    """Bytes at a fixed address, with labels and relative or absolute references.

    Instructions are given as hexadecimal text; operands that depend on places have methods.
    """

    def __init__(self, address: int, *, wide: bool) -> None:
        """`wide`: 64-bit code, where memory operands are relative to the instruction pointer."""
        self.start = address
        self.wide = wide
        self._out = bytearray()
        self._labels: dict[str, int] = {}
        self._fixups: list[tuple[int, int, str]] = []  # offset, size, label

    @property
    def here(self) -> int:
        """Address of the next instruction."""
        return self.start + len(self._out)

    def op(self, text: str) -> None:
        """Literal instruction bytes."""
        self._out += bytes.fromhex(text)

    def imm32(self, text: str, value: int) -> None:
        """Instruction bytes followed by a 32-bit immediate or displacement."""
        self.op(text)
        self._out += (value & 0xFFFF_FFFF).to_bytes(4, "little")

    def mem(self, text: str, target: int, tail: str = "") -> None:
        """An instruction whose operand is the memory at `target`; `text` ends in a mod=00 rm=101 byte."""
        rest = bytes.fromhex(tail)
        self.op(text)
        end = self.here + 4 + len(rest)
        value = target - end if self.wide else target
        self._out += (value & 0xFFFF_FFFF).to_bytes(4, "little") + rest

    def jump(self, text: str, target: int) -> None:
        """jmp/call/jcc with a 32-bit displacement to an address: ``e9``, ``e8``, ``0f85`` ..."""
        self.op(text)
        self._out += ((target - self.here - 4) & 0xFFFF_FFFF).to_bytes(4, "little")

    def short(self, text: str, label: str) -> None:
        """A jump with an 8-bit displacement to a label: ``75``, ``74``, ``eb`` ..."""
        self.op(text)
        self._fixups.append((len(self._out), 1, label))
        self._out += b"\0"

    def near(self, text: str, label: str) -> None:
        """A jump with a 32-bit displacement to a label."""
        self.op(text)
        self._fixups.append((len(self._out), 4, label))
        self._out += bytes(4)

    def label(self, name: str) -> int:
        """Name the current place; returns its address."""
        self._labels[name] = len(self._out)
        return self.here

    def align(self, boundary: int) -> None:
        """Pad with int3 to a multiple of `boundary`."""
        self._out += b"\xcc" * (-len(self._out) % boundary)

    def finish(self) -> bytes:
        """The bytes, references resolved."""
        for offset, size, label in self._fixups:
            value = self._labels[label] - offset - size
            self._out[offset : offset + size] = value.to_bytes(size, "little", signed=True)
        return bytes(self._out)
