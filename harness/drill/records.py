"""What drills found, kept beside the images: one file a target, of its last complete drill."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self

from harness.drill.model import DrillReport, DrillResult
from harness.errors import UsageError
from harness.machine.keep.places import Places, private_folder

__all__ = ["DrillRecord", "DrillStore"]

_FORMAT: Final = 1
_LONGEST: Final = 1 << 20
_VM: Final = "vm:"


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """A drill as it was kept. `when` is UTC, ISO 8601; `harness` is the version that drilled."""

    report: DrillReport
    when: str
    harness: str

    @classmethod
    def now(cls, report: DrillReport) -> Self:
        return cls(report, datetime.now(UTC).isoformat(timespec="seconds"), _own_version())

    def to_json(self) -> dict[str, Any]:
        return {"format": _FORMAT, "when": self.when, "harness": self.harness, **asdict(self.report)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """Raises `ValueError`, `KeyError` or `TypeError` for what is none."""
        known = dict(raw)
        if known.pop("format") != _FORMAT:
            raise ValueError("another format")
        when, harness = str(known.pop("when")), str(known.pop("harness"))
        results = tuple(DrillResult.from_json(each) for each in known.pop("results"))
        texts = {key: str(value) for key, value in known.items()}
        return cls(DrillReport(results=results, **texts), when, harness)


class DrillStore:
    """The folder of records: `drills` in the cache unless a test names its own."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else Places.standard().cache / "drills"

    def find(self, name: str) -> DrillRecord | None:
        """The record of a machine, with or without "vm:". One that can't be read counts as none."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                return DrillRecord.from_json(json.loads(file.read(_LONGEST)))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, report: DrillReport) -> Path:
        """Write a report down, in the place of an older one. Raises `UsageError` for a part of a drill."""
        if not report.complete or not report.image:
            raise UsageError(
                f"only a machine's complete drill is kept, and that of {report.target} is not one"
            )
        path = self._path(report.target)
        private_folder(self.folder)
        making = path.with_name(f".{path.name}.{os.getpid()}")
        making.write_text(json.dumps(DrillRecord.now(report).to_json(), indent=1), encoding="utf-8")
        making.replace(path)
        return path

    def _path(self, name: str) -> Path:
        plain = name.removeprefix(_VM)
        if not plain or "/" in plain or plain.startswith("."):
            raise UsageError(f"{name!r} is no machine's name")
        return self.folder / f"{plain}.json"


def _own_version() -> str:
    try:
        return version("regfilter-harness")
    except PackageNotFoundError:  # run from a source tree that isn't installed
        return ""
