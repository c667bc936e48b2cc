"""Links of a page, made of names that guests and files gave: only what can't lead elsewhere becomes one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

__all__ = ["absence", "file_link", "inside", "link_prefix", "web_link"]


def inside(name: str) -> bool:
    """Whether a file's name stays in the folder it is relative to."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def link_prefix(run_folder: Path, page: Path) -> str:
    """What the names of a run's files begin with on `page`; empty for a page in the run's folder."""
    way = Path(os.path.relpath(run_folder.absolute(), page.absolute().parent)).as_posix()
    return "" if way == "." else f"{way}/"


def file_link(name: str, prefix: str = "") -> str:
    """The reference to a file of the run; empty for a name that leaves the run's folder."""
    if not inside(name):
        return ""
    # Quoted to the last colon: nothing in it is taken as a scheme.
    return quote(f"{prefix}{name}", safe="/", errors="backslashreplace")


def absence(name: str, folder: Path, thinned: Mapping[str, str]) -> str:
    """Why there is nothing to link to, in words; empty for a file that is there.

    `thinned` says which of the run's files retention removed, and on which day.
    """
    if not inside(name):
        return ""
    try:
        if (folder / name).exists():
            return ""
    except (OSError, ValueError):  # a name that no file system takes
        return "not there"
    return f"thinned out on {thinned[name]}" if name in thinned else "not there"


def web_link(text: str) -> str:
    """The address, if it is one of the web; empty otherwise."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.hostname else ""
