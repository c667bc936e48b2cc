"""Where packages come from: this host's own sources, those of its distribution and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.image.packages import Release, host_release, source_lines

BOOKWORM = Release("debian", "bookworm")

LISTED = [
    "Packages|Debian|bookworm|main|http://mirror.test/debian/|$(SIGNED_BY)",
    "Packages|Debian|bookworm|contrib|http://mirror.test/debian/|$(SIGNED_BY)",
    "Packages|Debian|bookworm-updates|main|http://mirror.test/debian/|/keys/d.gpg",
    "Packages|Debian Backports|bookworm-backports|main|http://mirror.test/debian/|",
    "Translations|Debian|bookworm|main|http://mirror.test/debian/|",
    "Packages|Somebody|bookworm|main|http://elsewhere.test/|",
    "Packages|Debian|bookworm-security|main|http://security.test/|",
    "Packages|Debian|trixie|main|http://mirror.test/debian/|",
]


def test_only_the_distributions_own_sources_are_used() -> None:
    assert source_lines(LISTED, BOOKWORM, BOOKWORM) == (
        "deb http://mirror.test/debian/ bookworm main",
        "deb [signed-by=/keys/d.gpg] http://mirror.test/debian/ bookworm-updates main",
        "deb http://security.test/ bookworm-security main",
    )


def test_another_release_comes_from_the_same_mirrors() -> None:
    assert source_lines(LISTED[:1], BOOKWORM, Release("debian", "trixie")) == (
        "deb http://mirror.test/debian/ trixie main",
    )


def test_sources_without_package_lists_have_no_maker() -> None:
    line = "Packages|$(ORIGIN)|noble|universe|http://mirror.test/ubuntu/|$(SIGNED_BY)"
    noble = Release("ubuntu", "noble")
    assert source_lines([line, line.replace("universe", "main")], noble, noble) == (
        "deb http://mirror.test/ubuntu/ noble universe main",
    )


def test_the_release_is_read_from_the_host(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text('PRETTY_NAME="Ubuntu 24.04 LTS"\nID=ubuntu\nVERSION_CODENAME=noble\n')
    assert host_release(file) == Release("ubuntu", "noble")
    assert host_release(file).kernel == "linux-image-virtual"
    file.write_text('ID="fedora"\n')
    with pytest.raises(
        InfrastructureError, match=r"Debian or Ubuntu, and this is fedora .*harness image adopt"
    ):
        host_release(file)
