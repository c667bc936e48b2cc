"""Where a shrunk test comes from: its docstring."""

from __future__ import annotations

import textwrap
from typing import Final

from harness.repro.bundle import Bundle
from harness.repro.shrink import Shrunk

__all__ = ["provenance"]

_WIDTH: Final = 106
_LONG: Final = 300


def provenance(bundle: Bundle, shrunk: Shrunk, target: str) -> str:
    """What failed, where, and what told that the shrunk test fails in the same way."""
    manifest, failure = bundle.manifest, shrunk.failure
    kind = manifest.guest.kind
    note = "" if kind in ("windows", "reactos") else f" (a {kind} guest, not Windows)"
    lines = [
        f"Shrunk from {manifest.test.name}.",
        "",
        *_told(f"{failure.outcome} on {target}{note}."),
        *_told(f"{shrunk.before} became {shrunk.after}."),
        *_told(f"Judged by {shrunk.oracle}."),
    ]
    for driver in manifest.drivers:
        if not driver.probe:
            lines += _told(f"Driver {driver.service}: SHA-256 {driver.sha256}.")
    lines += _told(f"Recorded {manifest.created} with seed {manifest.test.seed or 'none'}.")
    return _quoted("\n".join(lines))


def _told(text: str) -> list[str]:
    return textwrap.wrap(text if len(text) <= _LONG else f"{text[:_LONG]} ...", _WIDTH)


def _quoted(text: str) -> str:
    """Text of a guest must not end the docstring it stands in."""
    return text.replace("\\", "\\\\").replace('"""', "'''")
