"""Where this host gets its packages from: its release, and the sources apt is configured with.

The project names no mirror. What is built from packages comes from wherever the host's own come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.image.tools import find_tool, run

__all__ = ["Release", "host_release", "package_sources"]

#: Who makes the releases a stand-in can be of, with the parts of the archive that have what it needs.
_DISTRIBUTIONS: Final = {
    "debian": ("Debian", ("main",), "linux-image-cloud-amd64"),
    "ubuntu": ("Ubuntu", ("main", "universe"), "linux-image-virtual"),
}
_POCKETS: Final = ("", "-updates", "-security")
_FORMAT: Final = "$(CREATED_BY)|$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)|$(SIGNED_BY)"


@dataclass(frozen=True, slots=True)
class Release:
    """A release of a distribution: ("debian", "bookworm")."""

    distribution: str
    codename: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.codename}"

    @property
    def kernel(self) -> str:
        """The package of the small kernel for virtual machines."""
        return _DISTRIBUTIONS[self.distribution][2]


def host_release(os_release: Path = Path("/etc/os-release")) -> Release:
    """The release of this host. Raises `InfrastructureError` where it is neither Debian nor Ubuntu."""
    try:
        lines = os_release.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InfrastructureError(f"{os_release}: can't be read: {error.strerror}") from error
    values = dict(line.replace('"', "").split("=", 1) for line in lines if "=" in line)
    release = Release(values.get("ID", "unknown"), values.get("VERSION_CODENAME", ""))
    if release.distribution not in _DISTRIBUTIONS or not release.codename:
        raise InfrastructureError(
            f"a stand-in is built from the packages of Debian or Ubuntu, and this is {release}; build it "
            "there, or adopt a machine you have (harness image adopt --help)"
        )
    return release


def package_sources(wanted: Release) -> tuple[str, ...]:
    """apt source lines for `wanted`, from the sources this host has for its own release.

    Raises `InfrastructureError` when apt knows none.
    """
    host = host_release()
    if wanted.distribution != host.distribution:
        raise InfrastructureError(f"this host is {host}; its package sources have nothing for {wanted}")
    listed = run([find_tool("apt-get"), "indextargets", "--format", _FORMAT]).splitlines()
    # Without package lists (a fresh container) apt knows the sources, but not who made them.
    listed = (
        listed
        or run([find_tool("apt-get"), "indextargets", "--no-release-info", "--format", _FORMAT]).splitlines()
    )
    found = source_lines(listed, host, wanted)
    if not found:
        raise InfrastructureError(
            f"apt has no source for {host} with {', '.join(_DISTRIBUTIONS[host.distribution][1])}; "
            "look at /etc/apt/sources.list.d, then run apt-get update"
        )
    return found


def source_lines(listed: list[str], host: Release, wanted: Release) -> tuple[str, ...]:
    """The "deb" lines in what `apt-get indextargets` lists, of the distribution itself and nobody else."""
    maker, components, _ = _DISTRIBUTIONS[host.distribution]
    found: dict[tuple[str, str, str], list[str]] = {}
    for line in listed:
        created_by, origin, release, component, uri, signed_by = (line.split("|") + [""] * 6)[:6]
        pocket = release.removeprefix(host.codename)
        if created_by != "Packages" or not release.startswith(host.codename) or pocket not in _POCKETS:
            continue
        if component not in components or (origin != maker and not origin.startswith("$(")):
            continue
        signed = "" if not signed_by or signed_by.startswith("$(") else f"[signed-by={signed_by}] "
        found.setdefault((signed, uri, wanted.codename + pocket), []).append(component)
    return tuple(
        f"deb {signed}{uri} {suite} {' '.join(dict.fromkeys(parts))}"
        for (signed, uri, suite), parts in found.items()
    )
