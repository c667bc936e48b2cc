"""Everything that a database holds, to compare with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine, select

from harness.history.database import place_of
from harness.history.schema import metadata


def contents(place: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table, in the order of their keys."""
    engine = create_engine(place_of(place))
    try:
        with engine.connect() as connection:
            return {
                table.name: [
                    tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in metadata.sorted_tables
            }
    finally:
        engine.dispose()
