"""Images that a recipe meant before, and a machine of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.guests import Guests
from harness.image.debian import DISK, INITRD, KERNEL
from harness.image.earlier import earlier_images
from harness.image.finding import find_recipe
from harness.image.recipe import Recipe
from harness.image.stand_in import PAYLOAD
from harness.image.store import ImageStore
from harness.machine.describe.spec import SealedImage
from harness.targets import Target, parse_target


def _store(folder: Path) -> ImageStore:
    """Two systems and two payloads."""
    store = ImageStore(folder)
    for number in range(2):
        for name, files in (("stand-in", (DISK, KERNEL, INITRD)), ("stand-in-payload", (PAYLOAD,))):

            def make(into: Path, number: int = number, files: tuple[str, ...] = files) -> dict[str, str]:
                for file in files:
                    (into / file).write_text(f"{file} {number}")
                return {}

            store.ensure(name, f"{number:064x}"[::-1], make)
    return store


def test_every_system_with_every_payload_that_is_still_there(tmp_path: Path) -> None:
    found = list(earlier_images(find_recipe("stand-in"), store=_store(tmp_path)))
    assert len({image.digest for image in found}) == len(found) == 4
    contents = [[disk.path.read_text() for disk in image.disks] for image in found]
    assert sorted(contents) == [[f"{DISK} {one}", f"{PAYLOAD} {two}"] for one in (0, 1) for two in (0, 1)]
    for image in found:
        assert image.boot is not None
        assert image.boot.kernel.parent == image.disks[0].path.parent, "the kernel of its own system"


@pytest.mark.parametrize("built", [True, False])
def test_a_machine_of_the_image_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: bool
) -> None:
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    recipe = find_recipe("stand-in")
    old, *_ = earlier_images(recipe, store=_store(tmp_path))
    new = replace(old, digest="ab" * 32)

    def earlier(recipe: Recipe) -> Iterator[SealedImage]:
        yield old

    def image(guests: Guests, target: Target, recipe: Recipe) -> SealedImage:
        assert built, "nothing is built by the way"
        return new

    monkeypatch.setattr("harness.image.earlier.earlier_images", earlier)
    monkeypatch.setattr("harness.image.images.is_built", lambda recipe: built)
    monkeypatch.setattr(Guests, "_image", image)
    with Guests() as guests:
        target = parse_target("vm:stand-in")
        assert guests.make(target, digest=old.digest).image is old
        other = guests.make(target, digest="cd" * 32).image
        assert other is (new if built else old), "whoever asked compares"
        if built:
            assert guests.make(target).image is new
