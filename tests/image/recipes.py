"""Recipes that tests write."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ADOPTED: Final = """\
name = "old"
title = "An old machine"
kind = "windows"
version = "5.2.3790"
arch = "x86"

[hardware]
machine = "pc"
cpu = "pentium3"
memory_mib = 512
disk_bus = "ide"
channel = "com2"
debug_com = 1

[adopt]
disk = "disk.raw"
format = "raw"
"""


def write_recipe(folder: Path, text: str = ADOPTED, *, name: str = "old") -> Path:
    """``folder/NAME/recipe.toml`` with the disk that `ADOPTED` names; returns the file."""
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "disk.raw").write_bytes(b"\0" * 512 + name.encode())
    file = home / "recipe.toml"
    file.write_text(text.replace('name = "old"', f'name = "{name}"'))
    return file
