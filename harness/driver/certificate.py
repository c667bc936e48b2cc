"""The test certificate of a checkout: made once, its key readable by the owner only, never committed."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.driver.build import build_directory, build_lock, write_atomically
from harness.errors import InfrastructureError

__all__ = ["CERTIFICATE_NAME", "SigningCertificate", "signing_certificate"]

CERTIFICATE_NAME: Final = "regfilter-harness test signing"
_LIFETIME: Final = datetime.timedelta(days=10 * 365)
_KEY_BITS: Final = 2048  # what every Windows since XP can check


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """Where the certificate and its key lie; `fingerprint` is the SHA-256 of the certificate."""

    certificate: Path
    key: Path
    fingerprint: str


def signing_certificate(directory: Path | None = None) -> SigningCertificate:
    """The certificate below `directory` (``build/keys`` by default); made on first use.

    Concurrent callers get the same one. A key that others could read is refused, an unreadable
    pair is an `InfrastructureError` that says what to delete.
    """
    folder = directory if directory is not None else build_directory() / "keys"
    folder.mkdir(parents=True, exist_ok=True)
    key_path, certificate_path = folder / "test-signing.key", folder / "test-signing.crt"
    with build_lock(folder):
        if not (key_path.is_file() and certificate_path.is_file()):
            _create(key_path, certificate_path)
    if key_path.stat().st_mode & 0o077:
        raise InfrastructureError(f"{key_path} is readable by others: chmod 600 {key_path}, or delete it")
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    except ValueError as error:
        raise InfrastructureError(f"{certificate_path} is damaged ({error}): delete {folder}") from error
    return SigningCertificate(
        certificate=certificate_path, key=key_path, fingerprint=certificate.fingerprint(hashes.SHA256()).hex()
    )


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
