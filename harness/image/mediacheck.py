"""Is this the medium a recipe wants? The answer names what was found and what was wanted."""

from __future__ import annotations

from dataclasses import dataclass

from harness.image.media import MediaError, MediaFacts, MediaFamily
from harness.image.wim import WimImage

__all__ = ["MediaWanted", "choose_image"]


@dataclass(frozen=True, slots=True)
class MediaWanted:
    """What a recipe asks of its medium; empty tuples ask nothing.

    `builds` are the builds of install images that this recipe installs (19044 for Windows 10 21H2);
    `editions` the EDITIONIDs it can install, the first that is there wins. `sha256` are digests of media
    known to work: told when they match, never demanded.
    """

    family: MediaFamily
    arch: str
    builds: tuple[int, ...] = ()
    editions: tuple[str, ...] = ()
    installation_type: str = ""
    service_pack: int = 0
    sha256: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.family is MediaFamily.NT6:
            builds = " or ".join(map(str, self.builds))
            kind = f", {self.installation_type}" if self.installation_type else ""
            return f"Windows build {builds} {self.arch}{kind}, one of the editions {', '.join(self.editions)}"
        pack = f" SP{self.service_pack}" if self.service_pack else ""
        return f"{self.family}{pack} {self.arch}"


def choose_image(facts: MediaFacts, wanted: MediaWanted) -> WimImage | None:
    """The image to install, None for a family that has no WIM.

    Raises `MediaError` when the medium is another one: another family, architecture, service pack, build,
    or without any of the editions.
    """
    if facts.family is not wanted.family or wanted.arch not in facts.architectures:
        raise _wrong(facts, wanted)
    if wanted.family is not MediaFamily.NT6:
        # Whether every disc of Server 2003 with its second one has the tag file is not confirmed.
        untold = facts.service_pack == 0 and facts.family is MediaFamily.SERVER_2003
        if facts.service_pack < wanted.service_pack and not untold:
            raise _wrong(facts, wanted, f"it has service pack {facts.service_pack}")
        return None
    fitting = [
        image
        for image in facts.images
        if image.arch == wanted.arch
        and (not wanted.builds or image.build in wanted.builds)
        and wanted.installation_type in ("", image.installation_type)
    ]
    if not fitting:
        raise _wrong(facts, wanted)
    packs = max(image.service_pack for image in fitting)
    fitting = [image for image in fitting if image.service_pack >= wanted.service_pack]
    if not fitting:  # there a service pack belongs to each image
        raise _wrong(facts, wanted, f"its images have service pack {packs}")
    for edition in wanted.editions:
        for image in fitting:
            if image.edition.lower() == edition.lower():
                return image
    if wanted.editions:
        held = ", ".join(dict.fromkeys(image.edition for image in fitting))
        raise _wrong(facts, wanted, f"it has the editions {held}")
    return fitting[0]


def _wrong(facts: MediaFacts, wanted: MediaWanted, detail: str = "") -> MediaError:
    return MediaError(
        f"{facts.path.name} is not the medium that is wanted: {detail or f'found {facts}'}; wanted {wanted}. "
        "docs/images.md says where it is found"
    )
