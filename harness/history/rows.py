"""Between a `RunResult` and what the tables hold of it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from harness.errors import UsageError
from harness.results.model import RunInfo, RunResult
from harness.results.outcome import Outcome

__all__ = ["body_of", "compact", "digest_of", "file_of", "info_from", "moment", "plain", "result_from"]


def plain(text: str) -> str:
    r"""`text` as every database takes it.

    PostgreSQL has no NUL in texts, and no encoding of ours has lone surrogates: they become ``\x00`` and
    ``\udc00``, spelled out.
    """
    if text.isascii() and "\x00" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", r"\x00")


def digest_of(text: str) -> bytes:
    """The identity of a text, of a fixed size."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


#: Made once: that takes longer than to encode a row.
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


def compact(value: Any) -> str:
    """JSON in ASCII, the same text for the same value."""
    return _ENCODER.encode(value)


def file_of(test: str) -> str:
    """The file of a test, as its node id names it."""
    return test.partition("::")[0]


def moment(text: str, what: str) -> str:
    """A time in ISO 8601 as the tables hold it: in UTC, with microseconds, so that it sorts as text.

    Raises `UsageError` for anything else; `what` says what it is the time of.
    """
    try:
        time = datetime.fromisoformat(text)
        # One without a zone is ours: RunInfo says UTC.
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return time.isoformat(timespec="microseconds")
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{what}: {text[:60]!r} is no time in ISO 8601") from error


def _shown(time: str) -> str:
    """A time of the tables as run.json writes it."""
    return time.replace(".000000", "")


def info_from(row: Mapping[Any, Any]) -> RunInfo:
    return RunInfo(
        name=row["name"],
        started=_shown(row["started"]),
        arguments=tuple(json.loads(row["arguments"])),
        harness=row["harness"],
        finished=_shown(row["finished"]),
        exit_code=row["exit_code"],
    )


#: What the tables have columns for.
_COLUMNS: Final = frozenset(
    {
        "test",
        "target",
        "outcome",
        "behaviours",
        "duration",
        "message",
        "attestation",
        "attempt",
        "build",
    }
)
_USUAL: Final = RunResult("", "", Outcome.PASS).to_json()


def body_of(row: Mapping[str, Any]) -> str:
    """What of a row (of rows.jsonl) has no column, as JSON, without what is as in most rows."""
    return compact(
        {name: value for name, value in row.items() if name not in _COLUMNS and value != _USUAL[name]}
    )


def result_from(
    row: Mapping[Any, Any], behaviours: tuple[str, ...], attestation: Mapping[str, Any] | None
) -> RunResult:
    """The result that a row of the tables was made of; `row` has the names of its test and its target."""
    return RunResult.from_json(
        {
            **_USUAL,
            **json.loads(row["body"]),
            "test": row["test"],
            "target": row["target"],
            "outcome": row["outcome"],
            "behaviours": behaviours,
            "duration": row["duration"],
            "message": row["message"],
            "attestation": attestation,
            "attempt": row["attempt"],
            "build": row["build"],
        }
    )
