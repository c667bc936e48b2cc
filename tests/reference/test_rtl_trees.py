"""Splay links that drivers walk themselves, and generic tables of both kinds."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from filtering_world import World

from harness import reference
from harness.guest import Arch
from harness.reference.exports import collect
from harness.reference.machine import Machine
from harness.registry.version import WIN11_24H2

EXPORTS = collect()
FOUND, AS_LEFT, AS_RIGHT = 1, 2, 3


@pytest.fixture(scope="module", params=["x64", "x86"])
def m(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with reference.boot("6.1", arch=request.param) as guest:
        yield guest.machine


class Tree:
    """A splay tree of numbers as a driver builds it: each node is the links and a number behind them."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.size = m.memory.pointer_size
        self.root = 0
        self.nodes: dict[int, int] = {}

    def call(self, name: str, *arguments: int) -> int:
        return self.m.cpu.call(self.m.exports.address_of(name), *arguments)

    def insert(self, number: int) -> None:
        node = self.m.memory.alloc_static(4 * self.size)
        self.m.memory.put_ptr(node, node)
        self.m.memory.put_u32(node + 3 * self.size, number)
        at = self.root
        while at:
            side = 1 if number < self.m.memory.u32(at + 3 * self.size) else 2
            below = self.m.memory.ptr(at + side * self.size)
            if not below:
                self.m.memory.put_ptr(at + side * self.size, node)
                self.m.memory.put_ptr(node, at)
                break
            at = below
        self.nodes[number] = node
        self.root = self.call("RtlSplay", node)

    def in_order(self, *, backwards: bool = False) -> list[int]:
        at, side = self.root, 2 if backwards else 1
        while at and (below := self.m.memory.ptr(at + side * self.size)):
            at = below
        out = []
        while at:
            out.append(self.m.memory.u32(at + 3 * self.size))
            at = self.call("RtlRealPredecessor" if backwards else "RtlRealSuccessor", at)
        return out


@pytest.mark.parametrize("seed", range(4))
def test_a_splay_tree_keeps_its_order_whatever_is_done(m: Machine, seed: int) -> None:
    chosen = random.Random(seed)
    tree = Tree(m)
    numbers = chosen.sample(range(1000), 40)
    for number in numbers:
        tree.insert(number)
        assert tree.root == tree.nodes[number]
        assert m.memory.ptr(tree.root) == tree.root  # its own parent
    assert tree.in_order() == sorted(numbers)
    assert tree.in_order(backwards=True) == sorted(numbers, reverse=True)
    root_at = m.memory.alloc_static(16)
    for count, number in enumerate(chosen.sample(numbers, 40)):
        if count % 2:
            tree.root = tree.call("RtlDelete", tree.nodes.pop(number))
        else:
            m.memory.put_ptr(root_at, tree.root)
            tree.call("RtlDeleteNoSplay", tree.nodes.pop(number), root_at)
            tree.root = m.memory.ptr(root_at)
        assert tree.in_order() == sorted(tree.nodes)
    assert tree.root == 0


def test_neighbours_below_a_node(m: Machine) -> None:
    tree = Tree(m)
    for number in (10, 30, 20):
        tree.insert(number)
    middle = tree.nodes[20]
    assert tree.call("RtlSubtreePredecessor", middle) == tree.nodes[10]
    assert tree.call("RtlSubtreeSuccessor", middle) == tree.nodes[30]
    assert tree.call("RtlSubtreeSuccessor", tree.nodes[30]) == 0


class Table:
    """A generic table of 32-bit numbers, its routines in Python."""

    def __init__(self, suffix: str, arch: Arch) -> None:
        self.suffix = suffix
        self.world = world = World(WIN11_24H2, arch)
        world.generic_tables = {}  # type: ignore[attr-defined]
        self.freed: list[int] = []
        self.compared = 0
        self.at, self.buffer, self.out = (world.memory.alloc_static(0x80) for _ in range(3))
        world.cpu.routines.update({0x10: self.compare, 0x20: self.allocate, 0x30: self.free})
        self.call("RtlInitializeGenericTable", 0x10, 0x20, 0x30, 0)

    def call(self, name: str, *arguments: int) -> int:
        routine = EXPORTS[name + self.suffix][-1].function
        result: int | None = routine(self.world, self.at, *arguments)
        return result or 0

    def compare(self, _table: int, first: int, second: int) -> int:
        self.compared += 1
        a, b = self.world.memory.u32(first), self.world.memory.u32(second)
        return 2 if a == b else int(a > b)

    def allocate(self, _table: int, size: int) -> int:
        return self.world.memory.alloc_static(size)

    def free(self, _table: int, node: int) -> int:
        self.freed.append(node)
        return 0

    def numbered(self, number: int) -> int:
        self.world.memory.put_u32(self.buffer, number)
        return self.buffer

    def insert(self, number: int) -> int:
        return self.call("RtlInsertElementGenericTable", self.numbered(number), 4, self.out)

    def value(self, element: int) -> int | None:
        return self.world.memory.u32(element) if element else None

    @property
    def root(self) -> int:
        size = self.world.memory.pointer_size
        return self.world.memory.ptr(self.at + (2 * size if self.suffix else 0))


@pytest.fixture(params=[("", Arch.X64), ("", Arch.X86), ("Avl", Arch.X64)], ids=str)
def table(request: pytest.FixtureRequest) -> Table:
    return Table(*request.param)


def test_elements_are_counted_by_insertion_or_in_order(table: Table) -> None:
    assert table.root == 0
    for number in (50, 10, 90, 20):
        table.insert(number)
    assert table.root != 0
    table.call("RtlDeleteElementGenericTable", table.numbered(10))
    got = [table.value(table.call("RtlGetElementGenericTable", index)) for index in range(4)]
    assert got == ([20, 50, 90, None] if table.suffix else [50, 90, 20, None])
    restart, found = 1, []
    while element := table.call("RtlEnumerateGenericTable", restart):
        restart = 0
        found.append(table.value(element))
    assert found == [20, 50, 90]
    for number in (50, 90, 20):
        table.call("RtlDeleteElementGenericTable", table.numbered(number))
    assert (table.root, len(table.freed)) == (0, 4)


def test_a_full_look_up_spares_the_insertion_its_search(table: Table) -> None:
    memory, node_at, result_at = table.world.memory, table.out + 8, table.out + 16

    def insert(number: int) -> int:
        element = table.call("RtlLookupElementGenericTableFull", table.numbered(number), node_at, result_at)
        result = memory.u32(result_at)
        assert bool(element) == (result == FOUND)
        before = table.compared
        table.call(
            "RtlInsertElementGenericTableFull", table.buffer, 4, table.out, memory.ptr(node_at), result
        )
        assert table.compared == before
        return result

    assert [insert(number) for number in (50, 10, 90, 20, 60, 50)] == [
        0,
        AS_LEFT,
        AS_RIGHT,
        AS_LEFT,
        AS_LEFT,
        FOUND,
    ]
    assert memory.u8(table.out) == 0  # the last was no new element
    key = table.out + 24
    memory.put_ptr(key, 0)
    found = []
    while element := table.call("RtlEnumerateGenericTableWithoutSplaying", key):
        found.append(table.value(element))
    assert found == [10, 20, 50, 60, 90]
