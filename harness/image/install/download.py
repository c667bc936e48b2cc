"""A medium from a URL, downloaded because somebody asked for it by name and hash; kept in the store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from harness.channel.access import normal_sha256
from harness.errors import InfrastructureError, ToolMissingError, UsageError
from harness.image.store import ImageStore
from harness.machine.keep.places import private_folder, require_space

__all__ = ["fetch_medium", "is_url"]

_CHUNK: Final = 1 << 20
_LARGEST: Final = 16 << 30
_TIMEOUT: Final = 60.0

#: Called with the bytes that are there and those there will be (0: not known).
Received = Callable[[int, int], None]


def is_url(text: str) -> bool:
    return urlsplit(text).scheme in ("http", "https")


def fetch_medium(
    url: str, sha256: str, store: ImageStore, *, received: Received = lambda got, all: None
) -> Path:
    """The medium at `url`, whose SHA-256 must be `sha256`; downloaded once.

    Raises `UsageError` for a missing or wrong hash, `InfrastructureError` when it can't be had. Nothing is
    kept of a download that isn't what was wanted.
    """
    if not sha256:
        raise UsageError(f"{url}: a medium from a URL needs its hash, --sha256 HEX, from where it is offered")
    wanted = normal_sha256(sha256)
    folder = private_folder(store.folder / "media")
    place, part = folder / f"{wanted}.iso", folder / f"{wanted}.part"
    with store.locked(f"media-{wanted[:16]}"):
        if place.is_file():
            return place
        try:
            found = _download(url, part, received)
            if found != wanted:
                raise UsageError(
                    f"{url} is not what is wanted: its SHA-256 is {found}, not {wanted}; it is deleted again"
                )
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
    return place


def _download(url: str, to: Path, received: Received) -> str:
    try:
        import requests
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            "downloading a medium needs requests: pip install 'regfilter-harness[machines]'"
        ) from error
    digest, got = hashlib.sha256(), 0
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            length = answer.headers.get("content-length", "")
            size = int(length) if length.isascii() and length.isdigit() else 0
            if size > _LARGEST:
                raise UsageError(f"{url} has {size:,} bytes, which no install medium has")
            require_space(to, size, f"downloading {url}")
            with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                for chunk in answer.iter_content(_CHUNK):
                    got += len(chunk)
                    if got > _LARGEST:
                        raise UsageError(
                            f"{url} does not end after {got:,} bytes; no install medium is that large"
                        )
                    file.write(chunk)
                    digest.update(chunk)
                    received(got, size)
    except requests.RequestException as error:
        raise InfrastructureError(f"{url} can't be downloaded: {error}; download it yourself") from error
    return digest.hexdigest()
