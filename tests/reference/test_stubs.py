"""Routines in machine code do what their Python versions do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.reference.faults import GuestException
from harness.reference.machine import Machine
from tests.reference.native import BOTH, Seh, code, machine

SIZE = 300


@pytest.fixture(params=list(Arch), ids=str, scope="module")
def shared(request: pytest.FixtureRequest) -> object:
    with machine(request.param) as m:
        yield m


def signed(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


@given(st.binary(min_size=SIZE, max_size=SIZE), st.integers(0, 100), st.integers(0, 100), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_copies_are_exact_overlapping_ones_too(
    shared: Machine, data: bytes, source: int, target: int, count: int
) -> None:
    at = shared.memory.alloc_static(SIZE)
    for name in ("memmove", "memcpy"):
        shared.memory.write(at, data)
        assert (
            shared.cpu.call(shared.exports.address_of(name), at + target, at + source, count) == at + target
        )
        expected = bytearray(data)
        expected[target : target + count] = data[source : source + count]
        assert shared.memory.read(at, SIZE) == expected


@given(st.integers(0, 60), st.integers(0, 200), st.integers(0, 0xFFFF))
@settings(max_examples=60, deadline=None)
def test_memset_fills_exactly(shared: Machine, target: int, count: int, value: int) -> None:
    at = shared.memory.alloc_static(SIZE)
    assert shared.cpu.call(shared.exports.address_of("memset"), at + target, value, count) == at + target
    expected = bytearray(SIZE)
    expected[target : target + count] = bytes((value & 0xFF,)) * count
    assert shared.memory.read(at, SIZE) == expected


@given(st.binary(max_size=40), st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_memcmp_orders_as_unsigned_bytes(shared: Machine, first: bytes, second: bytes) -> None:
    count = min(len(first), len(second))
    with shared.memory.scratch() as scratch:
        result = signed(
            shared.cpu.call(
                shared.exports.address_of("memcmp"), scratch.bytes(first), scratch.bytes(second), count
            )
        )
    a, b = first[:count], second[:count]
    assert (result > 0) - (result < 0) == (a > b) - (a < b)


@BOTH
def test_a_copy_from_nowhere_is_the_callers_exception(arch: Arch) -> None:
    """The stub's own registers are unwound, and the stack names it."""
    with machine(arch) as m:
        seh = Seh(m)
        raw = m.exports.address_of("memcpy").to_bytes(m.memory.pointer_size, "little").hex()
        target = m.memory.alloc_static(64)
        there = target.to_bytes(m.memory.pointer_size, "little").hex()
        if arch is Arch.X64:  # memcpy(target, argument, 40h)
            text = f"4889ca 48b9{there} 41b840000000 48b8{raw} ffe0"
        else:
            text = f"6a40 ff742408 68{there} b8{raw} ffd0 83c40c c20400"
        copies = code(m, text)
        seh.functions["copies"] = copies
        assert seh.filtered(1, "copies", 0x5000) == 0xCA7C4
        with pytest.raises(GuestException) as caught:
            m.call_guarded(copies, 0x5000)
        assert m.stacks.symbolise(list(caught.value.stack))[0].function == "memcpy"


def lock_names(arch: Arch) -> tuple[str, str]:
    return (
        ("KeAcquireSpinLockRaiseToDpc", "KeReleaseSpinLock")
        if arch is Arch.X64
        else (
            "KeAcquireSpinLock",
            "KeReleaseSpinLock",
        )
    )


def acquire(m: Machine, lock: int, old: int) -> int:
    """Acquire a spin lock in the way of the architecture; returns the old IRQL."""
    name = lock_names(m.arch)[0]
    below = m.current.stack.high
    if m.arch is Arch.X64:
        return m.cpu.run(m.exports.address_of(name), (lock,), below=below) & 0xFF
    m.cpu.run(m.exports.address_of(name), (lock, old), below=below)
    return m.memory.u8(old)


@BOTH
def test_spin_locks_raise_and_restore_the_irql(arch: Arch) -> None:
    with machine(arch) as m:
        lock, old = m.memory.alloc_static(16), m.memory.alloc_static(16)
        m.cpu.irql = 1
        assert acquire(m, lock, old) == 1
        assert (m.cpu.irql, m.memory.ptr(lock)) == (2, 1)
        m.cpu.run(m.exports.address_of("KeReleaseSpinLock"), (lock, 1), below=m.current.stack.high)
        assert (m.cpu.irql, m.memory.ptr(lock)) == (1, 0)


@BOTH
def test_a_spin_lock_taken_twice_is_judged_in_python(arch: Arch) -> None:
    with machine(arch) as m:
        lock, old = m.memory.alloc_static(16), m.memory.alloc_static(16)
        acquire(m, lock, old)
        with pytest.raises(GuestCrashed) as caught:
            acquire(m, lock, old)
        assert caught.value.bugcheck.code == 0x0F


@BOTH
def test_raising_the_irql_puts_pageable_memory_out_of_reach(arch: Arch) -> None:
    with machine(arch) as m:
        seh = Seh(m)
        lock, old = m.memory.alloc_static(16), m.memory.alloc_static(16)
        block = m.pool.alloc(16, 0, paged=True)
        seh.call("leaf_read", block)
        acquire(m, lock, old)
        with pytest.raises(GuestCrashed) as caught:
            m.cpu.call(seh["leaf_read"], block)
        assert caught.value.bugcheck.code == 0xD1


@BOTH
def test_the_counter_rises_in_the_guest_as_in_python(arch: Arch) -> None:
    with machine(arch) as m:
        address = m.exports.address_of("KeQueryPerformanceCounter")
        reads = []
        for _ in range(50):
            reads += [m.performance_counter(), m.cpu.call(address, 0)]
        assert reads == sorted(set(reads))


@BOTH
def test_identities_follow_the_running_thread(arch: Arch) -> None:
    from harness.reference.threads import Process

    with machine(arch) as m:
        thread = m.new_thread(Process(0x1234, "program", address=0x77), 0x4320)
        for name, value in (("PsGetCurrentProcessId", 0x1234), ("IoGetCurrentProcess", 0x77)):
            with m.running_as(thread):
                assert m.cpu.call(m.exports.address_of(name)) == value
            assert m.cpu.call(m.exports.address_of(name)) != value
        with m.running_as(thread):
            assert m.cpu.call(m.exports.address_of("PsGetCurrentThreadId")) == 0x4320
