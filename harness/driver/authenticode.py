"""The digests of Authenticode, computed from an image: the whole-file digest and the page hashes.

Sources: "Windows Authenticode Portable Executable Signature Format" (what is left out of the digest) and,
for page hashes, whose layout that document leaves open, the table that osslsigncode writes.
"""

from __future__ import annotations

import hashlib
import struct
from enum import StrEnum
from typing import Final

from harness.driver.image import PeHeaders, read_headers
from harness.registry.version import WindowsVersion

__all__ = ["DIGESTS", "SignatureDigest", "image_digest", "page_hash_table"]

#: Digest algorithms by the names of `hashlib`.
DIGESTS: Final = ("sha1", "sha256", "sha384", "sha512")

_MAX_PAGES: Final = 1 << 18


class SignatureDigest(StrEnum):
    """What drivers are signed with: digest, page hashes, signer and certificate alike."""

    SHA1 = "sha1"
    SHA256 = "sha256"

    @classmethod
    def for_version(cls, version: WindowsVersion) -> SignatureDigest:
        """What a Windows of that version checks without any update; see `WindowsVersion.checks_sha2`.

        One signature, not two: a second one by a certificate that is not Microsoft's may fail before
        Windows 10 (windows-hardware/drivers/install/driver-signing).
        """
        return cls.SHA256 if version.checks_sha2 else cls.SHA1


def image_digest(image: bytes, algorithm: str = "sha256", *, headers: PeHeaders | None = None) -> bytes:
    """The Authenticode digest of `image`: everything but the checksum, the entry of the certificate table in
    the data directories, and the table itself. Raises `ValueError` for a malformed image.
    """
    pe = headers if headers is not None else read_headers(image)
    end = pe.certificate_offset if pe.certificate_size else len(image)
    if end < pe.security_entry_offset + 8:
        raise ValueError("the certificate table overlaps the headers")
    view = memoryview(image)
    digest = hashlib.new(algorithm)
    digest.update(view[: pe.checksum_offset])
    digest.update(view[pe.checksum_offset + 4 : pe.security_entry_offset])
    digest.update(view[pe.security_entry_offset + 8 : end])
    digest.update(
        bytes(-end % 8)
    )  # the table starts on a boundary of eight; an unsigned file is padded to it
    return digest.digest()


def page_hash_table(image: bytes, algorithm: str = "sha256", *, headers: PeHeaders | None = None) -> bytes:
    """The page hash table of `image`: (file offset, digest) for the headers and every page of every section,
    closed by the end offset and zeros. Raises `ValueError` for a malformed image.
    """
    pe = headers if headers is not None else read_headers(image)
    page = pe.section_alignment
    if not 0x200 <= page <= 0x200000 or pe.size_of_headers > page:
        raise ValueError(f"section alignment {page:#x} has no page hashes")
    if sum(size // page + 1 for _, size in pe.sections) > _MAX_PAGES:
        raise ValueError("too many pages")
    view = memoryview(image)
    digest = hashlib.new(algorithm)
    digest.update(view[: pe.checksum_offset])
    digest.update(view[pe.checksum_offset + 4 : pe.security_entry_offset])
    digest.update(view[pe.security_entry_offset + 8 : pe.size_of_headers])
    digest.update(bytes(page - pe.size_of_headers))
    table = bytearray(struct.pack("<I", 0) + digest.digest())
    end = 0
    for offset, size in pe.sections:
        for position in range(offset, offset + size, page):
            chunk = view[position : min(position + page, offset + size)]
            digest = hashlib.new(algorithm, chunk)
            digest.update(bytes(page - len(chunk)))
            table += struct.pack("<I", position) + digest.digest()
        if size:
            end = offset + size
    table += struct.pack("<I", end) + bytes(digest.digest_size)
    return bytes(table)
