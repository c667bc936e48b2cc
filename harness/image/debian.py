"""Build a stand-in: Debian or Ubuntu with Wine, from packages alone, as a disk, a kernel and an initrd.

mmdebstrap makes the system (as root, or as a plain user in a user namespace), the recipe's ``root/`` is laid
over it, the recipe's ``setup.sh`` finishes it inside, `harness.image.ext4` makes a disk of it. Nothing in it
is secret and nothing in it is the harness's own: runner and keys come on the payload disk.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.image.ext4 import make_ext4, make_tar, tree_files
from harness.image.packages import Release, host_release, package_sources
from harness.image.recipe import DebianBuild, Recipe
from harness.image.tools import Progress, find_tool, quiet, run
from harness.image.workspace import confined, workspace

__all__ = ["DISK", "INITRD", "KERNEL", "ROOT_UUID", "BuiltSystem", "build_system", "wanted_release"]

DISK: Final = "disk.qcow2"
KERNEL: Final = "vmlinuz"
INITRD: Final = "initrd.img"

#: Every file of the image is at most this old: 14 November 2023, in seconds since 1970.
EPOCH: Final = 1_700_000_000
#: The recipe's fstab has it too.
ROOT_UUID: Final = "5354414e-4449-4e00-8000-000000000001"

#: What no guest reads.
_LEFT_OUT: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


@dataclass(frozen=True, slots=True)
class BuiltSystem:
    """What was built, and the packages in it: "wine64 8.0~repack-4"."""

    release: Release
    packages: tuple[str, ...]


def wanted_release(build: DebianBuild) -> Release:
    """The release a recipe builds: the one it names, or this host's."""
    host = host_release()
    return Release(host.distribution, build.suite) if build.suite else host


def build_system(
    recipe: Recipe, build: DebianBuild, into: Path, *, progress: Progress = quiet
) -> BuiltSystem:
    """Build the system into the folder `into`, as `DISK`, `KERNEL` and `INITRD`; takes about two minutes.

    Raises `ToolMissingError` for a missing program and `InfrastructureError` with the words of one that
    failed.
    """
    release = wanted_release(build)
    overlay, archive, raw = into / "root.tar", into / "system.tar", into / "disk.raw"
    make_tar(overlay, tree_files(recipe.folder / "root"), epoch=EPOCH)
    progress(f"packages of {release}")
    with workspace() as work:
        run(
            confined(_mmdebstrap(recipe, build, release, overlay, archive)),
            progress=lambda line: progress(line.removeprefix("I: ")) if line.startswith("I: ") else None,
            environment={"SOURCE_DATE_EPOCH": str(EPOCH), "TMPDIR": str(work)},
        )
    overlay.unlink()
    progress("kernel and package list")
    packages = _take_out(archive, into)
    progress("file system")
    make_ext4(archive, raw, size_mib=build.size_mib, uuid=ROOT_UUID, label=recipe.name[:16], epoch=EPOCH)
    archive.unlink()
    progress("disk image")
    run([find_tool("qemu-img"), "convert", "-f", "raw", "-O", "qcow2", str(raw), str(into / DISK)])
    raw.unlink()
    return BuiltSystem(release, packages)


def _mmdebstrap(
    recipe: Recipe, build: DebianBuild, release: Release, overlay: Path, archive: Path
) -> list[str]:
    packages = ",".join((*build.packages, release.kernel))
    # The overlay comes before the packages: their scripts find the configuration they are to use.
    hooks = [
        f"--essential-hook=tar-in {overlay} /",
        f"--customize-hook=upload {recipe.folder / 'setup.sh'} /setup.sh",
        '--customize-hook=chroot "$1" sh /setup.sh',
        '--customize-hook=rm "$1/setup.sh"',
    ]
    return [
        find_tool("mmdebstrap"),
        "--variant=apt",
        "--format=tar",
        f"--include={packages}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--aptopt={line}" for line in _proxies()),
        "--dpkgopt=force-confold",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *hooks,
        release.codename,
        str(archive),
        *package_sources(release),
    ]


def _proxies() -> Iterator[str]:
    """How this host's apt reaches its mirrors; mmdebstrap's own apt would not look."""
    for line in run([find_tool("apt-config"), "dump", "Acquire"]).splitlines():
        if re.search(r'::(Proxy|CaInfo|Proxy-Auto-Detect)(::\S+)? "[^"]', line, re.IGNORECASE):
            yield line


def _take_out(archive: Path, into: Path) -> tuple[str, ...]:
    """Copy kernel and initrd out of the system, and read which packages it has."""
    wanted = {re.compile(r"boot/vmlinuz-.+"): KERNEL, re.compile(r"boot/initrd\.img-.+"): INITRD}
    status = ""
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            target = next((file for pattern, file in wanted.items() if pattern.fullmatch(name)), None)
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None and target is not None:
                (into / target).write_bytes(content.read())
            elif content is not None and name == "var/lib/dpkg/status":
                status = content.read().decode()
    for file in (KERNEL, INITRD):
        if not (into / file).is_file():
            raise InfrastructureError(f"the built system has no /boot/{file}*: its kernel package made none")
    found = re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", status, re.MULTILINE)
    return tuple(sorted(f"{name} {version}" for name, version in found))
