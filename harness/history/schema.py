"""The tables. What repeats in every run (names, sets of behaviours, attestations) is stored once.

Identifiers are given out by the one writer there is at a time, so that rows go in without asking for them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

__all__ = [
    "HEAD",
    "attestations",
    "behaviour_sets",
    "behaviours_of_sets",
    "evidence",
    "metadata",
    "results",
    "runs",
    "targets",
    "tests",
]

#: The revision that these tables are; the newest in migrations/versions.
HEAD: Final = "0002"

#: Of BLAKE2b, over what a row stands for: names may be longer than an index takes.
_DIGEST = LargeBinary(16)
#: SQLite makes only an INTEGER PRIMARY KEY the row's own number.
_ID = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", _ID, primary_key=True, autoincrement=False)


def _digest() -> Column[bytes]:
    return Column("digest", _DIGEST, nullable=False, unique=True)


runs = Table(
    "runs",
    metadata,
    _id(),
    Column("name", String(300), nullable=False, unique=True),
    # ISO 8601 in UTC with microseconds, so that they sort as text.
    Column("started", String(40), nullable=False, index=True),
    Column("finished", String(40), nullable=False),
    Column("exit_code", Integer),
    Column("harness", Text, nullable=False),
    Column("arguments", Text, nullable=False),  # a JSON list
    Column("plan", Text, nullable=False),
    # Runs of the same are compared with each other: the plan, or what pytest was asked for.
    Column("series", _DIGEST, nullable=False),
    Column("folder", Text, nullable=False),
    # Bytes of rows.jsonl that were read: a run that hasn't grown needs no second look.
    Column("rows_size", BigInteger, nullable=False),
)

tests = Table(
    "tests",
    metadata,
    _id(),
    _digest(),
    Column("name", Text, nullable=False),
    Column("file", Text, nullable=False),  # the name up to "::"
)

targets = Table("targets", metadata, _id(), _digest(), Column("name", Text, nullable=False))

behaviour_sets = Table("behaviour_sets", metadata, _id(), _digest())

behaviours_of_sets = Table(
    "behaviours_of_sets",
    metadata,
    Column("set_id", _ID, ForeignKey("behaviour_sets.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("behaviour", Text, nullable=False),
)

attestations = Table("attestations", metadata, _id(), _digest(), Column("body", Text, nullable=False))  # JSON

results = Table(
    "results",
    metadata,
    _id(),
    Column("run_id", _ID, ForeignKey("runs.id"), nullable=False),
    Column("test_id", _ID, ForeignKey("tests.id"), nullable=False),
    Column("target_id", _ID, ForeignKey("targets.id"), nullable=False),
    Column("build", String(300), nullable=False),
    Column("attempt", Integer, nullable=False),
    # No later attempt of the same test is known.
    Column("latest", Boolean, nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("behaviours_id", _ID, ForeignKey("behaviour_sets.id"), nullable=False),
    Column("duration", Float, nullable=False),  # seconds
    Column("attestation_id", _ID, ForeignKey("attestations.id")),
    Column("message", Text, nullable=False),
    # The rest of the row as JSON: what nobody asks the database for.
    Column("body", Text, nullable=False),
    # Over the whole row, to tell whether it changed.
    Column("digest", _DIGEST, nullable=False),
    Index("uq_results_row", "run_id", "test_id", "target_id", "build", "attempt", unique=True),
    # Holds all that the history of cells asks for, so that it reads no rows.
    Index("ix_results_cells", "run_id", "latest", "target_id", "build", "behaviours_id", "outcome"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("result_id", _ID, ForeignKey("results.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    # Relative to the run's folder.
    Column("name", Text, nullable=False),
    Column("state", String(10), nullable=False),  # an EvidenceState
    # SHA-256 and bytes; empty and 0 of what was missing.
    Column("digest", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
)
