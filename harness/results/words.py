"""Texts of guests, tests and files as a terminal may have them: nothing in them moves its cursor."""

from __future__ import annotations

from typing import Final

__all__ = ["one_line", "printable"]

_BLANKS: Final = "\t\n\v\f\r\x85\u2028\u2029"


def printable(text: str) -> str:
    r"""`text` with what isn't printable spelled out (``\x1b``, ``\u202e``), line feeds and tabs aside."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else _spelled(each) for each in text)


def one_line(text: str, most: int = 300) -> str:
    """The beginning of `text`, at most so many characters, on one line.

    So what a guest says begins no line of its own either, which some CI servers take for a command.
    """
    text = text[:most]
    return (
        text if text.isprintable() else printable("".join(" " if each in _BLANKS else each for each in text))
    )


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
