"""What repeats is stored once and gets a number. For the one writer there is at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, func, insert, select

from harness.history import schema
from harness.history.rows import compact, digest_of, plain

__all__ = ["ASKED", "behaviour_sets", "insert_rows", "interned", "next_id"]

#: Rows sent to the database in one go.
_CHUNK: Final = 5_000
#: Values asked for in one statement; old SQLites take 999.
ASKED: Final = 900


def next_id(connection: Connection, table: Table) -> int:
    """The first number that no row of `table` has."""
    return int(connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()) + 1


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    for start in range(0, len(rows), _CHUNK):
        connection.execute(insert(table), [dict(row) for row in rows[start : start + _CHUNK]])


def interned(
    connection: Connection, table: Table, texts: Iterable[str], columns: Callable[[str], Mapping[str, Any]]
) -> dict[str, int]:
    """The number of every text in `table`; `columns` gives what to store of one that isn't there yet."""
    digests = {digest_of(text): text for text in sorted(texts)}
    there = _numbers(connection, table, list(digests))
    new = [digest for digest in digests if digest not in there]
    first = next_id(connection, table) if new else 0
    numbers = {digest: first + at for at, digest in enumerate(new)}
    insert_rows(
        connection,
        table,
        [{"id": numbers[digest], "digest": digest, **columns(digests[digest])} for digest in new],
    )
    return {text: there.get(digest) or numbers[digest] for digest, text in digests.items()}


def behaviour_sets(connection: Connection, sets: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """The number of every tuple of behaviours; few tests have one of their own."""
    texts = {names: compact([plain(name) for name in names]) for names in sets}
    first = next_id(connection, schema.behaviour_sets)
    numbers = interned(connection, schema.behaviour_sets, set(texts.values()), lambda _: {})
    members = {numbers[text]: names for names, text in texts.items() if numbers[text] >= first}
    insert_rows(
        connection,
        schema.behaviours_of_sets,
        [
            {"set_id": number, "position": position, "behaviour": plain(name)}
            for number, names in members.items()
            for position, name in enumerate(names)
        ],
    )
    return {names: numbers[text] for names, text in texts.items()}


def _numbers(connection: Connection, table: Table, digests: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for start in range(0, len(digests), ASKED):
        wanted = digests[start : start + ASKED]
        query = select(table.c.digest, table.c.id).where(table.c.digest.in_(wanted))
        found |= {bytes(digest): number for digest, number in connection.execute(query)}
    return found
