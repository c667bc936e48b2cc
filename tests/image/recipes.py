"""Recipes that tests write."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.image.finding import find_recipes
from harness.image.installspec import Install
from harness.image.recipe import Recipe

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


#: A system that the tests' own installer disc installs; see tests/image/tinysetup.
INSTALL: Final = """\
name = "tiny"
title = "A tiny system with a setup"
kind = "windows"
version = "6.1.7601"
arch = "x86"
boot_seconds = 60

[hardware]
machine = "pc"
cpu = "Nehalem,-lm"
memory_mib = 64
disk_bus = "ide"
channel = "com2"
debug_com = 1

[install]
answer = "autounattend.xml"
delivery = "cd"
disk_gib = 1
expected_minutes = 1

[install.media]
family = "nt6"
builds = [7601]
editions = ["Enterprise"]
installation_type = "Client"
where = "here"

[install.differs]
sha2 = "as Windows 7"
"""


#: The same for UEFI firmware and a TPM.
_UEFI_CHANGES: Final = {
    'version = "6.1.7601"': 'version = "10.0.19045"',
    'arch = "x86"': 'arch = "x64"',
    'machine = "pc"': 'machine = "q35"\nfirmware = "uefi"\ntpm = true',
    "Nehalem,-lm": "Nehalem",
    "memory_mib = 64": "memory_mib = 256",
    '"ide"': '"sata"',
    "[7601]": "[19045]",
}


def uefi_install(*, secure: bool = False) -> str:
    """The same for UEFI firmware; `secure`: installed with Secure Boot on."""
    text = INSTALL
    if secure:
        text = text.replace('delivery = "cd"', 'delivery = "cd"\nfirmware = "uefi-secure"')
    for old, new in _UEFI_CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    return text


#: The same as ReactOS is installed: the answer file goes into a copy of the medium.
_REACTOS_CHANGES: Final = {
    'kind = "windows"': 'kind = "reactos"',
    'answer = "autounattend.xml"': 'answer = "unattend.inf"',
    'delivery = "cd"': 'delivery = "rebuilt-cd"',
    'family = "nt6"\nbuilds = [7601]\neditions = ["Enterprise"]\n': 'family = "reactos"\n',
    'installation_type = "Client"\n': "",
}


def reactos_install() -> str:
    text = INSTALL
    for old, new in _REACTOS_CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    return text


def write_install(folder: Path, text: str = INSTALL) -> Path:
    """``folder/tiny/recipe.toml``; returns the file."""
    file = folder / "tiny" / "recipe.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def installs() -> list[Recipe]:
    """The project's recipes that install from media."""
    found = find_recipes().values()
    return sorted((r for r in found if isinstance(r.source, Install)), key=lambda recipe: recipe.name)
