"""Routines that compilers call on their own account, in machine code: they obey no calling convention.

Stack probes move the stack pointer of their caller (x86) or keep every register but r10 and r11 (x64), the
shifts of 64-bit values take edx:eax and cl, and the divisions give a remainder in ebx:ecx. Sources: the
compiler's documentation (``/Gs``, "x64 prolog and epilog") and the exports of ntoskrnl by these names.
"""

from __future__ import annotations

from harness.reference.assembler import Code

__all__ = ["alloca_probe", "allshl", "allshr", "aullshr", "chkstk64", "chkstk86", "divide_with_remainder"]


def chkstk64(w: Code) -> bytes:
    """rax is the size of the frame to come: touch every page of it, from the top."""
    w.op("4c8d542408 4929c2")  # r10 = the caller's rsp - rax
    w.short("73", "fits")
    w.op("4531d2")  # below zero: as far as it goes
    w.label("fits")
    w.op("4989e3 4981e300f0ffff")  # r11 = rsp's page
    w.short("eb", "reached")
    w.label("next")
    w.op("4981eb00100000 41f60300")  # r11 -= a page; test byte [r11],0
    w.label("reached")
    w.op("4d39d3")  # until r11 <= r10
    w.short("77", "next")
    w.op("c3")
    return w.finish()


def chkstk86(w: Code) -> bytes:
    """eax is the size: esp goes down by it, a page touched at a time, and the return address moves along."""
    w.op("51 8d4c2408 29c1")  # push ecx; ecx = the caller's esp - eax
    w.short("73", "fits")
    w.op("31c9")
    w.label("fits")
    w.op("89e0 2500f0ffff")  # eax = esp's page
    w.short("eb", "reached")
    w.label("next")
    w.op("2d00100000 f60000")  # eax -= a page; test byte [eax],0
    w.label("reached")
    w.op("39c8")
    w.short("77", "next")
    w.op("89c8 59 94 8b00 50 c3")  # pop ecx; esp = the new one; go to where the old one pointed
    return w.finish()


def alloca_probe(w: Code, boundary: int) -> bytes:
    """As the probe above, with the new esp on a boundary of 8 or 16."""
    w.op(f"51 8d4c2408 29c1 83e1{boundary - 1:02x} 01c8 59")  # eax += (the caller's esp - eax) % boundary
    return chkstk86(w)


def allshl(w: Code) -> bytes:
    w.op("80f940")
    w.short("73", "zero")
    w.op("80f920")
    w.short("73", "far")
    w.op("0fa5c2 d3e0 c3")
    w.label("far")
    w.op("89c2 31c0 80e11f d3e2 c3")
    w.label("zero")
    w.op("31c0 31d2 c3")
    return w.finish()


def allshr(w: Code) -> bytes:
    w.op("80f940")
    w.short("73", "sign")
    w.op("80f920")
    w.short("73", "far")
    w.op("0fadd0 d3fa c3")
    w.label("far")
    w.op("89d0 c1fa1f 80e11f d3f8 c3")
    w.label("sign")
    w.op("c1fa1f 89d0 c3")
    return w.finish()


def aullshr(w: Code) -> bytes:
    w.op("80f940")
    w.short("73", "zero")
    w.op("80f920")
    w.short("73", "far")
    w.op("0fadd0 d3ea c3")
    w.label("far")
    w.op("89d0 31d2 80e11f d3e8 c3")
    w.label("zero")
    w.op("31c0 31d2 c3")
    return w.finish()


def divide_with_remainder(w: Code, slot: int) -> bytes:
    """Quotient in edx:eax, remainder in ebx:ecx. The trap at `slot` leaves the remainder where the dividend
    was.
    """
    w.op("ff742410 ff742410 ff742410 ff742410")  # the arguments once more
    w.jump("e8", slot)
    w.op("8b4c2404 8b5c2408 c21000")  # ecx, ebx = the remainder
    return w.finish()
