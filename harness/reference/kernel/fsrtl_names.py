"""Names with wild cards, which drivers match paths with, and paths taken apart.

Sources: nf-ntifs-fsrtlisnameinexpression, nf-ntifs-fsrtldissectname. `*` matches any run and `?` one
character; `<` (DOS_STAR) matches up to the last dot, `>` (DOS_QM) a character or the end of a part, `"`
(DOS_DOT) a dot or the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.rtl_strings import string_bytes
from harness.reference.kernel.text import upcase, wide_decode

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["matches"]

_WILD: Final = frozenset('*?<>"')


def matches(expression: str, name: str) -> bool:
    """Whether `name` fits `expression`, both in the same case; work is bounded by the product of lengths."""
    last_dot = name.rfind(".")
    reached = {0}
    for wild in expression:
        following: set[int] = set()
        for at in reached:
            if wild == "*":
                following.update(range(at, len(name) + 1))
            elif wild == "<":
                following.update(range(at, (last_dot if last_dot >= at else len(name)) + 1))
            elif wild == "?":
                following.update((at + 1,) if at < len(name) else ())
            elif wild == ">":
                following.add(at if at == len(name) or name[at] == "." else at + 1)
            elif wild == '"':
                following.update((at + 1,) if name[at : at + 1] == "." else (at,) if at == len(name) else ())
            elif name[at : at + 1] == wild:
                following.add(at + 1)
        reached = following
    return len(name) in reached


@export("FsRtlIsNameInExpression", args="ptr, ptr, uchar, ptr")
def fs_rtl_is_name_in_expression(m: Machine, expression: int, name: int, ignore_case: int, table: int) -> int:
    """With `ignore_case` the expression has to be in upper case already; the name is put into it here."""
    text = wide_decode(string_bytes(m, name))
    wanted = wide_decode(string_bytes(m, expression))
    return int(matches(wanted, upcase(text) if ignore_case & 0xFF else text))


@export("FsRtlIsNameInUnUpcasedExpression", args="ptr, ptr, uchar, ptr", since=(10, 0))
def fs_rtl_is_name_in_unupcased_expression(
    m: Machine, expression: int, name: int, ignore_case: int, table: int
) -> int:
    """With `ignore_case` the expression may be in any case."""
    wanted, text = wide_decode(string_bytes(m, expression)), wide_decode(string_bytes(m, name))
    if ignore_case & 0xFF:
        wanted, text = upcase(wanted), upcase(text)
    return int(matches(wanted, text))


def _dissect(m: Machine, length: int, buffer: int, first: int, rest: int) -> None:
    """What stands before the first backslash and what behind it, one at the front left out."""
    text = m.memory.read(buffer, length) if length else b""
    units = [text[at : at + 2] for at in range(0, length, 2)]
    begin = 1 if units[:1] == [b"\\\0"] else 0
    end = next((at for at in range(begin, len(units)) if units[at] == b"\\\0"), len(units))
    behind = min(end + 1, len(units))
    for string, start, stop in ((first, begin, end), (rest, behind, len(units))):
        size = 2 * (stop - start)
        m.memory.put_unicode_string(string, size, size, buffer + 2 * start if size else 0)


@export("FsRtlDissectName", args="ptr, ptr, ptr", arches=("x64",))
def fs_rtl_dissect_name(m: Machine, path: int, first: int, rest: int) -> None:
    """The path is passed by value: on x64 that is a pointer to a copy."""
    length, _maximum, buffer = m.memory.unicode_string(path)
    _dissect(m, length, buffer, first, rest)


@export("FsRtlDissectName", args="ulonglong, ptr, ptr", arches=("x86",))
def fs_rtl_dissect_name_x86(m: Machine, path: int, first: int, rest: int) -> None:
    _dissect(m, path & 0xFFFF, path >> 32, first, rest)


@export("FsRtlDoesNameContainWildCards", args="ptr")
def fs_rtl_does_name_contain_wild_cards(m: Machine, name: int) -> int:
    return int(not _WILD.isdisjoint(wide_decode(string_bytes(m, name))))


@export("FsRtlAreNamesEqual", args="ptr, ptr, uchar, ptr")
def fs_rtl_are_names_equal(m: Machine, first: int, second: int, ignore_case: int, table: int) -> int:
    a, b = wide_decode(string_bytes(m, first)), wide_decode(string_bytes(m, second))
    return int(upcase(a) == upcase(b) if ignore_case & 0xFF else a == b)
