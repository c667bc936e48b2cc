"""The image of the stand-in, for tests that need its machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import ToolMissingError
from harness.image.tools import find_tool

if TYPE_CHECKING:
    from harness.machine.describe.spec import SealedImage

__all__ = ["stand_in_image"]

_NEEDED = ("mmdebstrap", "qemu-img", "qemu-system-x86_64", "mkfs.ext4", "x86_64-w64-mingw32-gcc")


def stand_in_image() -> SealedImage:
    """The image, built when it isn't there; skips the test where something for it is missing."""
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    for name in _NEEDED:
        try:
            find_tool(name)
        except ToolMissingError as error:
            pytest.skip(str(error))
    from harness.image.finding import find_recipe
    from harness.image.images import ensure_image

    return ensure_image(find_recipe("stand-in"))
