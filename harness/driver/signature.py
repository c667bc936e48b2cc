"""Check the Authenticode signature of an image in pure Python.

The reference guest decides with this whether a driver may load, so the input is hostile: every malformed
image or signature becomes a report, never an exception, and nothing is executed.

What is checked: the PKCS #7 structure, the digest of the image, the page hashes if there are any, and the
signer's signature with the certificate that came along. Whether that certificate is trusted is not asked:
with test signing any will do (the TESTSIGNING boot option).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any, Final

from asn1crypto import cms
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from harness.driver.authenticode import DIGESTS, image_digest, page_hash_table
from harness.driver.image import PeHeaders, read_headers
from harness.driver.spc import (
    PAGE_HASH_CLASS_ID,
    PAGE_HASHES,
    SPC_INDIRECT_DATA,
    WIN_CERT_REVISION_2,
    WIN_CERT_TYPE_PKCS_SIGNED_DATA,
    OctetStrings,
    SpcAttributes,
    SpcIndirectData,
    SpcPeImageData,
)

__all__ = ["SignatureReport", "check_signature"]

_MAX_TABLE: Final = 1 << 22

_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """What the signature of an image is worth.

    `digest_ok` compares the digest in the signature with the image, `page_hashes_ok` is None when there are
    none, `signature_valid` says that the signer's key really signed that digest. `problem` names the
    first thing that is wrong, and is empty when `ok`.
    """

    signed: bool
    digest_ok: bool = False
    page_hashes_ok: bool | None = None
    signature_valid: bool = False
    digest_algorithm: str = ""
    subject: str = ""
    issuer: str = ""
    thumbprint: str = ""  # SHA-1 of the certificate, as Windows shows it
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Would a Windows with test signing accept it?"""
        return self.signed and self.digest_ok and self.page_hashes_ok is not False and self.signature_valid


class _MalformedError(ValueError):
    """The signature can't be understood."""


def check_signature(image: bytes) -> SignatureReport:
    """Judge the signature of a driver image. Never raises: what can't be parsed is told in `problem`."""
    try:
        headers = read_headers(image)
    except ValueError as error:
        return SignatureReport(signed=False, problem=f"not an image: {error}")
    if headers.certificate_size == 0:
        return SignatureReport(signed=False, problem="the image carries no signature")
    try:
        return _check(image, headers)
    except RecursionError:
        return SignatureReport(signed=True, problem="malformed signature: nested too deeply")
    except Exception as error:
        # asn1crypto raises whatever its lazily parsed fields run into; here every kind means "malformed".
        return SignatureReport(signed=True, problem=f"malformed signature: {error}"[:300])


def _check(image: bytes, headers: PeHeaders) -> SignatureReport:
    signed_data = _signed_data(image, headers)
    content = signed_data["encap_content_info"]
    if content["content_type"].dotted != SPC_INDIRECT_DATA:
        raise _MalformedError(f"signed content is {content['content_type'].dotted}, not an image digest")
    # Version 1 of SignedData holds the content as ANY; the octet string of later ones is not Authenticode.
    indirect = content["content"].parse(SpcIndirectData)
    content_bytes = indirect.contents
    algorithm = indirect["message_digest"]["digest_algorithm"]["algorithm"].native
    if algorithm not in DIGESTS:
        raise _MalformedError(f"unknown digest algorithm {algorithm}")
    digest_ok = indirect["message_digest"]["digest"].native == image_digest(image, algorithm, headers=headers)
    page_hashes_ok = _check_page_hashes(indirect["data"], image, headers)
    certificate, signer_problem = _check_signer(signed_data, content_bytes)
    problem = signer_problem
    if page_hashes_ok is False:
        problem = "the page hashes don't match the image: it was changed after signing"
    if not digest_ok:
        problem = "the digest doesn't match the image: it was changed after signing"
    return SignatureReport(
        signed=True,
        digest_ok=digest_ok,
        page_hashes_ok=page_hashes_ok,
        signature_valid=not signer_problem,
        digest_algorithm=algorithm,
        subject=certificate.subject.rfc4514_string() if certificate else "",
        issuer=certificate.issuer.rfc4514_string() if certificate else "",
        thumbprint=certificate.fingerprint(hashes.SHA1()).hex() if certificate else "",
        problem=problem,
    )


def _signed_data(image: bytes, headers: PeHeaders) -> Any:
    start, size = headers.certificate_offset, headers.certificate_size
    if start % 8:
        raise _MalformedError("the certificate table is not aligned")
    if start + size != len(image):
        raise _MalformedError("data behind the certificate table is not covered by the digest")
    if size < 8:
        raise _MalformedError("the certificate table is too short")
    length, revision, kind = struct.unpack_from("<IHH", image, start)
    if not 8 < length <= size:
        raise _MalformedError("the certificate table has a wrong length")
    if revision != WIN_CERT_REVISION_2 or kind != WIN_CERT_TYPE_PKCS_SIGNED_DATA:
        raise _MalformedError(f"certificate of revision {revision:#x} and type {kind:#x}")
    if length > _MAX_TABLE:
        raise _MalformedError("the certificate table is too large")
    content = cms.ContentInfo.load(image[start + 8 : start + length])
    if content["content_type"].native != "signed_data":
        raise _MalformedError("no SignedData in the certificate table")
    return content["content"]


def _check_page_hashes(attribute: Any, image: bytes, headers: PeHeaders) -> bool | None:
    """None: there are none. An object of another kind in their place is no page hash."""
    data = SpcPeImageData.load(attribute["value"].dump())
    link = data["file"]
    if link.native is None or link.name != "moniker":
        return None
    if link.chosen["class_id"].native != PAGE_HASH_CLASS_ID:
        return None
    for entry in SpcAttributes.load(link.chosen["serialized_data"].native):
        algorithm = PAGE_HASHES.get(entry["type"].dotted)
        if algorithm is None:
            continue
        for table in OctetStrings.load(entry["value"].dump()):
            try:
                expected = page_hash_table(image, algorithm, headers=headers)
            except ValueError:
                return False
            return bool(table.native == expected)
    raise _MalformedError("a page hash object without page hashes")


def _check_signer(signed_data: Any, content: bytes) -> tuple[x509.Certificate | None, str]:
    """The signer's certificate and what is wrong with its signature ("" when nothing is)."""
    signers = signed_data["signer_infos"]
    if len(signers) != 1:
        raise _MalformedError(f"{len(signers)} signers")
    signer = signers[0]
    certificate = _certificate_of(signed_data, signer)
    if certificate is None:
        return None, "the signer's certificate is not in the signature"
    algorithm = signer["digest_algorithm"]["algorithm"].native
    if algorithm not in _HASHES:
        return certificate, f"unknown signer digest algorithm {algorithm}"
    attributes = signer["signed_attrs"]
    digest = hashlib.new(algorithm, content).digest()
    found = [a["values"][0].native for a in attributes if a["type"].native == "message_digest"]
    if found != [digest]:
        return certificate, "the signed digest doesn't match the signed content"
    signed_bytes = attributes.untag().dump(force=True)
    try:
        _verify(certificate, signer["signature"].native, signed_bytes, _HASHES[algorithm]())
    except InvalidSignature:
        return certificate, "the signer's signature is wrong"
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        return certificate, f"the signer's key can't be used: {error}"
    return certificate, ""


def _certificate_of(signed_data: Any, signer: Any) -> x509.Certificate | None:
    wanted = signer["sid"].chosen
    if signer["sid"].name != "issuer_and_serial_number":
        raise _MalformedError("the signer is not named by issuer and serial number")
    for choice in signed_data["certificates"]:
        if choice.name != "certificate":
            continue
        certificate = choice.chosen
        same_serial = certificate.serial_number == wanted["serial_number"].native
        if same_serial and certificate.issuer.dump() == wanted["issuer"].dump():
            return x509.load_der_x509_certificate(certificate.dump())
    return None


def _verify(
    certificate: x509.Certificate, signature: bytes, data: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(algorithm))
    else:
        raise UnsupportedAlgorithm(f"{type(key).__name__} signs no drivers")
