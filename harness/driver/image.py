"""What is done to a linked image, and what can be read off one without the tools of Windows.

The linkers leave the INIT section resident and the checksum stale; both are set here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import pefile

__all__ = [
    "IMAGE_SCN_MEM_DISCARDABLE",
    "IMAGE_SCN_MEM_EXECUTE",
    "IMAGE_SCN_MEM_WRITE",
    "PeHeaders",
    "finish_image",
    "pe_checksum",
    "read_headers",
]

IMAGE_SCN_MEM_DISCARDABLE: Final = 0x02000000
IMAGE_SCN_MEM_EXECUTE: Final = 0x20000000
IMAGE_SCN_MEM_WRITE: Final = 0x80000000

_MAGIC_32: Final = 0x10B
_MAGIC_64: Final = 0x20B
_SECURITY_DIRECTORY: Final = 4


@dataclass(frozen=True, slots=True)
class PeHeaders:
    """File offsets and values that signing and hashing need; every field was checked against the size."""

    is_64: bool
    machine: int
    checksum_offset: int
    security_entry_offset: int  # of the certificate table's data directory entry
    size_of_headers: int
    file_alignment: int
    section_alignment: int
    #: (PointerToRawData, SizeOfRawData) of each section, in table order.
    sections: tuple[tuple[int, int], ...]
    certificate_offset: int
    certificate_size: int


def read_headers(image: bytes) -> PeHeaders:
    """Parse the few headers signing needs from an untrusted image. Raises `ValueError` when malformed."""
    if len(image) < 0x40 or image[:2] != b"MZ":
        raise ValueError("no MZ header")
    (pe_offset,) = struct.unpack_from("<I", image, 0x3C)
    if pe_offset > len(image) - 24 or image[pe_offset : pe_offset + 4] != b"PE\0\0":
        raise ValueError("no PE header")
    machine, count, _, _, _, optional_size, _ = struct.unpack_from("<HHIIIHH", image, pe_offset + 4)
    optional = pe_offset + 24
    if optional + optional_size > len(image) or optional_size < 2:
        raise ValueError("the optional header lies outside the file")
    (magic,) = struct.unpack_from("<H", image, optional)
    if magic not in (_MAGIC_32, _MAGIC_64):
        raise ValueError(f"unknown optional header magic {magic:#x}")
    is_64 = magic == _MAGIC_64
    directories = optional + (112 if is_64 else 96)
    security = directories + 8 * _SECURITY_DIRECTORY
    if security + 8 > optional + optional_size:
        raise ValueError("no certificate table entry in the optional header")
    (directory_count,) = struct.unpack_from("<I", image, directories - 4)
    if directory_count <= _SECURITY_DIRECTORY:
        raise ValueError("too few data directories for a certificate table")
    section_alignment, file_alignment = struct.unpack_from("<II", image, optional + 32)
    (size_of_headers,) = struct.unpack_from("<I", image, optional + 60)
    table = optional + optional_size
    if count > 96 or table + 40 * count > len(image):
        raise ValueError("the section table lies outside the file")
    sections = []
    for index in range(count):
        raw_size, raw_offset = struct.unpack_from("<II", image, table + 40 * index + 16)
        if raw_size and raw_offset + raw_size > len(image):
            raise ValueError(f"section {index} lies outside the file")
        sections.append((raw_offset, raw_size))
    if not security + 8 <= size_of_headers <= len(image):
        raise ValueError("SizeOfHeaders is out of range")
    certificate_offset, certificate_size = struct.unpack_from("<II", image, security)
    if certificate_size and certificate_offset + certificate_size > len(image):
        raise ValueError("the certificate table lies outside the file")
    return PeHeaders(
        is_64=is_64,
        machine=machine,
        checksum_offset=optional + 64,
        security_entry_offset=security,
        size_of_headers=size_of_headers,
        file_alignment=file_alignment,
        section_alignment=section_alignment,
        sections=tuple(sections),
        certificate_offset=certificate_offset,
        certificate_size=certificate_size,
    )


def pe_checksum(image: bytes, checksum_offset: int) -> int:
    """The image checksum a loader computes: 16-bit one's complement sum, its own field as zero, plus length.

    The folded sum is the value modulo 0xFFFF (with 0xFFFF for a non-zero multiple), so one big-integer
    division replaces the loop over words.
    """
    padded = bytearray(image)
    padded[checksum_offset : checksum_offset + 4] = bytes(4)
    if len(padded) % 2:
        padded.append(0)
    total = int.from_bytes(padded, "little")
    folded = total % 0xFFFF
    if folded == 0 and total:
        folded = 0xFFFF
    return (folded + len(image)) & 0xFFFFFFFF


def finish_image(image: bytes) -> bytes:
    """Flag INIT discardable, drop the writable flag from executable sections, renew the checksum."""
    pe = pefile.PE(data=image, fast_load=True)
    for section in pe.sections:
        name = section.Name.rstrip(b"\0")
        if name == b"INIT":
            section.Characteristics |= IMAGE_SCN_MEM_DISCARDABLE
        if section.Characteristics & IMAGE_SCN_MEM_EXECUTE:
            section.Characteristics &= ~IMAGE_SCN_MEM_WRITE
    pe.OPTIONAL_HEADER.CheckSum = 0
    data = bytearray(pe.write())
    headers = read_headers(bytes(data))
    struct.pack_into("<I", data, headers.checksum_offset, pe_checksum(bytes(data), headers.checksum_offset))
    return bytes(data)
