"""The recipe of machines that are tiny guests; `tests.plugin.tiny_machines` boots them over its kernel."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_tiny_recipe"]

_RECIPE = """
name = "tiny"
title = "A guest of a few kilobytes"
kind = "reactos"
version = "5.2"
arch = "x86"

[hardware]
machine = "pc"
memory_mib = 64
channel = "com2"
debug_com = 1

[limits]
two-processes = "it has no processes at all"

[adopt]
disk = "disk.raw"
format = "raw"
"""


def write_tiny_recipe(recipes: Path) -> None:
    """Make the recipe of ``vm:tiny`` in the folder `recipes`."""
    folder = recipes / "tiny"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(_RECIPE)
    (folder / "disk.raw").write_bytes(bytes(1 << 20))
