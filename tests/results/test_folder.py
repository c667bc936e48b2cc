from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import GuestCrashed, GuestHung, InfrastructureError, UnsupportedError, UsageError
from harness.guest.bugcheck import Bugcheck
from harness.results.folder import RunReader, RunWriter, find_run, new_run_folder, write_evidence
from harness.results.model import Attestation, RunResult
from harness.results.outcome import Outcome, outcome_of, worst

BUGCHECK = Bugcheck(0x50, (0, 0, 0, 0))

results = st.builds(
    RunResult,
    test=st.text(min_size=1),
    target=st.text(),
    outcome=st.sampled_from(Outcome),
    behaviours=st.lists(st.text(), max_size=3).map(tuple),
    duration=st.floats(0, 1e6),
    message=st.text(),
    detail=st.text(),
    attestation=st.none()
    | st.builds(
        Attestation,
        target=st.text(),
        kind=st.text(),
        version=st.text(),
        arch=st.text(),
        drivers=st.dictionaries(st.text(), st.text(), max_size=2),
        filters=st.lists(st.text(), max_size=2).map(tuple),
    ),
    recorded=st.dictionaries(st.text(), st.text(), max_size=2),
)


@given(written=st.lists(results, max_size=4))
def test_rows_come_back_as_they_went(
    tmp_path_factory: pytest.TempPathFactory, written: list[RunResult]
) -> None:
    with RunWriter(tmp_path_factory.mktemp("run"), arguments=("suites",)) as writer:
        for result in written:
            writer.add(result)
        writer.finish(0)
    reader = RunReader(writer.folder)
    assert list(reader) == written
    assert (reader.info.exit_code, reader.info.arguments) == (0, ("suites",))


@given(garbage=st.binary(max_size=200))
def test_a_damaged_row_is_a_clear_error(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    folder = tmp_path_factory.mktemp("run")
    with RunWriter(folder):
        pass
    (folder / "rows.jsonl").write_bytes(b'{"x":' + garbage.replace(b"\n", b"") + b"\n")
    with pytest.raises(UsageError):
        list(RunReader(folder))


def test_a_killed_run_keeps_what_had_finished(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run")
    writer.add(RunResult("t.py::a", "reference:6.1", Outcome.PASS))
    writer.close()
    with (writer.folder / "rows.jsonl").open("a") as rows:
        rows.write('{"test":"t.py::b","tar')
    reader = RunReader(writer.folder)
    assert [result.test for result in reader] == ["t.py::a"]
    assert reader.info.finished == ""


def test_the_newest_run_is_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in"):
        find_run(tmp_path)
    folders = [new_run_folder(tmp_path) for _ in range(2)]
    for folder in folders:
        RunWriter(folder).finish(0)
    assert find_run(tmp_path) == max(folders)
    assert find_run(tmp_path, folders[0].name) == folders[0]
    with pytest.raises(UsageError, match="no run 'other'"):
        find_run(tmp_path, "other")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c:d", "...", "x" * 500, "test[reference:6.1]"])
def test_evidence_stays_in_its_folder_and_replaces_nothing(tmp_path: Path, name: str) -> None:
    first, second = (write_evidence(tmp_path, name, data) for data in (b"1", b"2"))
    assert first != second
    for relative, data in ((first, b"1"), (second, b"2")):
        path = tmp_path / relative
        assert path.resolve().parent == (tmp_path / "evidence").resolve()
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.PASS),
        (AssertionError(), Outcome.FAIL),
        (KeyError("x"), Outcome.FAIL),
        (UsageError("x"), Outcome.FAIL),
        (GuestCrashed(BUGCHECK), Outcome.CRASH),
        (GuestHung(BUGCHECK), Outcome.HANG),
        (InfrastructureError("x"), Outcome.INFRA),
        (UnsupportedError("x"), Outcome.SKIP),
    ],
)
def test_an_error_has_its_outcome(error: BaseException | None, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


def test_infra_outweighs_everything_and_a_pass_outweighs_a_skip() -> None:
    assert worst(Outcome) is Outcome.INFRA
    assert worst([Outcome.SKIP, Outcome.PASS]) is Outcome.PASS
    assert worst([]) is None
