"""Sign driver images with the checkout's test certificate, page hashes included.

With SHA-256, or with SHA-1 for systems that check nothing else (`SignatureDigest.for_version`).
osslsigncode does it; where it isn't installed the same signature is made in Python.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.driver.authenticode import SignatureDigest
from harness.driver.build import BuildResult, build_directory, build_driver, build_lock, write_atomically
from harness.driver.certificate import SigningCertificate, signing_certificate
from harness.driver.image import read_headers
from harness.driver.pysign import remove_signature, sign_bytes
from harness.driver.spec import DriverSpec, driver_sources
from harness.driver.toolchain import Toolchain
from harness.errors import InfrastructureError, UsageError
from harness.registry.version import VISTA, WindowsVersion

__all__ = ["SignResult", "build_signed", "probe_image", "sign_driver", "sign_image"]


@dataclass(frozen=True, slots=True)
class SignResult:
    """One signed driver: `image` is the product in place, `resigned` is false when it already was.

    One that is signed with SHA-1 stays beside the others in the cache.
    """

    name: str
    arch: str
    image: Path
    debug: Path
    certificate: SigningCertificate
    resigned: bool
    rebuilt: bool

    def read(self) -> bytes:
        """The bytes of the signed image."""
        return self.image.read_bytes()


def sign_image(image: bytes, certificate: SigningCertificate) -> bytes:
    """`image` with a signature by `certificate` in place of any it had.

    Raises `UsageError` for something that is no image.
    """
    try:
        headers = read_headers(image)
    except ValueError as error:
        raise UsageError(f"not a driver image: {error}") from error
    tool = shutil.which("osslsigncode")
    if tool is None:
        return sign_bytes(
            remove_signature(image),
            certificate.certificate.read_bytes(),
            certificate.key.read_bytes(),
            certificate.digest,
        )
    with tempfile.TemporaryDirectory(prefix="harness-sign-") as work:
        source, target = Path(work) / "in.sys", Path(work) / "out.sys"
        source.write_bytes(image)
        if headers.certificate_size:
            stripped = Path(work) / "stripped.sys"
            _run([tool, "remove-signature", "-in", str(source), "-out", str(stripped)])
            source = stripped
        command = [tool, "sign", "-certs", str(certificate.certificate), "-key", str(certificate.key)]
        _run([*command, "-h", certificate.digest.value, "-ph", "-in", str(source), "-out", str(target)])
        return target.read_bytes()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InfrastructureError(
            f"{Path(command[0]).name} {command[1]} failed: {done.stdout}{done.stderr}".strip()
        )


def sign_driver(built: BuildResult, *, certificate: SigningCertificate | None = None) -> SignResult:
    """Sign what `build_driver` made, in place where that is with SHA-256.

    The signed image of one content and certificate is cached.
    """
    directory = built.image.parent.parent
    used = certificate if certificate is not None else signing_certificate(directory / "keys")
    unsigned = built.unsigned.read_bytes()
    key = hashlib.sha256(unsigned + bytes.fromhex(used.fingerprint)).hexdigest()
    cached = directory / "cache" / "signed" / f"{key[:32]}.sys"
    manifest = built.image.with_suffix(".json")
    wanted = json.dumps({"key": built.key, "signed": key}).encode()
    with build_lock(directory):
        if not cached.is_file():
            write_atomically(cached, sign_image(unsigned, used))
        in_place = used.digest is SignatureDigest.SHA256
        resigned = in_place and not (
            built.image.is_file() and manifest.is_file() and manifest.read_bytes() == wanted
        )
        if resigned:
            manifest.unlink(missing_ok=True)
            write_atomically(built.image, cached.read_bytes())
            write_atomically(manifest, wanted)
    return SignResult(
        name=built.name,
        arch=built.arch,
        image=built.image if in_place else cached,
        debug=built.debug,
        certificate=used,
        resigned=resigned,
        rebuilt=built.rebuilt,
    )


def build_signed(
    source: DriverSpec | Path | str,
    arch: str,
    *,
    toolchain: Toolchain | None = None,
    output: Path | None = None,
    version: WindowsVersion | None = None,
) -> SignResult:
    """Build and sign the driver in `source`; see `build_driver` and `sign_driver`.

    `version` is the Windows that is to load it; without one that is any from Windows 8 on.
    """
    directory = output if output is not None else build_directory()
    built = build_driver(source, arch, toolchain=toolchain, output=directory)
    digest = SignatureDigest.SHA256 if version is None else SignatureDigest.for_version(version)
    return sign_driver(built, certificate=signing_certificate(directory / "keys", digest))


def probe_image(arch: str, version: WindowsVersion | None = None) -> bytes:
    """The probe for ``"x64"`` or ``"x86"``, signed for `version`; built when its sources have changed.

    Looked up once a process. Raises as `build_driver` and `sign_driver` do.
    """
    return _probe_image(str(arch), version is None or version.checks_sha2)


@functools.cache
def _probe_image(arch: str, sha2: bool) -> bytes:
    source = driver_sources() / "probe"
    return build_signed(source, arch, version=None if sha2 else VISTA).read()
