"""What is kept of drills, and which images it admits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.drill import (
    Admission,
    DrillReport,
    DrillResult,
    DrillStore,
    Fault,
    Verdict,
    admission,
    admission_of,
    admission_of_target,
)
from harness.errors import UsageError
from harness.image.images import ensure_image
from harness.image.recipe import load_recipe
from harness.machine.describe.spec import Accelerator, Hardware, SealedImage
from harness.results.outcome import Outcome
from harness.targets import parse_target
from tests.image.recipes import write_recipe

IMAGE = SealedImage("win11+verifier", "d1", Hardware(), ())
PASSED = tuple(
    DrillResult(fault, Verdict.PASSED, outcome=Outcome.CRASH, said="x", evidence=("index.json",))
    for fault in Fault
    if fault is not Fault.PANIC
)
REPORT = DrillReport(
    "vm:win11+verifier",
    (*PASSED, DrillResult.impossible(Fault.PANIC, "it has bugchecks")),
    image="d1",
    emulator="7.2.0, 1-2",
    accelerator="tcg",
    runner="ab" * 32,
)


@pytest.fixture
def store(tmp_path: Path) -> DrillStore:
    return DrillStore(tmp_path / "drills")


def admitted(
    store: DrillStore,
    image: SealedImage = IMAGE,
    *,
    emulator: str = "7.2.0, 1-2",
    accelerator: Accelerator = Accelerator.TCG,
) -> str:
    """Why the image isn't admitted; empty when it is."""
    found = admission_of(image, store=store, emulator=emulator, accelerator=accelerator)
    assert found.admitted is (found.reason == "")
    return found.reason


def test_what_is_kept_comes_back(store: DrillStore) -> None:
    path = store.keep(REPORT)
    found = store.find("win11+verifier")
    assert found is not None
    assert found.report == REPORT
    assert found.when.endswith("+00:00")
    assert store.find("vm:win11+verifier") == found
    assert list(path.parent.iterdir()) == [path]
    assert store.folder.stat().st_mode & 0o077 == 0


def test_a_passed_drill_admits(store: DrillStore) -> None:
    assert admitted(store) == "it was not drilled; run: harness image drill win11+verifier"
    store.keep(REPORT)
    assert admitted(store) == ""


def test_another_image_qemu_or_accelerator_is_not_what_was_drilled(store: DrillStore) -> None:
    store.keep(REPORT)
    assert "was made anew after its drill" in admitted(store, replace(IMAGE, digest="d2"))
    assert "not drilled" in admitted(store, replace(IMAGE, name="win11"))
    assert "drilled with QEMU 7.2.0, 1-2, this is 8.0.0" in admitted(store, emulator="8.0.0")
    assert "drilled on tcg, machines run on kvm" in admitted(store, accelerator=Accelerator.KVM)


def test_one_failure_is_enough(store: DrillStore) -> None:
    failed = DrillResult(Fault.HANG, Verdict.FAILED, problems=("not detected",))
    results = [failed if result.fault is Fault.HANG else result for result in REPORT.results]
    store.keep(replace(REPORT, results=tuple(results)))
    assert admitted(store).endswith("failed (hang)")


def test_nothing_possible_is_no_admission(store: DrillStore) -> None:
    store.keep(replace(REPORT, results=tuple(DrillResult.impossible(fault, "no") for fault in Fault)))
    assert admitted(store).endswith("failed (nothing passed)")


def test_a_part_of_a_drill_is_not_kept(store: DrillStore) -> None:
    with pytest.raises(UsageError, match="only a machine's complete drill is kept"):
        store.keep(replace(REPORT, results=REPORT.results[1:]))
    with pytest.raises(UsageError, match="only a machine's complete drill is kept"):
        store.keep(replace(REPORT, image=""))


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": 2}', '{"format": 1, "when": "x"}'])
def test_a_record_that_can_not_be_read_counts_as_none(store: DrillStore, damage: str) -> None:
    store.keep(REPORT).write_text(damage)
    assert store.find("win11+verifier") is None
    assert "not drilled" in admitted(store)


def test_a_record_with_something_unknown_counts_as_none(store: DrillStore) -> None:
    path = store.keep(REPORT)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"signed_by": "somebody"}))
    assert store.find("win11+verifier") is None
    raw["results"][0]["verdict"] = "excellent"
    path.write_text(json.dumps(raw))
    assert store.find("win11+verifier") is None


@pytest.mark.parametrize("name", ["", "vm:", "../x", "a/b", ".hidden"])
def test_a_name_is_no_path(store: DrillStore, name: str) -> None:
    with pytest.raises(UsageError, match="is no machine's name"):
        store.find(name)


def test_the_list_of_images_says_which_are_drilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(admission, "_emulator", lambda image: REPORT.emulator)
    monkeypatch.setattr(admission, "_accelerator", lambda: Accelerator.TCG)
    recipes = tmp_path / "recipes"
    recipe = load_recipe(write_recipe(recipes))

    def listed() -> tuple[str, str]:
        done = CliRunner().invoke(app, ["image", "list", "--recipes", str(recipes), "--json"])
        assert done.exit_code == 0, done.output
        (row,) = (row for row in json.loads(done.stdout) if row["name"] == "old")
        return row["drilled"], row["not_drilled"]

    def planned() -> Admission:
        return admission_of_target(parse_target("vm:old", [recipes]))

    assert listed() == ("no", "it was not drilled; run: harness image drill old")
    assert planned() == Admission(False, listed()[1])
    DrillStore().keep(replace(REPORT, target="vm:old", image=ensure_image(recipe).digest))
    assert listed() == ("yes", "")
    assert planned() == Admission(True)
    disk = recipe.folder / "disk.raw"
    disk.write_bytes(b"another" + disk.read_bytes())
    drilled, why = listed()
    assert drilled == "no"
    assert "was made anew after its drill" in why
    assert planned() == Admission(False, why)


def test_a_plan_can_ask_of_every_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of one whose image is not installed, and of one with axes, which has a drill of its own."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    assert admission_of_target(parse_target("reference:10.0.26100")).admitted
    name = "win11-24h2+verifier"
    assert admission_of_target(parse_target(f"vm:{name}")).reason.endswith(f"run: harness image drill {name}")
    DrillStore().keep(replace(REPORT, target=f"vm:{name}"))
    reason = admission_of_target(parse_target(f"vm:{name}")).reason
    assert reason == "its image is not built; run: harness image build win11-24h2 --media ISO"
