"""What a run's folder says of the run as a whole, besides its rows: notes that reports show.

known.json     the known issues that need care, as the whole run showed them
thinned.json   files that retention removed, by name, each with the day on which it did
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError
from harness.results.known import Finding
from harness.strict import plain, read_table

__all__ = ["THINNED_FILE", "note_thinned", "read_findings", "read_thinned", "write_findings"]

THINNED_FILE: Final = "thinned.json"
_KNOWN_FILE: Final = "known.json"
_LARGEST: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class _Findings:
    findings: tuple[Finding, ...] = field(default=())


def write_findings(folder: Path, findings: Iterable[Finding]) -> None:
    # Without their bounds: reports don't need these, and JSON has no dates.
    shown = (replace(each, issue=replace(each.issue, since=None, until=None)) for each in findings)
    _write(folder / _KNOWN_FILE, {"findings": [plain(each) for each in shown]})


def read_findings(folder: Path) -> tuple[Finding, ...]:
    """What `write_findings` kept; nothing where it kept nothing. Raises `UsageError` for a damaged file."""
    file = folder / _KNOWN_FILE
    return read_table(_Findings, _read(file), file).findings


def note_thinned(folder: Path, names: Iterable[str], when: datetime) -> None:
    """Add files of the run that are about to be removed; those noted before keep their day."""
    day = when.astimezone(UTC).date().isoformat()
    try:
        noted = read_thinned(folder)
    except UsageError:  # damaged: what it said of others is lost, and they are not there any more anyway
        noted = {}
    _write(folder / THINNED_FILE, dict.fromkeys(names, day) | dict(noted))


def read_thinned(folder: Path) -> Mapping[str, str]:
    """The day by name. Raises `UsageError` for a damaged file."""
    return {str(name): str(day)[:10] for name, day in _read(folder / THINNED_FILE).items()}


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as content:
            found = json.loads(content.read(_LARGEST))
        if not isinstance(found, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} can't be read: {error}; remove it, and reports do without it") from error
    return found


def _write(file: Path, value: Mapping[str, Any]) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
