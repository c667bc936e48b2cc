"""Passwords, certificates and product keys: random, their owner's alone, and usable by what they are for."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs12

from harness.channel.access import WinRmAccess
from harness.errors import InfrastructureError, UsageError
from harness.image.access import network_access
from harness.image.answer import COMPUTER
from harness.image.finding import find_recipe
from harness.image.install.credentials import credentials, new_password, read_product_key
from harness.image.install.download import fetch_medium
from harness.image.store import ImageStore


def test_credentials_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    first = credentials(tmp_path / "keys" / "win")
    again = credentials(tmp_path / "keys" / "win")
    other = credentials(tmp_path / "keys" / "other")
    assert first == again
    assert first.password == again.password != other.password
    assert first.fingerprint != other.fingerprint
    for secret in (first.password_file, first.key_file):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys" / "win").stat().st_mode) == 0o700
    assert first.password not in repr(first)


def test_every_password_has_what_the_complexity_rule_wants() -> None:
    found = {new_password() for _ in range(200)}
    assert len(found) == 200
    for password in found:
        assert len(password) == 20
        assert password[0].isalpha()
        assert any(c.islower() for c in password)
        assert any(c.isupper() for c in password)
        assert any(c.isdigit() for c in password)
        assert set(password) & set("-_")


def test_the_listeners_certificate_is_what_is_pinned(tmp_path: Path) -> None:
    own = credentials(tmp_path / "win")
    setup, packed = own.winrm()
    key, certificate, _ = pkcs12.load_key_and_certificates(packed, setup.pfx_password.encode())
    assert key is not None
    assert certificate is not None
    assert certificate.fingerprint(hashes.SHA256()).hex() == own.fingerprint
    assert certificate.fingerprint(hashes.SHA1()).hex().upper() == setup.thumbprint
    assert f"CN={COMPUTER}" in certificate.subject.rfc4514_string()
    # Old ciphers: what Windows 7 imports.
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing, which tells the ciphers of a PKCS #12 file")
    (tmp_path / "win.pfx").write_bytes(packed)
    told = subprocess.run(
        [
            "openssl",
            "pkcs12",
            "-info",
            "-noout",
            "-in",
            tmp_path / "win.pfx",
            "-passin",
            f"pass:{setup.pfx_password}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "pbeWithSHA1And3-KeyTripleDES-CBC" in told


def test_an_installed_image_is_reached_with_its_password_and_certificate(tmp_path: Path) -> None:
    recipe, store = find_recipe("win11-24h2"), ImageStore(tmp_path)
    (way,) = network_access(recipe, {5986: 40000}, store=store)
    own = credentials(tmp_path / "keys" / recipe.name)
    assert isinstance(way, WinRmAccess)
    assert (way.password_file, way.certificate, way.port) == (own.password_file, own.fingerprint, 40000)


KEY = "ABCDE-12345-FGHIJ-67890-KLMNO"


def test_a_product_key_comes_from_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY.lower()}\n")
    file.chmod(0o600)
    assert read_product_key(file) == KEY
    file.chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others"):
        read_product_key(file)
    file.chmod(0o600)
    file.write_text("hunter2")
    with pytest.raises(UsageError, match="holds no product key") as raised:
        read_product_key(file)
    assert "hunter2" not in str(raised.value)


# -- media from a URL ----------------------------------------------------------------------------------------


class Media(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path == "/a.iso" else 404)
        self.end_headers()
        self.wfile.write(b"medium")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Media)
    Media.asked.clear()
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a.iso"
    server.shutdown()
    server.server_close()


SHA = hashes.Hash(hashes.SHA256())
SHA.update(b"medium")
DIGEST = SHA.finalize().hex()


def test_a_medium_is_downloaded_once_and_checked(tmp_path: Path, url: str) -> None:
    store = ImageStore(tmp_path)
    place = fetch_medium(url, DIGEST.upper(), store)
    assert place.read_bytes() == b"medium"
    assert fetch_medium(url, DIGEST, store) == place
    assert Media.asked == ["/a.iso"]


def test_another_medium_is_refused_and_nothing_kept(tmp_path: Path, url: str) -> None:
    store = ImageStore(tmp_path)
    with pytest.raises(UsageError, match=rf"its SHA-256 is {DIGEST}, not 00"):
        fetch_medium(url, "00" * 32, store)
    assert list((tmp_path / "media").iterdir()) == []
    with pytest.raises(UsageError, match="needs its hash"):
        fetch_medium(url, "", store)
    with pytest.raises(InfrastructureError, match="can't be downloaded: 404"):
        fetch_medium(url.replace("a.iso", "b.iso"), DIGEST, store)
