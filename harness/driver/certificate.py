"""The test certificates of a checkout: made once, their key readable by the owner only, never committed.

There is one for each digest, by the same key: a system that checks no SHA-256 is spared a certificate that is
signed with it.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.driver.authenticode import SignatureDigest
from harness.driver.build import build_directory, build_lock, write_atomically
from harness.errors import InfrastructureError

__all__ = ["CERTIFICATE_NAME", "SigningCertificate", "signing_certificate"]

CERTIFICATE_NAME: Final = "regfilter-harness test signing"
_LIFETIME: Final = datetime.timedelta(days=10 * 365)
_KEY_BITS: Final = 2048  # what every Windows since XP can check


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """Where the certificate and its key lie; `fingerprint` is the SHA-256 of the certificate.

    `digest` is what it is signed with, and what images are signed with by it.
    """

    certificate: Path
    key: Path
    fingerprint: str
    digest: SignatureDigest = SignatureDigest.SHA256


def signing_certificate(
    directory: Path | None = None, digest: SignatureDigest = SignatureDigest.SHA256
) -> SigningCertificate:
    """The certificate below `directory` (``build/keys`` by default) for `digest`; made on first use.

    Concurrent callers get the same one. A key that others could read is refused, an unreadable
    pair is an `InfrastructureError` that says what to delete.
    """
    folder = directory if directory is not None else build_directory() / "keys"
    folder.mkdir(parents=True, exist_ok=True)
    key_path, usual = folder / "test-signing.key", folder / "test-signing.crt"
    certificate_path = usual if digest is SignatureDigest.SHA256 else folder / "test-signing-sha1.crt"
    with build_lock(folder):
        if not (key_path.is_file() and usual.is_file()):
            certificate_path.unlink(missing_ok=True)  # of a key that is gone
            _create(key_path, usual)
        if not certificate_path.is_file():
            write_atomically(certificate_path, _with_sha1(usual.read_bytes(), key_path.read_bytes()))
    if key_path.stat().st_mode & 0o077:
        raise InfrastructureError(f"{key_path} is readable by others: chmod 600 {key_path}, or delete it")
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    except ValueError as error:
        raise InfrastructureError(f"{certificate_path} is damaged ({error}): delete {folder}") from error
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    return SigningCertificate(certificate_path, key_path, fingerprint, digest)


def _with_sha1(certificate_pem: bytes, key_pem: bytes) -> bytes:
    """The same certificate signed with SHA-1, under a serial number of its own.

    `cryptography` makes none any more, with good reason: nobody trusts this one but a test machine.
    """
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InfrastructureError("the signing key is not an RSA key: delete build/keys to get a new one")
    der = x509.load_pem_x509_certificate(certificate_pem).public_bytes(serialization.Encoding.DER)
    content = asn1.Certificate.load(der)["tbs_certificate"]
    content["serial_number"] = x509.random_serial_number()
    content["signature"] = {"algorithm": "sha1_rsa"}
    signature = key.sign(content.dump(force=True), padding.PKCS1v15(), hashes.SHA1())
    made = asn1.Certificate(
        {
            "tbs_certificate": content,
            "signature_algorithm": {"algorithm": "sha1_rsa"},
            "signature_value": signature,
        }
    )
    return x509.load_der_x509_certificate(made.dump()).public_bytes(serialization.Encoding.PEM)


def _create(key_path: Path, certificate_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CERTIFICATE_NAME)])
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # guests with a clock that lags
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(key_path, pem, mode=0o600)
    write_atomically(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
