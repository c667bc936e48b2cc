"""The pool: what special pool and Driver Verifier would catch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.guest.bugcheck import Bugcheck
from harness.reference.machine import Machine
from harness.reference.pool import tag_text
from harness.registry.version import WIN10
from tests.reference.native import BOTH, Seh, machine, reader, writer

TAG = int.from_bytes(b"Tst1", "little")


def crash(m: Machine, call: object, *args: int) -> Bugcheck:
    assert callable(call)
    with pytest.raises(GuestCrashed) as caught:
        call(*args)
    return caught.value.bugcheck


@BOTH
@pytest.mark.parametrize("size", [0, 1, 7, 16, 100, 4095, 4096, 4097, 100_000])
def test_the_byte_after_the_rounded_size_faults(arch: Arch, size: int) -> None:
    with machine(arch) as m:
        block = m.pool.alloc(size, TAG)
        align = 2 * m.memory.pointer_size
        assert block % align == 0
        end = (block + max(size, 1) + (4095 if size >= 4096 else align - 1)) & -(
            4096 if size >= 4096 else align
        )
        m.memory.write(block, b"x" * size)
        found = crash(m, m.cpu.call, writer(m), end)
        assert (found.code, found.parameters[:2]) == (0xD6, (end, 1))


@BOTH
def test_reading_freed_memory_is_0xcc(arch: Arch) -> None:
    with machine(arch) as m:
        block = m.pool.alloc(40, TAG)
        m.pool.free(block, TAG)
        found = crash(m, m.cpu.call, reader(m), block)
        assert (found.code, found.parameters[:2]) == (0xCC, (block, 0))
        assert "Tst1" in found.reason


def test_freeing_twice_is_0xc2_7() -> None:
    with machine() as m:
        block = m.pool.alloc(40, TAG)
        m.pool.free(block)
        found = crash(m, m.pool.free, block)
        assert (found.code, found.parameters) == (0xC2, (7, 0, TAG, block))


@BOTH
@pytest.mark.parametrize("size", [1, 16, 77, 4080])
def test_filled_pool_is_watched_like_any_other(arch: Arch, size: int) -> None:
    with machine(arch) as m:
        image = m.pool.page_image(b"n" * size)
        first, second = (m.pool.alloc_image(image, TAG) for _ in range(2))
        assert m.memory.read(first, size) == m.memory.read(second, size) == b"n" * size
        m.pool.free(first, TAG)
        assert not m.memory.is_mapped((second | 0xFFF) + 1)
        assert crash(m, m.cpu.call, reader(m), first).code == 0xCC
        assert crash(m, m.pool.free, first).parameters[0] == 7
        m.memory.write(second - 1, b"x")
        assert crash(m, m.pool.free, second, TAG).parameters[3] == 0x23


@pytest.mark.parametrize(("offset", "kind"), [(8, 0x46), (-4096 * 7, 0x46)])
def test_freeing_what_is_no_block_is_0xc2_46(offset: int, kind: int) -> None:
    with machine() as m:
        found = crash(m, m.pool.free, m.pool.alloc(40, TAG) + offset)
        assert (found.code, found.parameters[0]) == (0xC2, kind)


def test_freeing_a_user_address_is_0xc2_40() -> None:
    with machine() as m:
        found = crash(m, m.pool.free, m.memory.alloc_user(16))
        assert (found.code, found.parameters[0]) == (0xC2, 0x40)


def test_a_wrong_tag_is_0xc2_a_and_no_tag_is_any_tag() -> None:
    with machine() as m:
        m.pool.free(m.pool.alloc(4, TAG), 0)
        m.pool.free(m.pool.alloc(4, TAG), None)
        m.pool.free(m.pool.alloc(4, TAG), TAG | 0x8000_0000)  # the protected-pool bit is no part of a tag
        block = m.pool.alloc(4, TAG)
        found = crash(m, m.pool.free, block, TAG + 1)
        assert (found.code, found.parameters) == (0xC2, (0xA, block, TAG, TAG + 1))


@BOTH
@pytest.mark.parametrize(("offset", "kind"), [(-1, 0x23), (21, 0x24)])
def test_bytes_beside_a_block_are_compared_when_it_is_freed(arch: Arch, offset: int, kind: int) -> None:
    with machine(arch) as m:
        block = m.pool.alloc(21, TAG)
        m.cpu.call(writer(m), block + offset)
        found = crash(m, m.pool.free, block)
        assert (found.code, found.parameters) == (0xC1, (block, block + offset, 0, kind))


@pytest.mark.parametrize(("paged", "irql"), [(True, 2), (False, 3)])
def test_the_pool_has_irql_limits(paged: bool, irql: int) -> None:
    with machine() as m:
        block = m.pool.alloc(8, TAG, paged=paged)
        m.cpu.irql = irql
        found = crash(m, m.pool.free, block)
        assert (found.code, found.parameters) == (0xC2, (9, irql, int(paged), block))
        with pytest.raises(GuestCrashed) as caught:
            m.pool.alloc(8, TAG, paged=paged)
        assert caught.value.bugcheck.parameters == (8, irql, int(paged), 8)


def test_fresh_memory_is_not_zero_unless_asked() -> None:
    with machine() as m:
        for size in (20, 5000):
            assert m.memory.read(m.pool.alloc(size, TAG), size).strip(b"\xfa") == b""
            assert m.memory.read(m.pool.alloc(size, TAG, zero=True), size) == bytes(size)


@BOTH
def test_the_owner_is_the_driver_that_called(arch: Arch) -> None:
    with machine(arch) as m:
        seh = Seh(m)
        block = seh.m.cpu.call(seh["allocate"], 24)
        (found,) = m.pool.outstanding(seh.driver)
        assert (found.address, found.size, tag_text(found.tag)) == (block, 24, "Test")
        m.pool.release_owned(seh.driver)
        assert m.pool.outstanding(seh.driver) == []


def test_addresses_are_not_used_again_soon() -> None:
    with machine() as m:
        seen = set()
        for _ in range(500):
            block = m.pool.alloc(16, TAG)
            assert block not in seen
            seen.add(block)
            m.pool.free(block)


def test_an_exhausted_pool_gives_null() -> None:
    with Machine(WIN10, memory_size=4 << 20) as m:
        blocks = [m.pool.alloc(1 << 20, TAG) for _ in range(5)]
        assert blocks[0]
        assert blocks[-1] == 0
        m.pool.free(blocks[0])
        assert m.pool.alloc(1 << 20, TAG)
        assert m.pool.alloc(1 << 40, TAG) == 0


@given(st.lists(st.one_of(st.integers(0, 9000), st.none()), max_size=60))
def test_live_blocks_never_overlap_and_all_of_them_come_back(steps: list[int | None]) -> None:
    with machine() as m:
        free = m.memory.free_pages()
        live: dict[int, int] = {}
        for step in steps:
            if step is None and live:
                m.pool.free(next(iter(live)))
                del live[next(iter(live))]
            elif step is not None:
                block = m.pool.alloc(step, TAG, paged=bool(step & 1))
                assert all(block + step <= a or a + n <= block for a, n in live.items() if n and step)
                live[block] = step
        for block in live:
            m.pool.free(block)
        assert m.memory.free_pages() == free
