"""Delta debugging: the smallest part of a list that still fails, found with many trials at a time.

The search is Zeller's and Hildebrandt's ddmin (Simplifying and Isolating Failure-Inducing Input, IEEE
Transactions on Software Engineering 28, 2002), complements only. Of several trials that succeed the first
in order is taken, so the answer doesn't depend on which was done first or on how many run at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["Trial", "first_success", "reduce_elements"]

T = TypeVar("T", bound=Hashable)
C = TypeVar("C")

#: Judges several candidates at a time: does each still fail in the same way?
Trial = Callable[[Sequence[C]], Sequence[bool]]


def first_success(candidates: Iterable[C], trial: Trial[C], width: int) -> C | None:
    """The first candidate that still fails, tried `width` at a time; None when none does."""
    wave: list[C] = []
    for candidate in candidates:
        wave.append(candidate)
        if len(wave) == width:
            if (found := _first(wave, trial)) is not None:
                return found
            wave = []
    return _first(wave, trial) if wave else None


def _first(wave: Sequence[C], trial: Trial[C]) -> C | None:
    return next((each for each, fails in zip(wave, trial(wave), strict=True) if fails), None)


def reduce_elements(
    elements: Sequence[T],
    closed: Callable[[Iterable[T]], frozenset[T]],
    trial: Trial[frozenset[T]],
    width: int,
    pinned: frozenset[T] = frozenset(),
) -> frozenset[T]:
    """What of `elements` is left when nothing more can go; `pinned` always stays.

    `closed` takes away what lacks something it needs. The result is 1-minimal: without any one element that
    isn't pinned (and what needs it) the trial says no.
    """
    kept = frozenset(elements)
    pieces = 2
    while True:
        loose = [element for element in elements if element in kept and element not in pinned]
        if not loose:
            return kept
        pieces = min(pieces, len(loose))
        found = first_success(_without_each(kept, _split(loose, pieces), closed, pinned), trial, width)
        if found is not None:
            kept = found
            pieces = max(pieces - 1, 2)
        elif pieces == len(loose):
            return kept
        else:
            pieces = min(2 * pieces, len(loose))


def _without_each(
    kept: frozenset[T],
    pieces: Iterable[Sequence[T]],
    closed: Callable[[Iterable[T]], frozenset[T]],
    pinned: frozenset[T],
) -> Iterator[frozenset[T]]:
    seen = {kept}
    # What came last is what others need least.
    for piece in reversed(list(pieces)):
        candidate = closed(kept.difference(piece))
        if candidate not in seen and pinned <= candidate:
            seen.add(candidate)
            yield candidate


def _split(items: Sequence[T], pieces: int) -> Iterator[Sequence[T]]:
    """`pieces` slices of nearly the same length."""
    start = 0
    for number in range(pieces):
        end = start + (len(items) - start) // (pieces - number)
        yield items[start:end]
        start = end
