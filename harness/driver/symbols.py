"""Find the unstripped copy of an image from its bytes alone.

A guest gets bytes, not paths. The Authenticode digest leaves the signature out, so it names what was linked,
signed or not; each build leaves its debug copy under that name.
"""

from __future__ import annotations

from pathlib import Path

from harness.driver.authenticode import image_digest
from harness.driver.image import read_headers

__all__ = ["find_symbols", "record_symbols", "remember_symbols"]

_remembered: dict[str, Path] = {}


def _name(image: bytes) -> str:
    """The image's name by content; "" for what is no image."""
    try:
        return image_digest(image, headers=read_headers(image)).hex()
    except ValueError:
        return ""


def _folder(build: Path) -> Path:
    return build / "cache" / "symbols"


def record_symbols(image: bytes, debug: Path, build: Path) -> None:
    """Note in the build folder that `debug` belongs to `image`."""
    folder = _folder(build)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _name(image)).write_text(str(debug.resolve()), encoding="utf-8")


def remember_symbols(image: bytes, path: Path) -> None:
    """For the rest of this process: the symbols of `image` are in `path` (an image, or its debug copy)."""
    _remembered[_name(image)] = path


def find_symbols(image: bytes) -> Path | None:
    """The debug copy of `image`, remembered or left by a build; None when nobody has one."""
    from harness.driver.build import build_directory

    name = _name(image)
    if not name:
        return None
    if name in _remembered:
        return _remembered[name]
    note = _folder(build_directory()) / name
    if not note.is_file():
        return None
    path = Path(note.read_text(encoding="utf-8"))
    return path if path.is_file() else None
