"""The database under the history: opening it, transactions, bringing its tables up to date.

SQLite in write-ahead mode with every commit on the disk, or PostgreSQL. There is one writer at a time: on
SQLite the file is locked from the start of a writing transaction, on PostgreSQL an advisory lock does the
same, so code above sees no difference.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from harness.errors import InfrastructureError, ToolMissingError, UsageError
from harness.history.schema import HEAD

__all__ = ["Database", "place_of"]

#: How long a writer waits for another one, in seconds.
_PATIENCE: Final = 120
#: How long a server may take to answer at all, in seconds.
_CONNECT: Final = 15
#: Names the one writer among PostgreSQL's advisory locks; any number that others are unlikely to use.
_WRITER: Final = 0x7265_6766_696C_7401
_WRITES: Final = "harness_writes"


def place_of(where: str | Path) -> URL:
    """`where` as SQLAlchemy's URL: a path is an SQLite file, a text with ``://`` an URL.

    Raises `UsageError` for a database of another kind.
    """
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite+pysqlite", database=str(Path(where).expanduser().absolute()))
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise UsageError(f"not the URL of a database: {error}") from error
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database:
        return url.set(drivername="sqlite+pysqlite", database=str(Path(url.database).absolute()))
    raise UsageError(
        f"the history is kept in SQLite or PostgreSQL, not in {url.drivername}; "
        "give a file's path or postgresql+psycopg://USER@HOST/DATABASE"
    )


class Database:
    """A database with tables of this version. A context manager; open as long as it is used."""

    def __init__(self, url: URL) -> None:
        self.url = url
        #: What messages call it; without the password.
        self.name = str(url.database) if self.is_file else url.render_as_string(hide_password=True)
        if self.is_file:
            _make_folder(Path(str(url.database)).parent)
        try:
            self.engine = _engine(url)
        except (ImportError, NoSuchModuleError) as error:
            raise ToolMissingError(
                f"no driver for {url.drivername} ({error}); pip install 'regfilter-harness[postgres]'"
            ) from error
        try:
            self._bring_up_to_date()
        except BaseException:
            self.engine.dispose()
            raise

    @property
    def is_file(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of everything."""
        with self._told(), self.engine.begin() as connection:
            if not self.is_file:
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is the only writing one, here and in every other process."""
        engine = self.engine.execution_options(**{_WRITES: True})
        with self._told(), engine.begin() as connection:
            if not self.is_file:
                connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER})
            yield connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn an error of the database into one of ours."""
        try:
            yield
        except DBAPIError as error:
            if self.is_file and type(error.orig) is sqlite3.DatabaseError:  # no database, or a damaged one
                raise InfrastructureError(
                    f"{self.name}: {error.orig}; move it away with its -wal and -shm, and `harness matrix "
                    "ingest` makes it anew of the folders of the runs"
                ) from error
            raise InfrastructureError(
                f"{self.name}: {str(error.orig).strip()}; nothing of this step was stored, so it can be "
                "repeated once the cause is gone (a full disk, a lost connection, another writer)"
            ) from error

    def _bring_up_to_date(self) -> None:
        with self.reading() as connection:
            if _revision(connection) == HEAD:
                return
        from harness.history.migrate import upgrade

        # Asked again by the one writer: another process may have done it meanwhile.
        with self.writing() as connection:
            revision = _revision(connection)
            if revision != HEAD:
                upgrade(connection, revision, self.name)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: no place for the history: {error.strerror}") from error


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT})
    engine = create_engine(url, connect_args={"timeout": _PATIENCE})

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        # Transactions are begun below; the module would begin them late, and not at all around DDL.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _revision(connection: Connection) -> str | None:
    """The revision of the tables, None of an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
