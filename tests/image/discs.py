"""Small discs that look like install media: the files that tell one from the other, nothing else."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import escape

import pycdlib

from harness.image.virtio import DRIVERS


def wim(*images: Mapping[str, str], declared: int | None = None, head: str = "") -> bytes:
    """A WIM without files: header, table of blobs and catalogue, as far as wimlib looks at them.

    `declared` lies about the catalogue's length.
    """
    body = "".join(
        f'<IMAGE INDEX="{number}">{"".join(_nested(path, text) for path, text in image.items())}</IMAGE>'
        for number, image in enumerate(images, 1)
    )
    xml = f"{head}<WIM>{body}</WIM>".encode("utf-16")
    length = len(xml) if declared is None else declared
    # One entry for the metadata of each image: where it lies (nowhere), part, users, SHA-1.
    table = b"".join(
        struct.pack("<QQQHI", 1 | 2 << 56, 208, 1, 1, 1) + number.to_bytes(20, "little")
        for number in range(1, len(images) + 1)
    )
    header = b"MSWIM\0\0\0" + struct.pack("<IIII16sHHI", 208, 0x10D00, 0, 0, b"tiny", 1, 1, len(images))
    header += struct.pack("<QQQ", len(table), 208, len(table))
    header += struct.pack("<QQQ", length | 2 << 56, 208 + len(table), length)
    return header.ljust(208, b"\0") + table + xml


def _nested(path: str, text: str) -> str:
    parts = path.split("/")
    return "".join(f"<{part}>" for part in parts) + escape(text) + "".join(f"</{p}>" for p in reversed(parts))


def edition(
    name: str, build: int, *, arch: str = "9", edition_id: str = "Enterprise", kind: str = "Client"
) -> dict[str, str]:
    """The catalogue of one image."""
    return {
        "NAME": name,
        "DISPLAYNAME": name,
        "WINDOWS/ARCH": arch,
        "WINDOWS/EDITIONID": edition_id,
        "WINDOWS/INSTALLATIONTYPE": kind,
        "WINDOWS/VERSION/BUILD": str(build),
        "WINDOWS/LANGUAGES/DEFAULT": "en-US",
    }


def virtio_files(*folders: str, machine: int = 0) -> dict[str, bytes]:
    """What a virtio-win disc has in folders like ``viostor/w11/amd64``; `machine` replaces the processor."""
    files = {}
    for folder in folders:
        name = DRIVERS[folder.split("/")[0]].removesuffix(".inf")
        arch = 0x8664 if folder.endswith("amd64") else 0x14C
        text = f"[Version]\r\nCatalogFile={name}.cat\r\nDriverVer = 01/02/2025,100.{len(folder)}.0.0\r\n"
        files[f"{folder}/{name}.inf"] = text.encode("utf-16" if name == "netkvm" else "ascii")
        files[f"{folder}/{name}.cat"] = folder.encode()
        files[f"{folder}/{name}.sys"] = program(machine or arch)
        files[f"{folder}/{name}.pdb"] = b"for its authors"
    return files


def program(machine: int) -> bytes:
    """The headers of a PE image, as far as they are looked at."""
    wide = machine == 0x8664
    optional = bytearray(112 if wide else 96)
    struct.pack_into("<H", optional, 0, 0x20B if wide else 0x10B)
    struct.pack_into("<II", optional, 32, 0x1000, 0x200)  # alignment of sections, and in the file
    struct.pack_into("<I", optional, 60, 0x200)  # size of the headers
    struct.pack_into("<I", optional, len(optional) - 4, 16)
    optional += bytes(16 * 8)
    header = b"PE\0\0" + struct.pack("<HHIIIHH", machine, 0, 0, 0, 0, len(optional), 0)
    return b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + header + bytes(optional).ljust(1024, b"\0")


def virtio_disc(path: Path, systems: Iterable[str], *, arch: str = "amd64") -> Path:
    """A virtio-win disc with all drivers that are looked for."""
    return disc(path, virtio_files(*(f"{name}/{system}/{arch}" for name in DRIVERS for system in systems)))


def disc(path: Path, files: Mapping[str, bytes], *, label: str = "TEST", udf: bool = True) -> Path:
    """An ISO with these files; those in folders live in UDF only, as on media of Vista and later."""
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident=label, udf="2.60" if udf else None, interchange_level=3)
    made: set[str] = set()
    for number, (name, data) in enumerate(sorted(files.items())):
        for parent in [each.as_posix() for each in reversed(PurePosixPath(name).parents[:-1])]:
            if parent not in made:
                made.add(parent)
                iso.add_directory(
                    **({"udf_path": f"/{parent}"} if udf else {"iso_path": f"/{parent.upper()}"})
                )
        place = {"udf_path": f"/{name}"} if udf else {"iso_path": f"/{name.upper()};1"}
        if udf:
            place["iso_path"] = f"/F{number}.;1"
        iso.add_fp(io.BytesIO(data), len(data), **place)
    iso.write(str(path))
    iso.close()
    return path
