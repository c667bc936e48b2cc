"""What a host offers to a cluster, and what a job needs of one: cores, memory, harness, image, drill.

Images are offered by the digest of their recipe: hosts may each have built their own, or copied it. A drill
is offered for each machine whose crash would be noticed on that very host. The harness is offered by the
digest of its files, so that work goes only where the same harness runs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import harness
from harness.drill import DrillStore, admission_of_target
from harness.errors import HarnessError
from harness.image.digest import recipe_digest
from harness.image.finding import find_recipes
from harness.image.images import is_built
from harness.image.recipe import Recipe, load_recipe
from harness.machine.describe.axes import with_axes
from harness.machine.keep.places import available_memory
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import NotDrilled, Plan
from harness.targets import VM, Target, parse_target

__all__ = [
    "DRILL",
    "IMAGE",
    "SHARE",
    "Offer",
    "drill_resource",
    "harness_resource",
    "image_resource",
    "needs",
    "offer",
]

#: What names of things begin with.
IMAGE: Final = "image:"
DRILL: Final = "drilled:"

#: What a job takes of a thing that is there or isn't: the least that Ray counts, so that many jobs can.
SHARE: Final = 0.0001

_DIGITS: Final = 16
#: MiB that jobs leave to everything else on a host, Ray included.
_RESERVE_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Offer:
    """`things` are names of what is there: the harness, images, drills that these passed here."""

    cores: int
    memory_mib: int
    things: tuple[str, ...]

    @property
    def resources(self) -> dict[str, float]:
        """As Ray's custom resources; cores and memory are Ray's own."""
        return dict.fromkeys(self.things, 1.0)


def offer(recipes: Iterable[Path] = (), *, cores: int = 0, memory_mib: int = 0) -> Offer:
    """What this host has. `recipes` are further folders; 0: all cores, all memory but a reserve."""
    there = max(1, available_memory() // (1 << 20) - _RESERVE_MIB)
    folders = tuple(recipes)
    images = [image_resource(recipe) for recipe in find_recipes(folders).values() if _has(recipe)]
    return Offer(
        cores=cores or len(os.sched_getaffinity(0)),
        memory_mib=memory_mib or there,
        things=(harness_resource(), *sorted(images), *sorted(_drills(folders))),
    )


def needs(job: Job, plan: Plan) -> Mapping[str, float]:
    """The custom resources that a host must have for a job of `plan`."""
    found = {harness_resource(): SHARE}
    target = parse_target(job.target, plan.recipes)
    if target.recipe is not None:
        found[image_resource(load_recipe(target.recipe))] = SHARE
        if plan.not_drilled is not NotDrilled.RUN:
            found[drill_resource(target)] = SHARE
    return found


def image_resource(recipe: Recipe) -> str:
    return f"{IMAGE}{recipe.name}-{recipe_digest(recipe)[:_DIGITS]}"


def drill_resource(target: Target) -> str:
    """The drill of a machine with its axes. Raises `ValueError` for a target that is none."""
    if target.recipe is None:
        raise ValueError(f"{target} is no machine")
    recipe = load_recipe(target.recipe)
    return f"{DRILL}{with_axes(recipe.name, target.axes)}-{recipe_digest(recipe)[:_DIGITS]}"


def harness_resource() -> str:
    return f"harness:{_harness_digest()[:_DIGITS]}"


def _has(recipe: Recipe) -> bool:
    try:
        return is_built(recipe)
    except HarnessError:  # a medium that isn't here, a recipe that needs something else
        return False


def _drills(recipes: tuple[Path, ...]) -> Iterator[str]:
    """Of the drills that were kept here those that still hold: of this image, with this QEMU."""
    for record in DrillStore().folder.glob("*.json"):
        with contextlib.suppress(HarnessError):  # of a recipe that is gone
            target = parse_target(VM + record.stem, recipes)
            if admission_of_target(target).admitted:
                yield drill_resource(target)


def _harness_digest() -> str:
    """SHA-256 over the package's sources and data."""
    root = Path(harness.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
