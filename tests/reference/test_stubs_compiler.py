"""The routines compilers call on their own account keep the registers they must, and answer rightly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.reference.machine import Machine
from tests.reference.native import code, machine

U64 = st.integers(0, (1 << 64) - 1)
M64 = (1 << 64) - 1
DOUBLE_FAULT = 0x7F


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@pytest.fixture(scope="module")
def x86() -> Iterator[Machine]:
    with machine(Arch.X86) as m:
        yield m


def _address(m: Machine, name: str) -> str:
    return m.exports.address_of(name).to_bytes(m.memory.pointer_size, "little").hex()


@given(U64, st.integers(0, 255))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("name", ["_allshl", "_allshr", "_aullshr"])
def test_shifts_of_64_bits(x86: Machine, name: str, value: int, count: int) -> None:
    # f(low, high, count, *out): edx:eax = value, cl = count, call, store
    shift = code(
        x86,
        f"8b442404 8b542408 8b4c240c 56 be{_address(x86, name)} ffd6 5e 8b4c2410 8901 895104 c21000",
    )
    with x86.memory.scratch() as scratch:
        out = scratch.alloc(8)
        x86.cpu.call(shift, value & 0xFFFFFFFF, value >> 32, count, out)
        found = x86.memory.u64(out)
    if name == "_allshl":
        expected = value << count & M64
    else:
        expected = (signed(value) if name == "_allshr" else value) >> count & M64
    assert found == expected


@given(U64, U64.filter(bool))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("name", ["_alldvrm", "_aulldvrm"])
def test_divisions_give_the_remainder_too(x86: Machine, name: str, a: int, b: int) -> None:
    # f(alo, ahi, blo, bhi, *out): ebx is the caller's, so it is kept around the call
    divide = code(
        x86,
        "53 ff742414 ff742414 ff742414 ff742414"
        f"b8{_address(x86, name)} ffd0 56 8b74241c 8906 895604 894e08 895e0c 5e 5b c21400",
    )
    with x86.memory.scratch() as scratch:
        out = scratch.alloc(16)
        x86.cpu.call(divide, a & 0xFFFFFFFF, a >> 32, b & 0xFFFFFFFF, b >> 32, out)
        quotient, remainder = x86.memory.u64(out), x86.memory.u64(out + 8)
    if name == "_alldvrm":
        x, y = signed(a), signed(b)
        expected = abs(x) // abs(y) * (-1 if (x < 0) != (y < 0) else 1)
        assert (quotient, remainder) == (expected & M64, x - expected * y & M64)
    else:
        assert (quotient, remainder) == divmod(a, b)


@pytest.mark.parametrize(
    ("name", "boundary"), [("_chkstk", 4), ("_alloca_probe_8", 8), ("_alloca_probe_16", 16)]
)
@pytest.mark.parametrize("size", [0, 4, 4095, 4096, 8196])
def test_a_probe_moves_the_stack_pointer_of_x86(x86: Machine, name: str, boundary: int, size: int) -> None:
    # f(size, *out): out[0] = esp before, out[1] = ecx after, out[2] = esp after
    probe = code(
        x86,
        f"55 89e5 56 8b750c 8b4508 b9efbeadde 8926 ba{_address(x86, name)} ffd2 894e04 896608"
        "8d65fc 5e 5d c20800",
    )
    with x86.memory.scratch() as scratch:
        out = scratch.alloc(12)
        x86.cpu.call(probe, size, out)
        before, kept, after = (x86.memory.u32(out + 4 * i) for i in range(3))
    assert kept == 0xDEADBEEF
    if boundary == 4:
        assert before - after == size
    else:
        assert after % boundary == 0
        assert size <= before - after < size + boundary


def test_a_probe_keeps_the_arguments_of_x64() -> None:
    with machine(Arch.X64) as m:
        # f(a, b, c, d): rax = 3000h, call the probe, return rcx + rdx + r8 + r9 + rax
        f = code(m, f"49bb{_address(m, '__chkstk')} b800300000 41ffd3 4801c8 4801d0 4c01c0 4c01c8 c3")
        assert m.cpu.call(f, 1, 20, 300, 4000) == 0x3000 + 4321


@pytest.mark.parametrize("arch", list(Arch), ids=str)
def test_a_frame_that_does_not_fit_is_the_end_of_the_stack(arch: Arch) -> None:
    with machine(arch) as m:
        size = m.memory.map.stack_size + 0x1000
        wanted = size.to_bytes(4, "little").hex()
        if arch is Arch.X64:
            text = f"49bb{_address(m, '__chkstk')} b8{wanted} 41ffd3 c3"
        else:
            text = f"55 89e5 b8{wanted} ba{_address(m, '_chkstk')} ffd2 89ec 5d c3"
        with pytest.raises(GuestCrashed) as crash:
            m.cpu.call(code(m, text))
        assert crash.value.bugcheck.code == DOUBLE_FAULT
