"""What a Windows image file (install.wim, install.esd) says it holds: editions, builds, architectures.

The catalogue is an XML text that lies uncompressed where the header says, also in solid (.esd) files. It is
read in place: an install medium is not unpacked, five gigabytes are not copied, to learn a build number.
Where wimlib is installed it reads it too (`harness.image.wimlib`), and both must agree.
Layout: "Windows Imaging File Format" (Microsoft), header of 208 bytes, XML resource entry at offset 72.
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import BinaryIO, Final

from harness.errors import UsageError
from harness.image.wimlib import WimlibRefusedError, read_catalogue

__all__ = ["WimFormatError", "WimImage", "read_wim_images"]

_MAGIC: Final = b"MSWIM\0\0\0"
_HEADER_SIZE: Final = 208
#: Offset of the XML resource's entry: seven bytes of size, one of flags, offset, original size.
_XML_ENTRY: Final = 72
_COMPRESSED: Final = 0x04
_MARK: Final = b"\xff\xfe"  # of UTF-16
#: A catalogue has a few kilobytes for each image.
_MAX_XML: Final = 16 << 20
_MAX_IMAGES: Final = 256
#: PROCESSOR_ARCHITECTURE_xxx (winnt.h) as the catalogue has them.
_ARCHITECTURES: Final = {"0": "x86", "9": "x64", "12": "arm64", "6": "ia64", "5": "arm"}


class WimFormatError(UsageError):
    """The file isn't a WIM whose catalogue can be read; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class WimImage:
    """One image of a WIM: what unattended setup selects by `index`. Absent facts are empty or 0."""

    index: int
    name: str  # NAME, what /IMAGE/NAME compares with
    display_name: str
    edition: str  # EDITIONID: "Professional", "EnterpriseEval", "ServerStandard"
    installation_type: str  # "Client", "Server", "Server Core"
    arch: str  # "x64", "x86", "arm64"
    build: int  # 26100
    revision: int  # SPBUILD: the update the medium was made with
    service_pack: int
    language: str  # LANGUAGES/DEFAULT, "en-US"

    @property
    def is_evaluation(self) -> bool:
        """An evaluation edition, which expires."""
        return any("eval" in text.lower() for text in (self.name, self.display_name, self.edition))

    def __str__(self) -> str:
        expires = "; an evaluation, which expires" if self.is_evaluation else ""
        facts = f"{self.arch}, build {self.build}, {self.language}{expires}"
        return f"{self.index}: {self.name or self.edition} ({facts})"


def read_wim_images(file: BinaryIO, size: int) -> tuple[WimImage, ...]:
    """The images of a WIM of `size` bytes, in order. Raises `WimFormatError`."""
    header = file.read(_HEADER_SIZE)
    if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
        raise WimFormatError("it has no WIM header; a split image (install.swm) or a damaged file")
    packed, offset, original = struct.unpack_from("<QQQ", header, _XML_ENTRY)
    length, flags = packed & 0x00FF_FFFF_FFFF_FFFF, packed >> 56
    if flags & _COMPRESSED or length != original:
        raise WimFormatError("its catalogue is compressed, which the format does not allow")
    if not 0 < length <= _MAX_XML or offset + length > size:
        raise WimFormatError(f"its catalogue of {length} bytes at {offset} lies outside the file")
    file.seek(offset)
    raw = file.read(length)
    try:
        text = raw.decode("utf-16")
        if "<!" in text:  # no catalogue declares entities; one that does is an attack on the parser
            raise WimFormatError("its catalogue has a document type declaration")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise WimFormatError(f"its catalogue can't be read: {error}") from None
    try:
        by_wimlib = read_catalogue(file, size)
    except WimlibRefusedError as error:
        raise WimFormatError(f"wimlib can't read it: {error}") from None
    if by_wimlib is not None and by_wimlib.removeprefix(_MARK) != raw.removeprefix(_MARK):
        raise WimFormatError("wimlib reads another catalogue in it than its header names")
    images = root.findall("IMAGE")
    if not images or len(images) > _MAX_IMAGES:
        raise WimFormatError(f"its catalogue names {len(images)} images")
    return tuple(_image(each) for each in images)


def _image(node: ElementTree.Element) -> WimImage:
    def text(path: str) -> str:
        return (node.findtext(path) or "").strip()[:256]

    def number(path: str) -> int:
        found = text(path)
        return int(found) if found.isascii() and found.isdigit() and len(found) < 9 else 0

    index = node.get("INDEX", "")
    if not (index.isascii() and index.isdigit() and len(index) < 9):
        raise WimFormatError(f"its catalogue has the image index {index[:16]!r}")
    arch = text("WINDOWS/ARCH")
    return WimImage(
        index=int(index),
        name=text("NAME"),
        display_name=text("DISPLAYNAME"),
        edition=text("WINDOWS/EDITIONID"),
        installation_type=text("WINDOWS/INSTALLATIONTYPE"),
        arch=_ARCHITECTURES.get(arch, arch),
        build=number("WINDOWS/VERSION/BUILD"),
        revision=number("WINDOWS/VERSION/SPBUILD"),
        service_pack=number("WINDOWS/VERSION/SPLEVEL"),
        language=text("WINDOWS/LANGUAGES/DEFAULT"),
    )
