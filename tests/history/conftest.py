"""The same tests over SQLite and over a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("alembic", reason="the history needs the extra `history`")
sqlalchemy = pytest.importorskip("sqlalchemy", reason="the history needs the extra `history`")

from harness.history import History, open_history  # noqa: E402
from tests.history import postgres  # noqa: E402

_NUMBERS = count()


@pytest.fixture(autouse=True)
def own_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the history of whoever runs it."""
    monkeypatch.delenv("HARNESS_HISTORY", raising=False)
    monkeypatch.delenv("HARNESS_EVIDENCE", raising=False)


@pytest.fixture(scope="session")
def postgres_socket() -> Iterator[Path]:
    pytest.importorskip("psycopg", reason="PostgreSQL needs the extra `postgres`")
    if postgres.programs() is None:
        pytest.skip("PostgreSQL's programs are missing: apt-get install postgresql")
    with postgres.server() as folder:
        yield folder


@pytest.fixture
def postgres_url(postgres_socket: Path) -> str:
    """A schema of its own."""
    name = f"test{next(_NUMBERS)}"
    url = f"postgresql+psycopg://{postgres.USER}@/postgres?host={postgres_socket}"
    admin = sqlalchemy.create_engine(url)
    with admin.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {name}"))
    admin.dispose()
    return f"{url}&options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new history is to be."""
    if request.param == "sqlite":
        return str(tmp_path / "results" / "history.sqlite")
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def history(place: str, results: Path) -> Iterator[History]:
    with open_history(place, results=results) as history:
        yield history
