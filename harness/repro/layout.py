"""How a written test's text is laid out: imports in order, blank lines, long lines broken."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Final

__all__ = ["INDENT", "sorted_imports", "wrapped"]

INDENT: Final = "    "
_WIDTH: Final = 110


def sorted_imports(lines: list[str]) -> list[str]:
    """Standard library first, one line a module."""
    merged: dict[str, set[str]] = {}
    plain: set[str] = set()
    for line in dict.fromkeys(lines):
        found = re.fullmatch(r"from (\S+) import (.+)", line)
        if found is None:
            plain.add(line)
        else:
            merged.setdefault(found[1], set()).update(found[2].split(", "))
    listed = sorted(plain) + [
        f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(merged.items())
    ]
    first = [line for line in listed if not re.match(r"(from|import) (harness|suites|tests)\b", line)]
    rest = [line for line in listed if line not in first]
    return [*first, *([""] if first and rest else []), *rest]


def wrapped(text: str) -> str:
    """One blank line at a time inside the function, none at its ends; long lines broken where they may be."""
    lines: list[str] = []
    for line in text.split("\n"):
        if not line.strip() and lines and not lines[-1].strip() and len(lines) > 3 and line == "":
            if len(lines) > 1 and lines[-2].startswith(("from ", "import ")):
                lines.append("")
            continue
        if line.startswith(INDENT) and lines and lines[-1] == "" and lines[-2].startswith("def "):
            lines.pop()
        lines.extend(_broken(line))
    return "\n".join(lines).rstrip() + "\n"


def _broken(line: str) -> list[str]:
    if len(line) <= _WIDTH:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    head, bracket, rest = line.partition("(")
    if not bracket or not rest.endswith(")"):
        return [line]
    inside = rest[:-1]
    candidate = [f"{head}(", f"{indent}{INDENT}{inside}", f"{indent})"]
    try:
        ast.parse(textwrap.dedent("\n".join(candidate)))
    except SyntaxError:
        return [line]
    return candidate
