"""The catalogue of a WIM as wimlib reads it, from inside an install medium, without unpacking that.

wimlib-imagex opens files by name and can't begin in the middle of one, where a medium has its install.wim. So
it gets a file of the same size that has only what it looks at in its place: the header, the table of blobs,
the catalogue. The rest is a hole: of five gigabytes some megabytes are read and written.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["WimlibRefusedError", "read_catalogue"]

_TOOL: Final = "wimlib-imagex"
_HEADER_SIZE: Final = 208
#: Where the header has the entries of the table of blobs and of the catalogue: seven bytes of size, one of
#: flags, then the offset.
_TABLE_ENTRY: Final = 48
_XML_ENTRY: Final = 72
_SIZE: Final = (1 << 56) - 1
#: An entry of the table begins with such a one; that of a solid resource has this flag.
_BLOB_SIZE: Final = 50
_SOLID: Final = 0x10
_SOLID_HEADER: Final = 16
#: A table has an entry for each file of all images.
_LARGEST: Final = 256 << 20
_SECONDS: Final = 120.0


class WimlibRefusedError(ValueError):
    """wimlib does not take the file for a WIM; the message is its own."""


def read_catalogue(file: BinaryIO, size: int) -> bytes | None:
    """The XML of the WIM in `file`, which has `size` bytes; None where wimlib-imagex is not installed.

    Raises `WimlibRefusedError`.
    """
    tool = shutil.which(_TOOL)
    if tool is None:
        return None
    with tempfile.TemporaryDirectory(prefix="harness-wim-") as folder:
        copy, text = Path(folder, "install.wim"), Path(folder, "catalogue.xml")
        with copy.open("wb") as out:
            _copy(file, size, out)
        command = [tool, "info", str(copy), f"--extract-xml={text}"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise WimlibRefusedError(f"wimlib did not come to an end within {_SECONDS:g} s") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise WimlibRefusedError(said[0][:300] if said else f"wimlib ended with {done.returncode}")
        return text.read_bytes()


def _copy(file: BinaryIO, size: int, out: BinaryIO) -> None:
    """What wimlib looks at, to where it is in `file`."""
    out.truncate(size)
    header = _part(file, out, size, 0, _HEADER_SIZE).ljust(_HEADER_SIZE, b"\0")
    table = b""
    for at in (_TABLE_ENTRY, _XML_ENTRY):
        packed, offset = struct.unpack_from("<QQ", header, at)
        part = _part(file, out, size, offset, packed & _SIZE)
        table = part if at == _TABLE_ENTRY else table
    # A solid resource (.esd) says at its beginning how it is divided.
    for at in range(0, len(table) - _BLOB_SIZE + 1, _BLOB_SIZE):
        packed, offset = struct.unpack_from("<QQ", table, at)
        if packed >> 56 & _SOLID and packed & _SIZE > _SOLID_HEADER and offset:
            _part(file, out, size, offset, _SOLID_HEADER)


def _part(file: BinaryIO, out: BinaryIO, size: int, offset: int, length: int) -> bytes:
    if length > _LARGEST or offset + length > size:
        raise WimlibRefusedError(f"{length} bytes at {offset} lie outside the file, or are too many")
    file.seek(offset)
    data = file.read(length)
    out.seek(offset)
    out.write(data)
    return data
