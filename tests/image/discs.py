"""Small discs that look like install media: the files that tell one from the other, nothing else."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import pycdlib


def wim(*images: Mapping[str, str], declared: int | None = None, head: str = "") -> bytes:
    """A WIM without files: header and catalogue. `declared` lies about the catalogue's length."""
    body = "".join(
        f'<IMAGE INDEX="{number}">{"".join(_nested(path, text) for path, text in image.items())}</IMAGE>'
        for number, image in enumerate(images, 1)
    )
    xml = f"{head}<WIM>{body}</WIM>".encode("utf-16")
    length = len(xml) if declared is None else declared
    entry = struct.pack("<QQQ", length | 2 << 56, 208, length)
    return (b"MSWIM\0\0\0" + struct.pack("<I", 208)).ljust(72, b"\0") + entry.ljust(136, b"\0") + xml


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


def disc(path: Path, files: Mapping[str, bytes], *, label: str = "TEST", udf: bool = True) -> Path:
    """An ISO with these files; those in folders live in UDF only, as on media of Vista and later."""
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident=label, udf="2.60" if udf else None, interchange_level=3)
    made: set[str] = set()
    for number, (name, data) in enumerate(sorted(files.items())):
        folder, _, _ = name.rpartition("/")
        place = {"udf_path": f"/{name}"} if udf else {"iso_path": f"/{name.upper()};1"}
        if folder and folder not in made:
            made.add(folder)
            iso.add_directory(**({"udf_path": f"/{folder}"} if udf else {"iso_path": f"/{folder.upper()}"}))
        if udf:
            place["iso_path"] = f"/F{number}.;1"
        iso.add_fp(io.BytesIO(data), len(data), **place)
    iso.write(str(path))
    iso.close()
    return path
