"""Images of a recipe that are still on this host, beside the one that it means now.

A recipe that changed, or a runner that was built anew, makes another image; the ones before stay for a month,
an install for good. What a machine wrote over an image fits that one alone, so it may be asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.image.images import built_image
from harness.image.install.installed import installed_image
from harness.image.installspec import Install
from harness.image.recipe import DebianBuild, Recipe
from harness.image.store import ImageStore
from harness.machine.describe.spec import SealedImage

__all__ = ["earlier_images"]


def earlier_images(recipe: Recipe, *, store: ImageStore | None = None) -> Iterator[SealedImage]:
    """Every whole image that the store has of the recipe, with the recipe's hardware as it is now.

    The ones made last come first. An adopted disk is known by its content; there is no other of it.
    """
    where = store or ImageStore()
    match recipe.source:
        case Install():
            yield from (installed_image(recipe, stored) for stored in where.named(recipe.name))
        case DebianBuild():
            payloads = where.named(f"{recipe.name}-payload")
            for system in where.named(recipe.name):
                yield from (built_image(recipe, system, payload) for payload in payloads)
