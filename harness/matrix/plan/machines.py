"""What is known of a plan's machines where its jobs would run: on this host, or on a cluster's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.drill import admission_of_target
from harness.errors import HarnessError
from harness.image.images import is_built
from harness.image.recipe import Recipe
from harness.targets import Target

__all__ = ["THIS_HOST", "Machines"]


@dataclass(frozen=True, slots=True)
class Machines:
    """Each answers why not, and nothing where all is well.

    `missing`: why no machine of a recipe can be had. `flaw`: why a crash of a target may go unnoticed.
    """

    missing: Callable[[Recipe], str]
    flaw: Callable[[Target], str]


def _missing(recipe: Recipe) -> str:
    try:
        return "" if is_built(recipe) else f"its image is not built; run: {recipe.build_command}"
    except HarnessError as error:  # a recipe for another host
        return str(error)


def _flaw(target: Target) -> str:
    """As the target's last drill here tells."""
    return admission_of_target(target).reason


THIS_HOST: Final = Machines(_missing, _flaw)
