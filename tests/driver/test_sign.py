"""Certificates and signatures: made once, kept private, and tampering found by our own check."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from harness.cli import app
from harness.driver import (
    BuildResult,
    SignatureDigest,
    SignResult,
    build_signed,
    check_signature,
    sign_image,
    signing_certificate,
    verify_bytes,
)
from harness.driver.authenticode import image_digest, page_hash_table
from harness.driver.image import read_headers
from harness.errors import InfrastructureError, UsageError
from harness.registry.version import VISTA, WindowsVersion


def test_the_key_is_private_and_the_certificate_is_for_code(tmp_path: Path) -> None:
    made = signing_certificate(tmp_path / "keys")
    assert made.key.stat().st_mode & 0o777 == 0o600
    certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CODE_SIGNING]
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature


def test_the_certificate_is_made_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(signing_certificate, tmp_path / "keys") for _ in range(4)]
        assert len({job.result().fingerprint for job in jobs}) == 1


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    made = signing_certificate(tmp_path / "keys")
    made.key.chmod(0o644)
    with pytest.raises(InfrastructureError, match="chmod 600"):
        signing_certificate(tmp_path / "keys")


def test_a_damaged_certificate_says_what_to_delete(tmp_path: Path) -> None:
    signing_certificate(tmp_path / "keys").certificate.write_text("nonsense")
    with pytest.raises(InfrastructureError, match="delete"):
        signing_certificate(tmp_path / "keys")


def test_keys_are_below_a_folder_git_ignores() -> None:
    from harness.driver import find_project_root

    root = find_project_root()
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    key = root / "build" / "keys" / "test-signing.key"
    assert subprocess.run(["git", "check-ignore", "-q", str(key)], cwd=root, check=False).returncode == 0


def test_a_signed_image_passes(signed_tiny: SignResult) -> None:
    report = check_signature(signed_tiny.read())
    assert report.ok, report
    assert report.page_hashes_ok is True
    assert report.digest_algorithm == "sha256"
    assert "regfilter-harness" in report.subject
    assert report.problem == ""


def test_the_digest_is_the_one_osslsigncode_computes(signed_tiny: SignResult) -> None:
    """Two programs written apart from each other agree on what the digest covers."""
    done = subprocess.run(
        ["osslsigncode", "verify", "-in", str(signed_tiny.image)], capture_output=True, text=True, check=False
    )
    assert image_digest(signed_tiny.read()).hex().upper() in done.stdout


def test_an_unsigned_image_is_told_apart(unsigned_tiny: BuildResult) -> None:
    report = check_signature(unsigned_tiny.unsigned.read_bytes())
    assert not report.signed
    assert not report.ok
    assert "no signature" in report.problem


def test_signing_again_replaces_the_signature(signed_tiny: SignResult, tmp_path: Path) -> None:
    other = signing_certificate(tmp_path / "other")
    again = sign_image(signed_tiny.read(), other)
    assert check_signature(again).ok
    assert check_signature(again).thumbprint != check_signature(signed_tiny.read()).thumbprint


def test_without_osslsigncode_the_signature_is_as_good(
    unsigned_tiny: BuildResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, certificate = unsigned_tiny.unsigned.read_bytes(), signing_certificate(tmp_path / "keys")
    with monkeypatch.context() as patch:
        patch.setattr("harness.driver.sign.shutil.which", lambda name: None)
        ours = sign_image(image, certificate)
        assert sign_image(ours, certificate) == ours  # an old signature is replaced
    report = verify_bytes(ours)
    assert report.ok, report.failed
    assert report.signature.page_hashes_ok
    path = tmp_path / "ours.sys"
    path.write_bytes(ours)
    done = subprocess.run(
        ["osslsigncode", "verify", "-CAfile", str(certificate.certificate), "-in", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert image_digest(ours).hex().upper() in done.stdout
    assert "Calculated page hash" in done.stdout


def test_what_is_no_image_is_not_signed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a driver image"):
        sign_image(b"MZ but nothing else", signing_certificate(tmp_path / "keys"))


def test_every_changed_byte_of_the_content_is_noticed(signed_tiny: SignResult) -> None:
    image = signed_tiny.read()
    headers = read_headers(image)
    excluded = {
        *range(headers.checksum_offset, headers.checksum_offset + 4),
        *range(headers.security_entry_offset, headers.security_entry_offset + 8),
    }
    for position in range(0x80, headers.certificate_offset, 97):
        if position in excluded:
            continue
        changed = bytearray(image)
        changed[position] ^= 0x20
        report = check_signature(bytes(changed))
        assert not report.ok, hex(position)


def test_the_checksum_is_not_covered(signed_tiny: SignResult) -> None:
    """As the format defines it: a signature survives a renewed checksum."""
    changed = bytearray(signed_tiny.read())
    changed[read_headers(bytes(changed)).checksum_offset] ^= 1
    assert check_signature(bytes(changed)).ok


def test_a_digest_of_another_image_is_noticed(signed_tiny: SignResult, signed_probe: SignResult) -> None:
    """The probe's signature pasted onto another driver."""
    probe, tiny = signed_probe.read(), signed_tiny.read()
    theirs, ours = read_headers(probe), read_headers(tiny)
    table = probe[theirs.certificate_offset : theirs.certificate_offset + theirs.certificate_size]
    forged = bytearray(tiny[: ours.certificate_offset] + table)
    struct.pack_into("<I", forged, ours.security_entry_offset + 4, len(table))
    report = check_signature(bytes(forged))
    assert report.signed
    assert report.signature_valid
    assert not report.digest_ok
    assert "changed after signing" in report.problem


def test_a_digest_replaced_in_the_signature_is_noticed(signed_tiny: SignResult) -> None:
    """Patch code and put the new digest into the signed content: the signer's signature no longer holds."""
    image = bytearray(signed_tiny.read())
    old = image_digest(bytes(image))
    image[0x420] ^= 1
    new = image_digest(bytes(image))
    position = bytes(image).index(old)
    image[position : position + len(old)] = new
    report = check_signature(bytes(image))
    assert report.digest_ok
    assert not report.signature_valid
    assert not report.ok


def test_a_wrong_page_hash_is_noticed(signed_tiny: SignResult) -> None:
    image = bytearray(signed_tiny.read())
    table = page_hash_table(bytes(image))
    position = bytes(image).index(table)
    image[position + 10] ^= 1
    report = check_signature(bytes(image))
    assert report.page_hashes_ok is False
    assert not report.ok
    # By itself, too: here the signature over the table broke with it.
    assert not replace(report, digest_ok=True, signature_valid=True).ok


def test_data_behind_the_signature_is_refused(signed_tiny: SignResult) -> None:
    report = check_signature(signed_tiny.read() + b"not covered by the digest")
    assert not report.ok
    assert "behind the certificate table" in report.problem


def test_a_broken_signer_signature_is_noticed(signed_tiny: SignResult) -> None:
    image = bytearray(signed_tiny.read())
    headers = read_headers(bytes(image))
    (length,) = struct.unpack_from("<I", image, headers.certificate_offset)
    image[headers.certificate_offset + length - 20] ^= 1  # the signature value ends the structure
    report = check_signature(bytes(image))
    assert not report.ok
    assert report.digest_ok


def test_the_page_hash_table_has_every_page(signed_tiny: SignResult) -> None:
    image = signed_tiny.read()
    headers = read_headers(image)
    table = page_hash_table(image)
    entries = [
        (struct.unpack_from("<I", table, at)[0], table[at + 4 : at + 36]) for at in range(0, len(table), 36)
    ]
    assert entries[0][0] == 0
    assert entries[-1] == (max(o + s for o, s in headers.sections if s), bytes(32))
    offset, _size = headers.sections[0]
    page = image[offset : offset + 4096][: headers.sections[0][1]]
    assert entries[1] == (offset, hashlib.sha256(page.ljust(4096, b"\0")).digest())


# -- SHA-1, for Windows before 8 -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "digest"),
    [
        ("6.0.6002", "sha1"),
        ("6.1.7601", "sha1"),
        ("6.2.9200", "sha256"),
        ("6.3.9600", "sha256"),
        ("10.0.26100", "sha256"),
    ],
)
def test_a_system_gets_the_digest_it_checks(
    tiny_build: Path, tmp_path: Path, version: str, digest: str
) -> None:
    """Digest, page hashes, signer and certificate alike: one of SHA-256 would be one too many."""
    wanted = WindowsVersion.parse(version)
    signed = build_signed(tiny_build / "tiny.c", "x64", output=tmp_path / "build", version=wanted)
    report = check_signature(signed.read())
    assert report.ok
    assert (report.digest_algorithm, report.page_hashes_ok) == (digest, True)
    certificate = x509.load_pem_x509_certificate(signed.certificate.certificate.read_bytes())
    assert certificate.signature_algorithm_oid._name == f"{digest}WithRSAEncryption"
    assert report.thumbprint == certificate.fingerprint(hashes.SHA1()).hex()
    pkcs7 = read_pkcs7(signed.read())
    signer = pkcs7["signer_infos"][0]
    assert signer["digest_algorithm"]["algorithm"].native == digest
    assert [each["algorithm"].native for each in pkcs7["digest_algorithms"]] == [digest]


def read_pkcs7(image: bytes) -> Any:
    headers = read_headers(image)
    table = image[headers.certificate_offset :]
    return cms.ContentInfo.load(table[8 : struct.unpack_from("<I", table)[0]])["content"]


def test_both_certificates_have_the_same_key_and_the_older_one_is_as_sound(tmp_path: Path) -> None:
    made = signing_certificate(tmp_path, SignatureDigest.SHA1)
    old, new = (
        x509.load_pem_x509_certificate(each.certificate.read_bytes())
        for each in (made, signing_certificate(tmp_path))
    )
    assert old.public_key() == new.public_key()
    assert (old.subject, list(old.extensions)) == (new.subject, list(new.extensions))
    assert old.serial_number != new.serial_number
    key = old.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(old.signature, old.tbs_certificate_bytes, padding.PKCS1v15(), hashes.SHA1())
    assert signing_certificate(tmp_path, SignatureDigest.SHA1) == made
    made.key.unlink()
    assert signing_certificate(tmp_path, SignatureDigest.SHA1).fingerprint != made.fingerprint


@pytest.mark.parametrize("digest", SignatureDigest)
def test_python_signs_what_osslsigncode_signs(
    signed_tiny: SignResult, tmp_path: Path, digest: SignatureDigest, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = signing_certificate(tmp_path, digest)
    loaded = x509.load_pem_x509_certificate(certificate.certificate.read_bytes())
    thumbprint = loaded.fingerprint(hashes.SHA1()).hex()
    theirs = sign_image(signed_tiny.read(), certificate)
    monkeypatch.setenv("PATH", str(tmp_path))
    ours = sign_image(signed_tiny.read(), certificate)
    for image in (ours, theirs):
        report = check_signature(image)
        assert (report.ok, report.page_hashes_ok, report.digest_algorithm) == (True, True, digest)
        assert report.thumbprint == thumbprint


def test_signing_for_an_older_system_leaves_the_product_as_it_is(tiny_build: Path, tmp_path: Path) -> None:
    usual = build_signed(tiny_build / "tiny.c", "x64", output=tmp_path / "build")
    before = usual.read()
    old = build_signed(tiny_build / "tiny.c", "x64", output=tmp_path / "build", version=VISTA)
    assert old.image != usual.image
    assert usual.read() == before


@pytest.mark.parametrize(("system", "digest"), [([], "sha256"), (["--for", "6.1"], "sha1")])
def test_the_command_signs_for_a_system(
    signed_tiny: SignResult, tmp_path: Path, system: list[str], digest: str
) -> None:
    mine = tmp_path / "mine.sys"
    mine.write_bytes(signed_tiny.read())
    done = CliRunner().invoke(app, ["driver", "sign", str(mine), *system])
    assert done.exit_code == 0, done.output
    report = check_signature(mine.read_bytes())
    assert (report.ok, report.digest_algorithm) == (True, digest)
