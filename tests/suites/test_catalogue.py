"""The catalogue as data: complete, unique, readable; a test can name nothing that isn't in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.catalogue import Behaviour, Catalogue, Mode, coverage, render
from harness.errors import InfrastructureError, UsageError

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {
    "REG": 34, "NOT": 42, "LAY": 21, "CTX": 22, "INF": 22, "OBJ": 15,
    "CRE": 28, "CAP": 14, "TXN": 14, "APP": 20, "HIV": 26, "VER": 13,
}  # fmt: skip
MODES = {
    Mode.ASSERT: 173, Mode.RECORD: 57, Mode.RECORD_THEN_ASSERT: 16, Mode.POLICY: 14,
    Mode.AVOID: 7, Mode.OPTIONAL: 2, Mode.NOT_APPLICABLE: 1, Mode.NOISE: 1,
}  # fmt: skip


def test_it_holds_every_statement_of_every_group() -> None:
    catalogue = Catalogue.load()
    assert len(catalogue) == 271
    assert Counter(b.group for b in catalogue) == COUNTS
    assert [g.code for g in catalogue.groups] == list(COUNTS)


def test_numbers_run_without_gaps() -> None:
    for code, count in COUNTS.items():
        ids = [b.id for b in Catalogue.load().group(code)]
        assert ids == [f"B-{code}-{n:02}" for n in range(1, count + 1)]


def test_every_mode_is_known_and_counted() -> None:
    assert Counter(b.primary_mode for b in Catalogue.load()) == MODES


@pytest.mark.parametrize("field", ["statement", "source", "how", "versions", "confidence", "basis", "mode"])
def test_no_field_is_empty_but_the_note(field: str) -> None:
    assert [b.id for b in Catalogue.load() if not getattr(b, field).strip()] == []


def test_a_statement_is_found_by_its_id() -> None:
    found = Catalogue.load().get("B-LAY-03")
    assert found.primary_mode is Mode.ASSERT
    assert found.asserts
    assert "prevents all lower altitudes" in found.statement
    assert found.versions == "VISTA+"


def test_an_unknown_id_is_refused_with_its_neighbours() -> None:
    with pytest.raises(UsageError, match=r"B-LAY-9.*nearest: B-LAY-"):
        Catalogue.load().get("B-LAY-9")


def test_loading_again_gives_the_same_object() -> None:
    assert Catalogue.load() is Catalogue.load()


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "group = []",
        'group = []\n[[behaviour]]\nid = "B-REG-01"\n',
        "group = []\n" + '[[behaviour]]\nid = "x"\nstatement = ""\nsource = ""\nhow = ""\nversions = ""\n'
        'confidence = ""\nbasis = ""\nmode = ""\n',
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.toml"
    path.write_text(text)
    with pytest.raises(InfrastructureError):
        Catalogue.read(path)


def test_an_unknown_mode_is_refused() -> None:
    odd = Behaviour("B-REG-01", "s", "s", "h", "v", "c", "b", "perhaps")
    with pytest.raises(InfrastructureError, match="B-REG-01"):
        _ = odd.primary_mode


def test_coverage_reads_marks_and_finds_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "topic").mkdir()
    (tmp_path / "topic" / "test_a.py").write_text(
        '@behaviour("B-LAY-03", "B-LAY-04")\ndef test_one(): ...\n\n'
        '@pytest.mark.behaviour("B-XXX-01")\ndef test_two(): ...\n'
    )
    found = coverage(tmp_path)
    assert found.tests["B-LAY-03"] == ("topic/test_a.py::test_one",)
    assert found.unknown == ("B-XXX-01",)
    assert "B-LAY-04" not in {b.id for b in found.missing}
    assert "B-LAY-05" in {b.id for b in found.missing}
    assert "B-LAY-02" not in {b.id for b in found.missing}, "a record statement is never missing"
    table = render(found)
    assert "| B-LAY-03 | assert | `topic/test_a.py::test_one` |" in table
    assert "| B-LAY-05 | assert | **not covered yet** |" in table


def test_the_suites_name_only_statements_that_exist() -> None:
    assert coverage(ROOT / "suites").unknown == ()


def test_at_least_a_hundred_statements_are_proven() -> None:
    proven = [b for b in coverage(ROOT / "suites").covered if b.asserts]
    assert len(proven) >= 100


def test_the_coverage_table_is_up_to_date() -> None:
    """Write it anew with ``python -m harness.catalogue > suites/COVERAGE.md``."""
    assert (ROOT / "suites" / "COVERAGE.md").read_text(encoding="utf-8") == render(coverage(ROOT / "suites"))


def test_the_wheel_carries_the_catalogue() -> None:
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        wheel = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["suites/catalogue/behaviours.toml"] == "harness/behaviours.toml"
