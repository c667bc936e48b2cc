"""The parts of docs/images.md that recipes say: media, times, differences, traps.

    python -m harness.image.install.guide docs/images.md

writes them anew between their markers; a test finds a page that is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.image.finding import find_recipes
from harness.image.install.traps import TRAPS
from harness.image.installspec import Install, ProductKey
from harness.image.recipe import Recipe
from harness.registry.version import WindowsVersion

__all__ = ["refreshed"]

_PART: Final = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def refreshed(page: str) -> str:
    """The page with its generated parts as the recipes are now. Raises `UsageError` for an unknown part."""
    recipes = [recipe for recipe in find_recipes().values() if isinstance(recipe.source, Install)]
    recipes.sort(key=lambda recipe: (_order(recipe.version), recipe.name))
    parts = {
        "media": _media(recipes),
        "editions": _editions(recipes),
        "differences": _differences(recipes),
        "traps": _traps(),
    }

    def part(match: re.Match[str]) -> str:
        if match[2] not in parts:
            raise UsageError(f"the page asks for the part {match[2]!r}; there are {', '.join(parts)}")
        return f"{match[1]}{parts[match[2]]}{match[3]}"

    return _PART.sub(part, page)


def _order(version: WindowsVersion) -> tuple[int, int, int]:
    return version.major, version.minor, version.build


def _install(recipe: Recipe) -> Install:
    assert isinstance(recipe.source, Install)
    return recipe.source


def _media(recipes: Iterable[Recipe]) -> str:
    lines = ["| recipe | medium | officially found | key | minutes |", "| --- | --- | --- | --- | --- |"]
    for recipe in recipes:
        install = _install(recipe)
        key = "needed" if install.product_key is ProductKey.REQUIRED else "if you have one"
        lines.append(
            f"| `{recipe.name}` | {recipe.title}: {_wanted(install, recipe)} | {install.media.where} | "
            f"{key} | about {install.expected_minutes} |"
        )
    return "\n".join(lines) + "\n"


def _wanted(install: Install, recipe: Recipe) -> str:
    media = install.media
    if media.builds:
        builds = " or ".join(map(str, media.builds))
        return f"{recipe.arch}, build {builds}"
    pack = f" with service pack {media.service_pack}" if media.service_pack else ""
    return f"{recipe.arch}, {media.family}{pack}"


def _editions(recipes: Iterable[Recipe]) -> str:
    """Each list once, with the recipes that have it."""
    having: dict[str, list[str]] = {}
    for recipe in recipes:
        if editions := ", ".join(_install(recipe).media.editions):
            having.setdefault(editions, []).append(f"`{recipe.name}`")
    return "".join(f"- {', '.join(names)}: {editions}.\n" for editions, names in having.items())


def _differences(recipes: Iterable[Recipe]) -> str:
    """Each sentence once, with the recipes it is about."""
    about: dict[str, list[str]] = {}
    for recipe in recipes:
        for sentence in _install(recipe).differs.values():
            about.setdefault(sentence, []).append(f"`{recipe.name}`")
    return "".join(f"- {', '.join(names)}: {sentence}.\n" for sentence, names in about.items())


def _traps() -> str:
    return "".join(f"{trap.number}. {trap.what}: {trap.avoided}.\n" for trap in TRAPS)


def main(page: Path) -> None:
    """Write the page anew."""
    page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
