"""The medium of one install: found to be the one the recipe wants, or an index that stands in for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.image.installspec import Install
from harness.image.media import MediaError, MediaFacts, MediaFamily, inspect_media
from harness.image.mediacheck import choose_image
from harness.image.recipe import Recipe
from harness.image.wim import WimImage
from harness.machine.describe.spec import Firmware

__all__ = ["Medium", "look_at_medium", "stand_in_medium"]

_DEFAULT_LANGUAGE: Final = "en-US"


@dataclass(frozen=True, slots=True)
class Medium:
    """`facts` None: nobody gave one, and index and language are assumed, which does for looking only."""

    path: Path | None
    facts: MediaFacts | None
    image: WimImage | None

    @property
    def is_stand_in(self) -> bool:
        return self.facts is None

    @property
    def index(self) -> int:
        return self.image.index if self.image is not None else 1

    @property
    def language(self) -> str:
        """A language that the medium has: setup stops to ask for another."""
        return (self.image.language if self.image is not None else "") or _DEFAULT_LANGUAGE

    def __str__(self) -> str:
        if self.facts is None:
            return (
                f"no medium: image {self.index} and language {self.language} stand in for what one would say"
            )
        chosen = f", image {self.image}" if self.image is not None else ""
        return f"{self.facts}{chosen}"


def stand_in_medium() -> Medium:
    return Medium(None, None, None)


def look_at_medium(path: Path, recipe: Recipe, install: Install) -> Medium:
    """The medium in `path`. Raises `MediaError` when it is not the one that is wanted or can't be used."""
    facts = inspect_media(path)
    image = choose_image(facts, install.media.wanted(recipe.arch))
    if facts.family is MediaFamily.NT6:
        firmware = install.hardware(recipe.hardware).firmware
        if firmware is not Firmware.BIOS and not facts.boots_uefi:
            raise MediaError(
                f"{path.name} can't be started by UEFI firmware, which {recipe.name} is installed with: it "
                "has no folder efi; use a medium as Microsoft offers it"
            )
        own = [name for name in facts.entries if name.lower() in ("autounattend.xml", "unattend.xml")]
        if own:
            raise MediaError(
                f"{path.name} brings an answer file of its own, {own[0]}, which setup may find before the "
                "harness's; use a medium as Microsoft offers it"
            )
    return Medium(path.absolute(), facts, image)
