"""Routines called with whatever a broken driver may pass: they answer or bugcheck, nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import pytest

from harness import reference
from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.reference.exports import Convention, Export
from harness.reference.faults import GuestException
from harness.reference.guest import ReferenceGuest
from harness.reference.seh.control import UnwindTo

CALLS: Final = 250
#: How many calls share a guest that none of them crashed.
SHARED: Final = 25
#: Their work is to end the machine or the thread.
ENDING: Final = frozenset({"KeBugCheck", "KeBugCheckEx", "PsTerminateSystemThread"})


@dataclass(frozen=True)
class Caller:
    """A guest, and the values that arguments are drawn from: small, huge, wild, real and damaged ones."""

    guest: ReferenceGuest
    values: tuple[int, ...]

    @property
    def routines(self) -> list[Export]:
        exports = self.guest.machine.exports
        known = [exports[name] for name in sorted(exports) if name not in ENDING]
        ours = [each for each in known if each.source.startswith("harness.")]  # other tests declare some
        return [each for each in ours if not each.data and "kernel-internal" not in each.modules]

    def call(self, routine: Export, chosen: random.Random) -> None:
        m = self.guest.machine
        slots = sum(kind.slots for kind in routine.args) + 3 * routine.variadic
        arguments = tuple(chosen.choice(self.values) for _ in range(slots))
        fast = (0, 0)
        if m.arch is Arch.X86 and routine.convention is Convention.FASTCALL:
            ecx, edx, *_ = (*arguments, 0, 0)
            fast, arguments = (ecx, edx), arguments[2:]
        address = m.exports.address_of(routine.name)
        # An unwind finds no frame of a driver to go to, an exception no handler.
        with suppress(UnwindTo, GuestException), m.kernel_work():
            m.cpu.run(address, arguments, fast=fast, any_irql=True)


@contextmanager
def caller(arch: Arch, chosen: random.Random) -> Iterator[Caller]:
    with reference.boot("10.0.19045", arch=arch, deadline=5.0) as guest:
        m = guest.machine
        pool = m.pool.alloc(0x1000, 1, paged=False)
        m.memory.write(pool, bytes(chosen.choice((0, 0, 1, 0x10, 0x41, 0xFF)) for _ in range(0x1000)))
        m.memory.put_unicode_string(pool + 0x100, 20, 22, pool + 0x200)
        for at in range(0x400, 0x480, m.memory.pointer_size):
            m.memory.put_ptr(pool + at, pool + 0x100)
        user = m.memory.alloc_user(0x1000)
        mask = m.memory.map.address_mask
        values = (
            *(0, 1, 2, 3, 4, 8, 0x100, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, mask),
            *(pool, pool + 0x100, pool + 0x400, pool + 0xFF8, pool + 0x1001, user, user + 0xFF0),
            *(m.memory.map.system_start + 0x123456, 0xDEADBEEF00 & mask, m.objects.kernel_flag | 4),
            *(m.current.address, m.current.process.address),
        )
        yield Caller(guest, values)


@pytest.mark.parametrize("arch", list(Arch), ids=str)
def test_no_argument_makes_the_harness_fail(arch: Arch) -> None:
    chosen = random.Random(20260)
    left = CALLS
    while left:
        with caller(arch, chosen) as hostile, suppress(GuestCrashed):
            routines = hostile.routines
            for _ in range(min(SHARED, left)):
                left -= 1
                hostile.call(chosen.choice(routines), chosen)


@pytest.mark.parametrize("arch", list(Arch), ids=str)
@pytest.mark.parametrize(
    "name", ["RtlFillMemory", "RtlZeroMemory", "memset", "strncpy", "wcsncpy", "memcpy_s", "RtlSetBits"]
)
def test_sizes_beyond_all_memory_fault_at_its_end(name: str, arch: Arch) -> None:
    with reference.boot("10.0.19045", arch=arch) as guest:
        m = guest.machine
        pool = m.pool.alloc(0x100, 1, paged=False)
        m.memory.write(pool, bytes(0x100))
        m.memory.put_ptr(pool + m.memory.pointer_size, pool)  # a bit map's buffer
        huge = m.memory.map.address_mask
        arguments = {"memset": (pool, 0, huge), "memcpy_s": (pool, huge, 0, huge)}
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(
                m.exports.address_of(name),
                *arguments.get(name, (pool, huge if "Rtl" in name else pool, huge)),
            )
        assert caught.value.bugcheck.code in (0x50, 0xD6), str(caught.value)
