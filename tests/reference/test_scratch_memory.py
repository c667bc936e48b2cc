"""Scratch memory: what the kernel alone saw is used again, what a driver was shown is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.guest import Arch
from harness.reference.faults import GuestFault
from harness.reference.layout import PAGE
from harness.reference.memory import Memory

NAME = "name".encode("utf-16-le")


@pytest.fixture(params=list(Arch), ids=str)
def memory(request: pytest.FixtureRequest) -> Iterator[Memory]:
    made = Memory(request.param, size=8 << 20)
    yield made
    made.close()


def is_gone(memory: Memory, address: int) -> bool:
    try:
        memory.read(address, 1)
    except GuestFault:
        return True
    return False


def test_what_a_driver_was_shown_goes_with_its_block_and_is_named(memory: Memory) -> None:
    with memory.scratch() as scratch:
        name = scratch.bytes(NAME)
        shown = scratch.show(b"s" * 40, "a structure")
        assert memory.find_gone(shown) is None
        assert (memory.read(name, 8), memory.read(shown, 40)) == (NAME, b"s" * 40)
    assert is_gone(memory, name)
    assert is_gone(memory, shown)
    for address, distance in ((shown, 0), (shown + 8, 8), (name, name - shown)):
        assert memory.find_gone(address) == ((shown, 40, "a structure"), distance)


def test_what_only_the_kernel_saw_is_used_again(memory: Memory) -> None:
    places = []
    for _again in range(3):
        with memory.scratch() as scratch:
            places.append(scratch.bytes(b"inside"))
    assert len(set(places)) == 1
    assert not is_gone(memory, places[0])


def test_a_block_inside_another_goes_before_it(memory: Memory) -> None:
    with memory.scratch() as outer:
        first = outer.show(b"first", "the outer")
        with memory.scratch() as inner:
            inner.bytes(NAME)
            second = inner.show(b"second", "the inner")
            with memory.scratch() as innermost:
                innermost.bytes(b"third")
            assert memory.read(second, 6) == b"second"
        assert not is_gone(memory, first)
        assert is_gone(memory, second)
        late = outer.show(b"late", "the outer's end")
        assert memory.read(first, 5) == b"first"
        assert late > second
    assert [memory.find_gone(each) for each in (first, second, late)] == [
        ((first, 5, "the outer"), 0),
        ((second, 6, "the inner"), 0),
        ((late, 4, "the outer's end"), 0),
    ]


def test_a_block_inside_one_that_shows_nothing_goes_with_it(memory: Memory) -> None:
    with memory.scratch() as outer:
        own = outer.bytes(b"own")
        with memory.scratch() as inner:
            shown = inner.show(b"shown", "a structure")
        after = outer.bytes(b"after")
        assert memory.read(own, 3) == b"own"
        assert memory.read(after, 5) == b"after"
        assert after > shown
    assert is_gone(memory, shown)


def test_nothing_goes_while_operations_share_it(memory: Memory) -> None:
    memory.share_scratch(True)
    with memory.scratch() as first:
        early = first.show(b"early", "the first")
        with memory.scratch() as second:
            other = second.show(b"other", "the second")
        assert memory.read(other, 5) == b"other"
        memory.share_scratch(False)
        assert memory.read(early, 5) == b"early"
    assert is_gone(memory, early)
    assert is_gone(memory, other)


def test_addresses_and_frames_come_again_at_last(memory: Memory) -> None:
    free = memory.free_pages()
    for size in (10, 3 * PAGE, 200):
        for _again in range(7000):
            with memory.scratch() as scratch:
                shown = scratch.show(b"x" * size, "a structure")
            assert is_gone(memory, shown)
    assert free - memory.free_pages() < 64


def test_very_many_blocks_inside_one_end_in_no_exhaustion(memory: Memory) -> None:
    with memory.scratch() as outer:
        first = outer.show(b"first", "the outer")
        for _again in range(40_000):
            with memory.scratch() as inner:
                inner.show(b"inner", "the inner")
        assert memory.read(first, 5) == b"first"
        assert outer.show(b"last", "the outer") > first
    with memory.scratch() as scratch:
        assert memory.read(scratch.show(b"next", "the next"), 4) == b"next"
