"""Authenticode signing in pure Python, for machines without osslsigncode.

Makes what `osslsigncode sign -ph` makes: a PKCS #7 SignedData of version 1 over the image's digest
and page hashes, in a certificate table behind the image.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from asn1crypto import cms, core, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate

from harness.driver.authenticode import SignatureDigest, image_digest, page_hash_table
from harness.driver.image import pe_checksum, read_headers
from harness.driver.spc import (
    PAGE_HASH_CLASS_ID,
    PAGE_HASHES,
    SPC_INDIRECT_DATA,
    SPC_PE_IMAGE_DATA,
    WIN_CERT_REVISION_2,
    WIN_CERT_TYPE_PKCS_SIGNED_DATA,
    OctetStrings,
    SpcAttribute,
    SpcAttributes,
    SpcIndirectData,
    SpcLink,
    SpcPeImageData,
    SpcSerializedObject,
)
from harness.errors import InfrastructureError

__all__ = ["remove_signature", "sign_bytes"]

_ALGORITHMS: Final[dict[SignatureDigest, hashes.HashAlgorithm]] = {
    SignatureDigest.SHA1: hashes.SHA1(),
    SignatureDigest.SHA256: hashes.SHA256(),
}
#: Object identifiers of page hash tables.
_PAGE_HASHES: Final = {algorithm: oid for oid, algorithm in PAGE_HASHES.items()}


def remove_signature(image: bytes) -> bytes:
    """`image` without its certificate table. Raises `ValueError` for a malformed image."""
    headers = read_headers(image)
    bare = bytearray(image[: headers.certificate_offset] if headers.certificate_size else image)
    bare[headers.security_entry_offset : headers.security_entry_offset + 8] = bytes(8)
    return _with_checksum(bare, headers.checksum_offset)


def sign_bytes(
    image: bytes,
    certificate_pem: bytes,
    key_pem: bytes,
    digest: SignatureDigest = SignatureDigest.SHA256,
) -> bytes:
    """`image`, which carries no signature, signed with `digest` and page hashes.

    Raises `ValueError` for a malformed image and `InfrastructureError` for a key that is not RSA.
    """
    signed = bytearray(image + bytes(-len(image) % 8))
    headers = read_headers(bytes(signed))
    indirect = _indirect_data(bytes(signed), digest)
    blob = _signed_data(indirect, certificate_pem, key_pem, digest)
    blob += bytes(-len(blob) % 8)
    table = struct.pack("<IHH", len(blob) + 8, WIN_CERT_REVISION_2, WIN_CERT_TYPE_PKCS_SIGNED_DATA) + blob
    struct.pack_into("<II", signed, headers.security_entry_offset, len(signed), len(table))
    return _with_checksum(signed + table, headers.checksum_offset)


def _with_checksum(image: bytearray, offset: int) -> bytes:
    struct.pack_into("<I", image, offset, pe_checksum(bytes(image), offset))
    return bytes(image)


def _indirect_data(image: bytes, digest: SignatureDigest) -> SpcIndirectData:
    table = OctetStrings([page_hash_table(image, digest)])
    pages = SpcAttribute({"type": _PAGE_HASHES[digest], "value": core.Any(table)})
    link = SpcLink(
        "moniker",
        SpcSerializedObject(
            {"class_id": PAGE_HASH_CLASS_ID, "serialized_data": SpcAttributes([pages]).dump()}
        ),
    )
    data = SpcPeImageData({"flags": core.BitString(()), "file": link})
    return SpcIndirectData(
        {
            "data": SpcAttribute({"type": SPC_PE_IMAGE_DATA, "value": core.Any(data)}),
            "message_digest": {
                "digest_algorithm": {"algorithm": digest.value},
                "digest": image_digest(image, digest),
            },
        }
    )


def _signed_data(
    indirect: SpcIndirectData, certificate_pem: bytes, key_pem: bytes, digest: SignatureDigest
) -> bytes:
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InfrastructureError("the signing key is not an RSA key: delete build/keys to get a new one")
    pem = load_pem_x509_certificate(certificate_pem)
    certificate = x509.Certificate.load(pem.public_bytes(serialization.Encoding.DER))
    indirect.dump()  # fills in the encoded contents
    attributes = cms.CMSAttributes(
        [
            {"type": "content_type", "values": [SPC_INDIRECT_DATA]},
            {"type": "message_digest", "values": [hashlib.new(digest, indirect.contents).digest()]},
        ]
    )
    algorithm = {"algorithm": digest.value}
    signer = {
        "version": "v1",
        "sid": cms.SignerIdentifier(
            "issuer_and_serial_number",
            {"issuer": certificate.issuer, "serial_number": certificate.serial_number},
        ),
        "digest_algorithm": algorithm,
        "signed_attrs": attributes,
        "signature_algorithm": {"algorithm": "rsassa_pkcs1v15"},
        "signature": key.sign(attributes.dump(), padding.PKCS1v15(), _ALGORITHMS[digest]),
    }
    signed_data = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [algorithm],
            "encap_content_info": {
                "content_type": SPC_INDIRECT_DATA,
                # ANY takes a value as it is encoded, the explicit tag of the member included.
                "content": core.Any(indirect.retag({"explicit": 0})),
            },
            "certificates": [certificate],
            "signer_infos": [signer],
        }
    )
    content = cms.ContentInfo({"content_type": "signed_data", "content": signed_data})
    return bytes(content.dump())
