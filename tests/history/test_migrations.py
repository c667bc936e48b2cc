from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from harness.errors import InfrastructureError, UsageError
from harness.history import History, open_history
from harness.history.database import place_of
from harness.history.migrate import script_config, upgrade
from harness.history.schema import HEAD, metadata
from harness.results.outcome import Outcome
from tests.history.runs import row, run_folder

#: A run with one row, as the first version of the tables held it.
_FIRST = (
    "INSERT INTO runs VALUES (1, 'old', '2025-12-31T02:00:00.000000+00:00', '', NULL, '0.1', '[]', '', :d,"
    " '/old', 9)",
    "INSERT INTO tests VALUES (1, :d, 't.py::a', 't.py')",
    "INSERT INTO targets VALUES (1, :d, 'reference:6.1')",
    "INSERT INTO behaviour_sets VALUES (1, :d)",
    "INSERT INTO behaviours_of_sets VALUES (1, 0, 'B-LAY-01')",
    "INSERT INTO results (id, run_id, test_id, target_id, build, attempt, latest, outcome, behaviours_id,"
    " duration, message, body, digest) VALUES (1, 1, 1, 1, '', 1, true, 'FAIL', 1, 0.5, 'no', '{}', :d)",
)


def test_the_newest_revision_is_the_one_the_code_speaks_of(history: History) -> None:
    with history._database.reading() as connection:
        assert ScriptDirectory.from_config(script_config(connection)).get_current_head() == HEAD
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD


def test_the_steps_make_the_tables_of_the_code(history: History) -> None:
    with history._database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_database_of_the_first_version_goes_on(place: str, results: Path) -> None:
    engine = create_engine(place_of(place))
    with engine.begin() as connection:
        upgrade(connection, None, "new", to="0001")
        for statement in _FIRST:
            values = {"d": b"0123456789abcdef"} if ":d" in statement else {}
            connection.execute(text(statement), values)
    engine.dispose()
    with open_history(place, results=results) as history:
        (old,) = history.results("old")
        assert (old.test, old.outcome, old.behaviours) == ("t.py::a", Outcome.FAIL, ("B-LAY-01",))
        history.ingest(run_folder(results, [row("t.py::a", "reference:6.1")]))
        cells = history.cell_history(runs=5)
        assert cells.of("B-LAY-01", "reference:6.1") == (Outcome.FAIL, Outcome.PASS)


def test_a_step_that_fails_leaves_the_old_tables(
    place: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(place_of(place))
    with engine.begin() as connection:
        upgrade(connection, None, "new", to="0001")
        # In the way of the next step's last statement.
        connection.execute(text("CREATE TABLE evidence (id INTEGER)"))
    engine.dispose()
    with pytest.raises(InfrastructureError, match="evidence"):
        open_history(place, results=results)
    engine = create_engine(place_of(place))
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
        connection.execute(text("DROP TABLE evidence"))
    engine.dispose()
    open_history(place, results=results).close()


def test_newer_tables_are_refused_and_left_alone(place: str, results: Path) -> None:
    with open_history(place, results=results) as history, history._database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match=r"newer than this harness.*revision 9999|revision 9999.*newer"):
        open_history(place, results=results)
    engine = create_engine(place_of(place))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engine.dispose()


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(InfrastructureError, match="not a database"):
        open_history(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="SQLite or PostgreSQL"):
        open_history("mysql://host/db")
    with pytest.raises(InfrastructureError, match="nowhere"):
        open_history(f"postgresql://harness:secret@/db?host={tmp_path}/nowhere")


def test_messages_hold_no_password(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError) as error:
        open_history(f"postgresql://harness:secret@/db?host={tmp_path}/nowhere")
    assert "secret" not in str(error.value)
