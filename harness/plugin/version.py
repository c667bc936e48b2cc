"""Which harness this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["own_version"]


def own_version() -> str:
    """The installed package's version; empty for a source tree that isn't installed."""
    try:
        return version("regfilter-harness")
    except PackageNotFoundError:
        return ""
