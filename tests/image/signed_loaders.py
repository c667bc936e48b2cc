"""Boot loaders that Secure Boot starts, out of this host's packages, without installing them."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

_PACKAGES = ("shim-signed", "grub-efi-amd64-signed")


def signed_loaders(folder: Path) -> tuple[Path, Path]:
    """shim and GRUB for CDs. Skips where the host can't get their packages."""
    if platform.machine() != "x86_64":
        pytest.skip("signed boot loaders for x86-64 come with distributions for it")
    folder.mkdir()
    try:
        command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the packages {', '.join(_PACKAGES)} can't be downloaded here: {error}")
    (shim, *_) = sorted((folder / "usr/lib/shim").glob("shimx64.efi.signed*"))
    return shim, folder / "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed"
