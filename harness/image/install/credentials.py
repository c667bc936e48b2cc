"""What only the owner of an image may know: the administrator's password, the key of its WinRM listener.

Both are made by the harness before the install, so that whoever connects later knows what to expect: the
certificate is pinned by its SHA-256, and no authority is asked. Files are 0600 in a 0700 folder.
"""

from __future__ import annotations

import datetime
import secrets
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.channel.secret import read_secret
from harness.driver.build import write_atomically
from harness.errors import InfrastructureError, UsageError
from harness.image.answer import COMPUTER, WinRmSetup
from harness.machine.keep.places import private_folder

__all__ = ["Credentials", "credentials", "read_product_key"]

_LENGTH: Final = 20
#: What answer files of every version quote without trouble; see `AnswerFacts`.
_SYMBOLS: Final = "-_"
_LIFETIME: Final = datetime.timedelta(days=10 * 365)
#: Keys are five groups of five letters and digits.
_KEY_GROUPS: Final = 5


@dataclass(frozen=True, slots=True)
class Credentials:
    """One image's. `fingerprint` is the SHA-256 of the WinRM certificate in hex."""

    password_file: Path
    certificate_file: Path
    key_file: Path
    fingerprint: str

    @property
    def password(self) -> str:
        return read_secret(self.password_file)

    def winrm(self) -> tuple[WinRmSetup, bytes]:
        """What the first boot needs of the listener's certificate, and the PKCS #12 file to import it from.

        The file's password is made anew each time. Its ciphers are old ones, which Windows 7 imports.
        """
        certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        key = serialization.load_pem_private_key(self.key_file.read_bytes(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise InfrastructureError(f"{self.key_file}: no RSA key; delete {self.key_file.parent}")
        password = new_password()
        encryption = (
            serialization.PrivateFormat.PKCS12.encryption_builder()
            .kdf_rounds(2048)
            .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
            .hmac_hash(hashes.SHA1())
            .build(password.encode("ascii"))
        )
        packed = pkcs12.serialize_key_and_certificates(b"winrm", key, certificate, None, encryption)
        thumbprint = certificate.fingerprint(hashes.SHA1()).hex().upper()
        return WinRmSetup(pfx_password=password, thumbprint=thumbprint), packed


def credentials(folder: Path) -> Credentials:
    """Those in `folder`, made on first use; hold the store's lock. Raises `InfrastructureError`."""
    private_folder(folder)
    password, certificate, key = folder / "password", folder / "winrm.crt", folder / "winrm.key"
    if not password.exists():
        write_atomically(password, new_password().encode("ascii"), mode=0o600)
    if not (certificate.exists() and key.exists()):
        _make_certificate(certificate, key)
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError as error:
        raise InfrastructureError(
            f"{certificate} is damaged ({error}); guests made with it can't be reached by WinRM any more: "
            f"delete {folder} and build the image again"
        ) from error
    return Credentials(password, certificate, key, found.fingerprint(hashes.SHA256()).hex())


def new_password() -> str:
    """A random password with letters of both cases, digits and a symbol, for Windows' complexity rule."""
    alphabet = string.ascii_letters + string.digits + _SYMBOLS
    groups = (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SYMBOLS)
    while True:
        # It begins with a letter, so that no program takes it for an option.
        found = secrets.choice(string.ascii_letters) + "".join(
            secrets.choice(alphabet) for _ in range(_LENGTH - 1)
        )
        if all(set(found) & set(group) for group in groups):
            return found


def read_product_key(path: Path) -> str:
    """The product key in a file of its owner's alone; it is never shown again.

    Raises `UsageError` for a file that others can read and for what is no key.
    """
    text = read_secret(path).strip().upper()
    groups = text.split("-")
    if len(groups) != _KEY_GROUPS or not all(len(g) == 5 and g.isascii() and g.isalnum() for g in groups):
        raise UsageError(f"{path} holds no product key: five groups of five letters and digits, with dashes")
    return text


def _make_certificate(certificate: Path, key_file: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMPUTER)])
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # guests with a clock that lags
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(COMPUTER)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(key_file, pem, mode=0o600)
    write_atomically(certificate, made.public_bytes(serialization.Encoding.PEM))
