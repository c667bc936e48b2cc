"""Times of a run, for people. What isn't a time is shown as it is."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["lasted", "when"]


def when(text: str) -> str:
    """ "2025-01-31 02:15:00 UTC"."""
    found = _parse(text)
    return text if found is None else f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def lasted(started: str, finished: str) -> str:
    """ "2 h 05 min", "3 min 20 s" or "12 s"; empty where one of the times is none."""
    first, last = _parse(started), _parse(finished)
    if first is None or last is None or last < first:
        return ""
    minutes, seconds = divmod(round((last - first).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _parse(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
