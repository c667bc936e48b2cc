"""Guest memory: pages, scalars, strings, arenas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest import Arch
from harness.reference.faults import Access, GuestFault, MemoryExhausted
from harness.reference.kernel.text import read_ansi_z, read_wide_z
from harness.reference.layout import PAGE
from harness.reference.memory import READ, WRITE, Memory

BASE = 0x9000_0000


@pytest.fixture(params=list(Arch), ids=str)
def memory(request: pytest.FixtureRequest) -> Iterator[Memory]:
    made = Memory(request.param, size=4 << 20)
    yield made
    made.close()


def test_what_is_written_is_read_back_across_pages(memory: Memory) -> None:
    memory.map_pages(BASE, 3, READ | WRITE)
    data = bytes(range(256)) * 20
    memory.write(BASE + 100, data)
    assert memory.read(BASE + 100, len(data)) == data
    assert memory.read(BASE, 100) == bytes(100)


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_scalars_wrap_to_their_width_also_between_pages(memory: Memory, width: int) -> None:
    memory.map_pages(BASE, 2, READ | WRITE)
    put, get = getattr(memory, f"put_u{width}"), getattr(memory, f"u{width}")
    for address in (BASE + 8, BASE + PAGE - 1, BASE + PAGE - width // 8 + 1):
        put(address, -2)
        assert get(address) == (1 << width) - 2


def test_pointers_have_the_size_of_the_architecture(memory: Memory) -> None:
    memory.map_pages(BASE, 1, READ | WRITE)
    memory.put_ptr(BASE, -1)
    assert memory.ptr(BASE) == memory.map.address_mask
    assert memory.u8(BASE + memory.pointer_size) == 0


def test_absent_and_read_only_pages_fault_with_address_and_access(memory: Memory) -> None:
    memory.map_pages(BASE, 1, READ)
    with pytest.raises(GuestFault) as written:
        memory.put_u32(BASE + 4, 1)
    assert (written.value.address, written.value.access) == (BASE + 4, Access.WRITE)
    with pytest.raises(GuestFault) as read:
        memory.read(BASE + PAGE - 2, 4)
    assert (read.value.address, read.value.access) == (BASE + PAGE, Access.READ)


def test_a_write_that_can_not_finish_does_not_begin(memory: Memory) -> None:
    memory.map_pages(BASE, 1, READ | WRITE)
    with pytest.raises(GuestFault):
        memory.write(BASE + PAGE - 2, b"abcd")
    assert memory.read(BASE + PAGE - 2, 2) == b"\0\0"


def test_force_writes_protected_pages_but_not_absent_ones(memory: Memory) -> None:
    memory.map_pages(BASE, 1, READ)
    memory.write(BASE, b"x", force=True)
    assert memory.read(BASE, 1) == b"x"
    with pytest.raises(GuestFault):
        memory.write(BASE + PAGE, b"x", force=True)


def test_pages_come_back_zeroed(memory: Memory) -> None:
    memory.map_pages(BASE, 1, READ | WRITE)
    memory.write(BASE, b"secret")
    memory.unmap_pages(BASE)
    assert not memory.is_mapped(BASE)
    memory.map_pages(BASE + PAGE, 1, READ | WRITE)
    assert memory.read(BASE + PAGE, 6) == bytes(6)


def test_an_alias_shows_the_same_bytes(memory: Memory) -> None:
    memory.map_pages(BASE, 1, READ | WRITE)
    memory.map_alias(BASE + 16 * PAGE, BASE, READ)
    memory.put_u32(BASE + 8, 77)
    assert memory.u32(BASE + 16 * PAGE + 8) == 77
    with pytest.raises(GuestFault):
        memory.put_u32(BASE + 16 * PAGE, 1)


def test_memory_ends_and_comes_back(memory: Memory) -> None:
    with pytest.raises(MemoryExhausted):
        memory.map_pages(BASE, 2000, READ)
    memory.map_pages(BASE, 500, READ)
    free = memory.free_pages()
    memory.unmap_pages(BASE, 500)
    assert memory.free_pages() == free + 500


def test_everybody_hears_of_pages_that_go(memory: Memory) -> None:
    gone: list[int] = []
    memory.forget = gone.append
    memory.map_pages(BASE, 2, READ | WRITE)
    memory.protect(BASE, 1, READ)
    memory.unmap_pages(BASE, 2)
    assert gone == [BASE >> 12, BASE >> 12, (BASE >> 12) + 1]


@given(st.text(alphabet=st.characters(min_codepoint=1), max_size=50))
def test_unicode_strings_survive_unpaired_surrogates_included(text: str) -> None:
    memory = Memory(Arch.X64, size=1 << 20)
    try:
        with memory.scratch() as scratch:
            address = scratch.unicode(text)
            assert memory.read_unicode(address) == text
            length, maximum, buffer = memory.unicode_string(address)
            assert maximum == length + 2
            assert read_wide_z(memory, buffer) == text
    finally:
        memory.close()


def test_scratch_memory_is_given_back_in_order_and_zeroed(memory: Memory) -> None:
    with memory.scratch() as outer:
        first = outer.bytes(b"outer")
        with memory.scratch() as inner:
            second = inner.bytes(b"inner")
        with memory.scratch() as again:
            assert again.alloc(16) == second
            assert memory.read(second, 5) == bytes(5)
        assert memory.read(first, 5) == b"outer"


def test_user_memory_is_reset_as_a_whole(memory: Memory) -> None:
    first = memory.alloc_user(100)
    assert memory.is_user(first)
    memory.write(first, b"x" * 100)
    own = memory.map_user(5000)
    memory.write(own, b"y" * 5000)
    memory.reset_user()
    assert memory.alloc_user(100) == first
    assert memory.read(first, 100) == bytes(100)
    assert not memory.is_mapped(own)


def test_terminated_strings_stop_at_the_limit_and_at_the_end_of_memory(memory: Memory) -> None:
    memory.map_pages(BASE, 2, READ | WRITE)
    memory.write(BASE + PAGE - 3, "äöü".encode("utf-16-le"))
    assert read_wide_z(memory, BASE + PAGE - 3) == "äöü"
    memory.fill(BASE, 2 * PAGE, 0x41)
    assert read_ansi_z(memory, BASE, 10) == b"A" * 10
    with pytest.raises(GuestFault):
        read_ansi_z(memory, BASE)
