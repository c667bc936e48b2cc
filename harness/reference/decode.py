"""Which address an instruction touched.

The emulator names the page of a fault and the instruction, not the byte. The candidates are the
instruction's memory operand and the implicit ones (stack, string instructions); the one on the faulting
page is the answer.
"""

from __future__ import annotations

from typing import Final

from harness.reference.layout import PAGE, PAGE_MASK
from harness.reference.registers import DI, SI, SP, Registers

__all__ = ["touched_address"]

_PREFIXES: Final = frozenset(b"\x66\xf2\xf3\xf0\x2e\x36\x3e\x26\x64\x65\x67")
_FS: Final = 0x64
_GS: Final = 0x65
#: Bytes of immediate after the operand, for rip-relative operands: by one-byte opcode.
_IMM8: Final = frozenset((0x80, 0x82, 0x83, 0xC0, 0xC1, 0xC6, 0x6B))
_IMM32: Final = frozenset((0x81, 0xC7, 0x69))
_WIDEST: Final = 64


def touched_address(code: bytes, registers: Registers, page: int, *, wide: bool, segment_base: int) -> int:
    """The address on the page at `page` that the instruction `code` (at ``registers.ip``) touches.

    `segment_base` is the base of gs (x64) or fs (x86). Falls back to the start of the page, which is also
    right for an access that begins on the page before.
    """
    mask = (1 << 64) - 1 if wide else (1 << 32) - 1
    size = 8 if wide else 4
    general = registers.general
    operand = _operand(code, registers, wide=wide, segment_base=segment_base)
    candidates = [] if operand is None else [operand]
    candidates += [general[SI], general[DI], general[SP] - size, general[SP]]
    for candidate in candidates:
        if (candidate & mask) & ~PAGE_MASK == page:
            return candidate & mask
    for candidate in candidates:  # an access that crosses into the page
        if 0 < page - (candidate & mask) < _WIDEST:
            return page
    near = operand if operand is not None else 0
    return near & mask if (near & mask) // PAGE == page // PAGE else page


def _operand(code: bytes, registers: Registers, *, wide: bool, segment_base: int) -> int | None:
    """The effective address of the modrm operand, or None when the instruction has none."""
    at, rex, base_of_segment, operand16 = 0, 0, 0, False
    while at < len(code) and code[at] in _PREFIXES:
        if code[at] == (_GS if wide else _FS):
            base_of_segment = segment_base
        operand16 |= code[at] == 0x66
        at += 1
    if wide and at < len(code) and code[at] & 0xF0 == 0x40:
        rex = code[at] & 15
        at += 1
    if at >= len(code):
        return None
    opcode, immediate = code[at], 0
    at += 1
    if opcode == 0x0F:
        if at >= len(code):
            return None
        second = code[at]
        at += 1
        if second in (0x38, 0x3A):
            immediate = int(second == 0x3A)
            at += 1
        elif second in (0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6):
            immediate = 1
    elif opcode in (0xC4, 0xC5) and wide:
        if opcode == 0xC4:
            if at + 1 >= len(code):
                return None
            rex = (~code[at] >> 5) & 7
            at += 1
        at += 2
    elif 0xA0 <= opcode <= 0xA3:  # moffs
        size = 8 if wide else 4
        return int.from_bytes(code[at : at + size], "little") + base_of_segment
    elif opcode in _IMM8:
        immediate = 1
    elif opcode in _IMM32:
        immediate = 2 if operand16 else 4
    elif opcode in (0xF6, 0xF7) and at < len(code) and code[at] & 0x38 == 0:
        immediate = 1 if opcode == 0xF6 else 2 if operand16 else 4
    if at >= len(code):
        return None
    return _modrm(code, at, registers, rex, immediate, wide=wide, extra=base_of_segment)


def _modrm(
    code: bytes, at: int, registers: Registers, rex: int, immediate: int, *, wide: bool, extra: int
) -> int | None:
    modrm = code[at]
    mode, rm = modrm >> 6, modrm & 7
    at += 1
    if mode == 3:
        return None
    address = extra
    if rm == 4:
        if at >= len(code):
            return None
        sib = code[at]
        at += 1
        index = (sib >> 3 & 7) | (rex & 2) << 2
        base = (sib & 7) | (rex & 1) << 3
        if index != 4:
            address += registers.general[index] << (sib >> 6)
        if sib & 7 == 5 and mode == 0:
            return address + int.from_bytes(code[at : at + 4], "little", signed=True)
        address += registers.general[base]
    elif rm == 5 and mode == 0:
        displacement = int.from_bytes(code[at : at + 4], "little", signed=True)
        if wide:
            return address + registers.ip + at + 4 + immediate + displacement
        return address + displacement
    else:
        address += registers.general[rm | (rex & 1) << 3]
    if mode == 1:
        address += int.from_bytes(code[at : at + 1], "little", signed=True)
    elif mode == 2:
        address += int.from_bytes(code[at : at + 4], "little", signed=True)
    return address
