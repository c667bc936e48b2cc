"""Variables of a written test: short names, none of them twice."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Names"]


class Names:
    """The names that are taken in one function."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def take(self, name: str) -> None:
        """Somebody else has that one."""
        self._taken.add(name)

    def free(self, stem: str) -> str:
        """`stem`, or with the first number behind it that nobody has; taken from now on."""
        number = 1
        while (name := stem if number == 1 else f"{stem}_{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name
