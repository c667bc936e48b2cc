"""Doubly linked lists in guest memory, as LIST_ENTRY makes them: a head and entries, each Flink and Blink."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["insert_head", "insert_tail", "make_empty", "remove_head", "take_all"]


def make_empty(m: Machine, head: int) -> None:
    """InitializeListHead."""
    m.memory.put_ptr(head, head)
    m.memory.put_ptr(head + m.memory.pointer_size, head)


def insert_head(m: Machine, head: int, entry: int) -> int:
    """Put `entry` first; the entry that was first, 0 for none."""
    first = m.memory.ptr(head)
    _link(m, entry, head, first)
    return 0 if first == head else first


def insert_tail(m: Machine, head: int, entry: int) -> int:
    """Put `entry` last; the entry that was last, 0 for none."""
    last = m.memory.ptr(head + m.memory.pointer_size)
    _link(m, entry, last, head)
    return 0 if last == head else last


def remove_head(m: Machine, head: int) -> int:
    """Take the first entry off; 0 when the list is empty."""
    size = m.memory.pointer_size
    first = m.memory.ptr(head)
    if first == head:
        return 0
    following = m.memory.ptr(first)
    m.memory.put_ptr(head, following)
    m.memory.put_ptr(following + size, head)
    return first


def take_all(m: Machine, head: int) -> int:
    """Empty the list; its first entry, linked with the others in a ring without a head, or 0."""
    size = m.memory.pointer_size
    first, last = m.memory.ptr(head), m.memory.ptr(head + size)
    if first == head:
        return 0
    m.memory.put_ptr(last, first)
    m.memory.put_ptr(first + size, last)
    make_empty(m, head)
    return first


def _link(m: Machine, entry: int, before: int, after: int) -> None:
    size = m.memory.pointer_size
    m.memory.put_ptr(entry, after)
    m.memory.put_ptr(entry + size, before)
    m.memory.put_ptr(before, entry)
    m.memory.put_ptr(after + size, entry)
