"""Which recipes there are: the project's own and those of further folders."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.image.recipe import RECIPE_FILE, Recipe, load_recipe

__all__ = ["RECIPES_VARIABLE", "find_recipe", "find_recipes", "recipe_folders"]

#: Further folders of recipes, separated as in PATH.
RECIPES_VARIABLE: Final = "HARNESS_RECIPES"

_PLACES: Final = (
    Path(__file__).resolve().parents[2] / "vm-images",  # a checkout
    Path(__file__).resolve().parents[1] / "vm-images",  # an installed wheel
)


def recipe_folders(extra: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Where recipes are looked for: `extra`, then those of the environment, then the project's.

    Raises `UsageError` for one that was named and isn't there.
    """
    named = [*extra, *(Path(part) for part in os.environ.get(RECIPES_VARIABLE, "").split(os.pathsep) if part)]
    for folder in named:
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: no folder of recipes there (--recipes and {RECIPES_VARIABLE} name folders)"
            )
    own = [place for place in _PLACES if place.is_dir()][:1]
    return tuple(dict.fromkeys(folder.absolute() for folder in (*named, *own)))


def find_recipes(extra: Iterable[Path] = ()) -> dict[str, Recipe]:
    """Every recipe by name; the first of a name wins, so that a user's replaces the project's.

    A folder that holds a ``recipe.toml`` itself counts as one recipe. Raises `ConfigError` for a bad one.
    """
    found: dict[str, Recipe] = {}
    for folder in recipe_folders(extra):
        for file in _recipe_files(folder):
            recipe = load_recipe(file)
            found.setdefault(recipe.name, recipe)
    return found


def find_recipe(name: str, extra: Iterable[Path] = ()) -> Recipe:
    """The recipe of that name; only its own file is read.

    Raises `UsageError` naming what there is, `ConfigError` for a bad one.
    """
    names: list[str] = []
    for folder in recipe_folders(extra):
        for file in _recipe_files(folder):
            if file.parent.name == name:
                return load_recipe(file)
            names.append(file.parent.name)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(names)) or 'none'}"
    raise UsageError(
        f"no recipe {name!r}; {hint} (--recipes DIR or {RECIPES_VARIABLE} names further folders)"
    )


def _recipe_files(folder: Path) -> list[Path]:
    if (folder / RECIPE_FILE).is_file():
        return [folder / RECIPE_FILE]
    return sorted(folder.glob(f"*/{RECIPE_FILE}"))
