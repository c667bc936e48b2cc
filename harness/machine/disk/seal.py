"""Sealed files: finished images that are never written again, known by their SHA-256.

Reading gigabytes takes long, so a digest is kept with the file's stamp: size, modification time and inode. A
file with another stamp is read again; one with another content is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from harness.errors import InfrastructureError, UsageError

__all__ = ["Seal", "file_digest", "is_sealed", "refuse_sealed", "seal", "verify"]


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What changes when a file is written or replaced."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Self:
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class Seal:
    """What a sealed file is: its SHA-256, and its stamp when that was computed."""

    sha256: str
    size: int
    mtime_ns: int
    inode: int

    @property
    def stamp(self) -> _Stamp:
        return _Stamp(self.size, self.mtime_ns, self.inode)


def file_digest(path: Path, cache: Path | None = None) -> str:
    """The SHA-256 of a file in hexadecimal.

    The folder `cache` remembers it for as long as the file's size, modification time and inode stay.
    """
    kept = cache / f"{hashlib.sha256(bytes(path.absolute())).hexdigest()[:32]}.json" if cache else None
    known = _read_seal(kept) if kept else None
    if known is not None and known.stamp == _Stamp.of(path):
        return known.sha256
    found = _compute(path)
    if kept is not None:
        _write_seal(kept, found)
    return found.sha256


def seal(path: Path) -> Seal:
    """Declare an image finished: read-only from now on, its digest beside it in ``NAME.seal``."""
    path.chmod(0o444)
    found = _compute(path)
    _write_seal(_beside(path), found)
    return found


def is_sealed(path: Path) -> bool:
    return _beside(path).exists()


def verify(path: Path, *, thorough: bool = False) -> Seal:
    """Check a sealed image. Read again when its stamp differs from the seal's, or `thorough`.

    Raises `InfrastructureError` when it isn't sealed or is not what was sealed.
    """
    try:
        known = _read_seal(_beside(path))
        if known is None:
            raise InfrastructureError(f"{path} is not sealed, or its seal is damaged; build the image again")
        if not thorough and known.stamp == _Stamp.of(path):
            return known
        found = _compute(path)
    except OSError as error:
        raise InfrastructureError(f"can't read the sealed image {path}: {error.strerror}") from error
    if found.sha256 != known.sha256:
        raise InfrastructureError(
            f"{path} was changed after it was sealed (SHA-256 {found.sha256[:16]}..., sealed as "
            f"{known.sha256[:16]}...); everything made from it is void: build the image again"
        )
    return found


def refuse_sealed(path: Path) -> None:
    """Raise `UsageError` when `path` is sealed: about to be written, by a machine for instance."""
    if is_sealed(path):
        raise UsageError(
            f"{path} is sealed and must not be written; make an overlay over it, or attach it read-only"
        )


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".seal")


def _compute(path: Path) -> Seal:
    before = _Stamp.of(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _Stamp.of(path) != before:
        raise InfrastructureError(f"{path} was written while it was read; whoever writes it must end first")
    return Seal(digest, before.size, before.mtime_ns, before.inode)


def _read_seal(path: Path) -> Seal | None:
    try:
        return Seal(**json.loads(path.read_bytes()[:4096]))
    except (OSError, ValueError, TypeError):
        return None


def _write_seal(path: Path, content: Seal) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".seal-")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(content), file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
