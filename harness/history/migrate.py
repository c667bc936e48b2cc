"""Bringing a database's tables to this version (alembic; the steps are in migrations/versions)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from harness.errors import UsageError

__all__ = ["script_config", "upgrade"]

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def script_config(connection: Connection) -> Config:
    """Alembic's settings; the steps run on `connection`, inside its transaction."""
    config = Config()
    # A "%" in the path would be interpolated.
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, revision: str | None, name: str, *, to: str = "head") -> None:
    """Apply the steps from `revision` (None: an empty database) on. All or nothing: it is one transaction.

    Raises `UsageError` for a revision that this version doesn't know.
    """
    config = script_config(connection)
    if revision is not None:
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if revision not in known:
            raise UsageError(
                f"{name}: its tables (revision {revision}) are newer than this harness, whose newest is "
                f"{max(known)}; use the harness that wrote it or a newer one, or another database (--history)"
            )
    command.upgrade(config, to)
