"""Runs and their results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

#: SQLite makes only an INTEGER PRIMARY KEY the row's own number.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "attestations",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attestations"),
        sa.UniqueConstraint("digest", name="uq_attestations_digest"),
    )
    op.create_table(
        "behaviour_sets",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_behaviour_sets"),
        sa.UniqueConstraint("digest", name="uq_behaviour_sets_digest"),
    )
    op.create_table(
        "runs",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("started", sa.String(length=40), nullable=False),
        sa.Column("finished", sa.String(length=40), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("harness", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("series", sa.LargeBinary(length=16), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("rows_size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("name", name="uq_runs_name"),
    )
    op.create_index("ix_runs_started", "runs", ["started"])

    op.create_table(
        "targets",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_targets"),
        sa.UniqueConstraint("digest", name="uq_targets_digest"),
    )
    op.create_table(
        "tests",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tests"),
        sa.UniqueConstraint("digest", name="uq_tests_digest"),
    )
    op.create_table(
        "behaviours_of_sets",
        sa.Column("set_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("behaviour", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["set_id"], ["behaviour_sets.id"], name="fk_behaviours_of_sets_set_id_behaviour_sets"
        ),
        sa.PrimaryKeyConstraint("set_id", "position", name="pk_behaviours_of_sets"),
    )
    op.create_table(
        "results",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("test_id", _ID, nullable=False),
        sa.Column("target_id", _ID, nullable=False),
        sa.Column("build", sa.String(length=300), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("latest", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("behaviours_id", _ID, nullable=False),
        sa.Column("duration", sa.Float(), nullable=False),
        sa.Column("attestation_id", _ID, nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["attestation_id"], ["attestations.id"], name="fk_results_attestation_id_attestations"
        ),
        sa.ForeignKeyConstraint(
            ["behaviours_id"], ["behaviour_sets.id"], name="fk_results_behaviours_id_behaviour_sets"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_results_run_id_runs"),
        sa.ForeignKeyConstraint(["target_id"], ["targets.id"], name="fk_results_target_id_targets"),
        sa.ForeignKeyConstraint(["test_id"], ["tests.id"], name="fk_results_test_id_tests"),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
    )
    op.create_index(
        "ix_results_cells", "results", ["run_id", "latest", "target_id", "behaviours_id", "outcome"]
    )
    op.create_index(
        "uq_results_row", "results", ["run_id", "test_id", "target_id", "build", "attempt"], unique=True
    )
