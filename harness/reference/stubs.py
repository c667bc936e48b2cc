"""Hot kernel routines in machine code, so that they don't cost a round trip to Python.

A stub does the ordinary case only: anything unusual (a lock that is held, a wrong IRQL, pageable memory in
reach) goes on to the routine's trap slot, whose Python function then judges. Memory routines fault on the
caller's behalf like any other code. The IRQL and the running thread's identity come from the mailbox page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.guest import Arch
from harness.reference import mailbox as mb
from harness.reference import stubs_compiler as compiler
from harness.reference.assembler import Code
from harness.reference.registers import CX, DI, SI

__all__ = ["StubPlace", "build_stub"]


@dataclass(frozen=True, slots=True)
class StubPlace:
    """Where a stub goes and what it refers to: its address, the routine's trap slot, mailbox, IRQL byte."""

    address: int
    slot: int
    mailbox: int
    irql: int
    wide: bool


class _Writer(Code):
    """Code with the references stubs share."""

    def __init__(self, place: StubPlace) -> None:
        super().__init__(place.address, wide=place.wide)
        self._place = place

    def cell(self, text: str, cell: int, tail: str = "") -> None:
        """An instruction on a mailbox cell."""
        self.mem(text, self._place.mailbox + cell, tail)

    def irql(self, text: str, tail: str = "") -> None:
        """An instruction on the byte that holds the IRQL."""
        self.mem(text, self._place.irql, tail)

    @property
    def slot(self) -> int:
        """The routine's trap slot."""
        return self._place.slot

    def slow(self) -> bytes:
        """End with the way to Python."""
        self.label("slow")
        self.jump("e9", self._place.slot)
        return self.finish()


def _move64(w: _Writer) -> bytes:
    w.op("56 57 4889c8 4889cf 4889d6 4c89c1")  # push rsi, rdi; rax = rdi = target, rsi = source, rcx = count
    w.op("4989f9 4929f1 4939c9")  # r9 = target - source; compare with the count
    w.short("72", "down")  # the target begins inside the source: from the end
    w.op("48c1e903 f348a5 4489c1 83e107 f3a4")  # movsq for the eighths, movsb for the rest
    w.op("5f 5e c3")
    w.label("down")
    w.op("488d740eff 488d7c0fff fd f3a4 fc 5f 5e c3")
    return w.finish()


def _set64(w: _Writer) -> bytes:
    w.op("57 4989c9 4889cf 0fb6c2 48ba0101010101010101 480fafc2")  # rax = the byte eight times
    w.op("4c89c1 48c1e903 f348ab 4489c1 83e107 f3aa 4c89c8 5f c3")
    return w.finish()


def _zero64(w: _Writer) -> bytes:
    w.op("57 4889cf 31c0 4889d1 48c1e903 f348ab 89d1 83e107 f3aa 5f c3")
    return w.finish()


def _compare64(w: _Writer) -> bytes:
    w.op("56 57 4889ce 4889d7 4c89c1 31c0 4885c9")
    w.short("74", "equal")
    w.op("f3a6")  # repe cmpsb
    w.short("74", "equal")
    w.op("19c0 83c801")  # -1 or 1
    w.label("equal")
    w.op("5f 5e c3")
    return w.finish()


def _move32(w: _Writer) -> bytes:
    w.op("56 57 8b7c240c 8b742410 8b4c2414 89fa 29f2 39ca")  # edi, esi, ecx; edx = target - source
    w.short("72", "down")
    w.op("89ca c1e902 f3a5 89d1 83e103 f3a4")
    w.label("done")
    w.op("8b44240c 5f 5e c3")
    w.label("down")
    w.op("8d740eff 8d7c0fff fd f3a4 fc")
    w.short("eb", "done")
    return w.finish()


def _set32(w: _Writer) -> bytes:
    w.op("57 8b7c2408 0fb644240c 69c001010101 8b4c2410 89ca c1e902 f3ab 89d1 83e103 f3aa 8b442408 5f c3")
    return w.finish()


def _compare32(w: _Writer) -> bytes:
    w.op("56 57 8b74240c 8b7c2410 8b4c2414 31c0 85c9")
    w.short("74", "equal")
    w.op("f3a6")
    w.short("74", "equal")
    w.op("19c0 83c801")
    w.label("equal")
    w.op("5f 5e c3")
    return w.finish()


def _take(w: _Writer) -> None:
    """Take the lock in cx, which is known to be free."""
    w.op("48c70101000000" if w.wide else "c70101000000")


def _must_be_free(w: _Writer) -> None:
    w.op("48833900" if w.wide else "833900")
    w.short("75", "slow")


def _may_raise(w: _Writer) -> None:
    """Go on only at DISPATCH_LEVEL or below, and when no pageable page would stay within reach."""
    w.irql("803d", "02")
    w.short("77", "slow")
    w.cell("803d", mb.PAGED_CACHED, "00")
    w.short("75", "slow")


def _set_irql(w: _Writer, value: int) -> None:
    """Set the IRQL, and on x64 its mirror CR2; uses dx there."""
    w.irql("c605", f"{value:02x}")
    if w.wide:
        w.op(f"ba{value:02x}000000 0f22d2")


def _acquire(w: _Writer) -> bytes:
    """Lock in cx; returns the old IRQL."""
    _may_raise(w)
    _must_be_free(w)
    w.irql("0fb605")
    _set_irql(w, 2)
    _take(w)
    w.op("c3")
    return w.slow()


def _acquire_stdcall(w: _Writer) -> bytes:
    """x86: lock and the place of the old IRQL on the stack."""
    w.op("8b4c2404")
    _may_raise(w)
    _must_be_free(w)
    w.op("8b542408")
    w.irql("0fb605")
    w.op("8802")
    _set_irql(w, 2)
    _take(w)
    w.op("c20800")
    return w.slow()


def _release(w: _Writer, tail: str = "c3") -> bytes:
    """Lock in cx, IRQL to return to in dl."""
    w.irql("803d", "02")
    w.short("75", "slow")
    w.cell("803d", mb.DPC_PENDING, "00")
    w.short("75", "slow")
    w.op("80fa02")
    w.short("77", "slow")
    w.op("f60101")
    w.short("74", "slow")
    w.op("48c70100000000" if w.wide else "c70100000000")
    w.irql("8815")
    if w.wide:
        w.op("0fb6d2 0f22d2")
    w.op(tail)
    return w.slow()


def _release_stdcall(w: _Writer) -> bytes:
    w.op("8b4c2404 8b542408")
    return _release(w, "c20800")


def _lock_mutex(w: _Writer) -> bytes:
    """FAST_MUTEX in cx: Count, Owner, OldIrql at 0, 8, 30h (x64) or 0, 4, 1Ch."""
    w.irql("803d", "01")
    w.short("77", "slow")
    w.op("833901")
    w.short("75", "slow")
    w.cell("488b05" if w.wide else "a1", mb.THREAD)
    w.op("c70100000000")
    w.op("48894108" if w.wide else "894104")
    w.irql("0fb605")
    w.op("894130" if w.wide else "89411c")
    _set_irql(w, 1)
    w.op("c3")
    return w.slow()


def _unlock_mutex(w: _Writer) -> bytes:
    w.irql("803d", "01")
    w.short("75", "slow")
    w.op("833900")
    w.short("75", "slow")
    w.op("0fb64130" if w.wide else "0fb6411c")
    w.op("3c01")
    w.short("77", "slow")
    w.op("48c7410800000000" if w.wide else "c7410400000000")
    w.op("c70101000000")
    w.irql("8805" if w.wide else "a2")
    if w.wide:
        w.op("0f22d0")
    w.op("c3")
    return w.slow()


def _counter(w: _Writer) -> bytes:
    """The frequency is asked for rarely; without it the counter just goes up."""
    if w.wide:
        w.op("4885c9")
        w.short("75", "slow")
        w.cell("48ff05", mb.COUNTER)
        w.cell("488b05", mb.COUNTER)
        w.op("c3")
    else:
        w.op("837c240400")
        w.short("75", "slow")
        w.cell("8305", mb.COUNTER, "01")
        w.cell("8315", mb.COUNTER + 4, "00")
        w.cell("a1", mb.COUNTER)
        w.cell("8b15", mb.COUNTER + 4)
        w.op("c20400")
    return w.slow()


def _identity(cell: int) -> Callable[[_Writer], bytes]:
    def build(w: _Writer) -> bytes:
        w.cell("488b05" if w.wide else "a1", cell)
        w.op("c3")
        return w.finish()

    return build


def _irql(w: _Writer) -> bytes:
    w.irql("0fb605")
    w.op("c3")
    return w.finish()


def _divide(w: _Writer) -> bytes:
    return compiler.divide_with_remainder(w, w.slot)


def _probe(boundary: int) -> Callable[[_Writer], bytes]:
    return lambda w: compiler.alloca_probe(w, boundary)


@dataclass(frozen=True, slots=True)
class _Recipe:
    build: Callable[[_Writer], bytes]
    saves: tuple[int, ...] = ()  # registers on the stack while it runs, innermost first


_COMMON: Final = {
    "ExAcquireFastMutex": _Recipe(_lock_mutex),
    "ExGetPreviousMode": _Recipe(_identity(mb.PREVIOUS_MODE)),
    "ExReleaseFastMutex": _Recipe(_unlock_mutex),
    "IoGetCurrentProcess": _Recipe(_identity(mb.PROCESS)),
    "KeGetCurrentIrql": _Recipe(_irql),
    "KeQueryPerformanceCounter": _Recipe(_counter),
    "PsGetCurrentProcess": _Recipe(_identity(mb.PROCESS)),
    "PsGetCurrentProcessId": _Recipe(_identity(mb.PROCESS_ID)),
    "PsGetCurrentThreadId": _Recipe(_identity(mb.THREAD_ID)),
}
_STUBS: Final[dict[Arch, dict[str, _Recipe]]] = {
    Arch.X64: _COMMON
    | {
        "KeAcquireSpinLockRaiseToDpc": _Recipe(_acquire),
        "KeReleaseSpinLock": _Recipe(_release),
        "RtlCopyMemory": _Recipe(_move64, (DI, SI)),
        "RtlMoveMemory": _Recipe(_move64, (DI, SI)),
        "RtlZeroMemory": _Recipe(_zero64, (DI,)),
        "__chkstk": _Recipe(compiler.chkstk64),
        "memcmp": _Recipe(_compare64, (DI, SI)),
        "memcpy": _Recipe(_move64, (DI, SI)),
        "memmove": _Recipe(_move64, (DI, SI)),
        "memset": _Recipe(_set64, (DI,)),
    },
    Arch.X86: _COMMON
    | {
        "KeAcquireSpinLock": _Recipe(_acquire_stdcall),
        "KeReleaseSpinLock": _Recipe(_release_stdcall),
        "KfAcquireSpinLock": _Recipe(_acquire),
        "KfReleaseSpinLock": _Recipe(_release),
        "_alldvrm": _Recipe(_divide),
        "_alloca_probe": _Recipe(compiler.chkstk86, (CX,)),
        "_alloca_probe_16": _Recipe(_probe(16), (CX,)),
        "_alloca_probe_8": _Recipe(_probe(8), (CX,)),
        "_allshl": _Recipe(compiler.allshl),
        "_allshr": _Recipe(compiler.allshr),
        "_aulldvrm": _Recipe(_divide),
        "_aullshr": _Recipe(compiler.aullshr),
        "_chkstk": _Recipe(compiler.chkstk86, (CX,)),
        "memcmp": _Recipe(_compare32, (DI, SI)),
        "memcpy": _Recipe(_move32, (DI, SI)),
        "memmove": _Recipe(_move32, (DI, SI)),
        "memset": _Recipe(_set32, (DI,)),
    },
}


def build_stub(name: str, arch: Arch, place: StubPlace) -> tuple[bytes, tuple[int, ...]] | None:
    """The machine code of `name` and the registers it saves, or None when it has no stub."""
    recipe = _STUBS[arch].get(name)
    if recipe is None:
        return None
    return recipe.build(_Writer(place)), recipe.saves
