"""Splay links: trees whose nodes a driver embeds in its own structures and walks itself.

The links are the driver's memory, and it reads them: Parent, LeftChild and RightChild, the root its own
parent. Sources: ntifs.h (RTL_SPLAY_LINKS, RtlIsRoot, RtlInsertAsLeftChild), nf-ntifs-rtlsplay,
nf-ntifs-rtldelete, nf-ntifs-rtldeletenosplay, nf-ntifs-rtlrealsuccessor, nf-ntifs-rtlrealpredecessor,
nf-ntifs-rtlsubtreesuccessor, nf-ntifs-rtlsubtreepredecessor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.memory import Memory

__all__: list[str] = []

_LEFT: Final = 1
_RIGHT: Final = 2


class _Links:
    """The splay links in a machine's memory; nodes are addresses, 0 is none."""

    def __init__(self, m: Machine) -> None:
        self._memory: Memory = m.memory
        self._size = m.memory.pointer_size

    def parent(self, node: int) -> int:
        return self._memory.ptr(node)

    def child(self, node: int, side: int) -> int:
        return self._memory.ptr(node + side * self._size)

    def is_root(self, node: int) -> bool:
        return self.parent(node) == node

    def side(self, node: int) -> int:
        """On which side of its parent a node is that is not the root."""
        return _LEFT if self.child(self.parent(node), _LEFT) == node else _RIGHT

    def attach(self, parent: int, side: int, node: int) -> None:
        self._memory.put_ptr(parent + side * self._size, node)
        if node:
            self._memory.put_ptr(node, parent)

    def make_root(self, node: int) -> None:
        if node:
            self._memory.put_ptr(node, node)

    def furthest(self, node: int, side: int) -> int:
        while following := self.child(node, side):
            node = following
        return node

    def put_in_place_of(self, old: int, new: int) -> None:
        """`new` (or nothing) where `old` hangs; what is below either is not touched."""
        if self.is_root(old):
            self.make_root(new)
        else:
            self.attach(self.parent(old), self.side(old), new)

    def rotate(self, node: int) -> None:
        """Lift a node that is not the root above its parent."""
        parent, side = self.parent(node), self.side(node)
        other = _LEFT + _RIGHT - side
        inner = self.child(node, other)
        self.put_in_place_of(parent, node)
        self.attach(node, other, parent)
        self.attach(parent, side, inner)

    def splay(self, node: int) -> int:
        """Make a node the root of its tree; returns it."""
        while not self.is_root(node):
            parent = self.parent(node)
            if not self.is_root(parent):
                self.rotate(parent if self.side(node) == self.side(parent) else node)
            self.rotate(node)
        return node

    def root(self, node: int) -> int:
        while not self.is_root(node):
            node = self.parent(node)
        return node

    def neighbour(self, node: int, side: int) -> int:
        """The next node of the tree in order on that side, 0 for none."""
        if below := self.child(node, side):
            return self.furthest(below, _LEFT + _RIGHT - side)
        while not self.is_root(node):
            if self.side(node) != side:
                return self.parent(node)
            node = self.parent(node)
        return 0

    def unlink(self, node: int) -> int:
        """Take a node out; returns one that is still in the tree, near where it was, 0 for an empty tree."""
        left, right = self.child(node, _LEFT), self.child(node, _RIGHT)
        if not (left and right):
            only = left or right
            near = only if self.is_root(node) else self.parent(node)
            self.put_in_place_of(node, only)
            return near
        heir = self.furthest(left, _RIGHT)
        near = heir
        if heir != left:
            near = self.parent(heir)
            self.put_in_place_of(heir, self.child(heir, _LEFT))
            self.attach(heir, _LEFT, left)
        self.put_in_place_of(node, heir)
        self.attach(heir, _RIGHT, right)
        return near


@export("RtlSplay", args="ptr")
def rtl_splay(m: Machine, node: int) -> int:
    return _Links(m).splay(node)


@export("RtlDelete", args="ptr")
def rtl_delete(m: Machine, node: int) -> int:
    """The new root, NULL for a tree that is empty now."""
    links = _Links(m)
    near = links.unlink(node)
    return links.splay(near) if near else 0


@export("RtlDeleteNoSplay", args="ptr, ptr")
def rtl_delete_no_splay(m: Machine, node: int, root_at: int) -> None:
    links = _Links(m)
    near = links.unlink(node)
    m.memory.put_ptr(root_at, links.root(near) if near else 0)


@export("RtlSubtreeSuccessor", args="ptr")
def rtl_subtree_successor(m: Machine, node: int) -> int:
    links = _Links(m)
    below = links.child(node, _RIGHT)
    return links.furthest(below, _LEFT) if below else 0


@export("RtlSubtreePredecessor", args="ptr")
def rtl_subtree_predecessor(m: Machine, node: int) -> int:
    links = _Links(m)
    below = links.child(node, _LEFT)
    return links.furthest(below, _RIGHT) if below else 0


@export("RtlRealSuccessor", args="ptr")
def rtl_real_successor(m: Machine, node: int) -> int:
    return _Links(m).neighbour(node, _RIGHT)


@export("RtlRealPredecessor", args="ptr")
def rtl_real_predecessor(m: Machine, node: int) -> int:
    return _Links(m).neighbour(node, _LEFT)
