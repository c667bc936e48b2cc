"""Bundles of somebody's own project: run again, shrunk, bisected, taken elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.driver import build_signed
from harness.errors import ToolMissingError
from harness.pytest_command import pytest_command
from harness.repro.bundle import Bundle
from tests.repro.commands import ROOT, bundle_of, harness

pytest.importorskip("unicorn", reason="the reference guest needs unicorn")


def built(name: str, folder: Path) -> Path:
    """A wrong driver, signed, in a folder of its own."""
    try:
        image = build_signed(ROOT / "driver-src" / "wrong" / f"{name}.c", "x64").read()
    except ToolMissingError as error:
        pytest.skip(str(error))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.sys"
    file.write_bytes(image)
    return file


SUITE = """
import pytest

from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS


def test_crashes(own_driver, probe, registry):
    watcher = probe.add("380010")
    with registry.program() as p:
        app = p.create_key(p.test_root / "app")
        other = p.create_key(p.test_root / "other")
        p.set_value(other, "noise", 1)
        p.query_value(other, "noise")
        p.set_value(app, "trigger", b"1234")
        p.delete_key(other)


def test_deletes(own_driver, probe, registry):
    with registry.program() as p:
        app = p.create_key(p.test_root / "app")
        p.set_value(app, "noise", "text")
        p.query_value(app, "noise")
        p.set_value(app, "doomed", 1)
        gone = p.delete_value(app, "doomed")
        p.set_value(app, "noise", "other")
    check(gone)


def check(step):
    def fail():
        raise AssertionError("it should be gone")
    if not step.succeeded:
        fail()


def test_denies(own_driver, registry):
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "noise", 1)
        write = p.set_value(key, "harmless", 1)
    assert write.status == NTSTATUS.ACCESS_DENIED


@pytest.mark.parametrize("name", ["[/key]"])
def test_brackets(registry, name):
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
    assert not key.succeeded


def test_asks_python(registry):
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
    assert sum(1 for _ in "abc") == 4


def test_expects(probe, registry):
    probe.add("380020").on(Pre.SetValueKey, under=registry.test_root, value="b").block(NTSTATUS.ACCESS_DENIED)
    with registry.program() as p:
        key = p.create_key(p.test_root / "app", expect=NTSTATUS.SUCCESS)
        p.set_value(key, "a", 1)
        p.set_value(key, "b", 2, expect=NTSTATUS.SUCCESS)
        p.set_value(key, "c", 3)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Somebody's own project with tests."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_mine.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run(project: Path, results: Path, *arguments: str) -> None:
    command = [
        *pytest_command(),
        "-q",
        f"--results={results}",
        "--target",
        "reference:10.0.26100",
        *arguments,
    ]
    subprocess.run(command, cwd=project, capture_output=True, check=False)


def written(project: Path, name: str) -> str:
    return (project / "reproduced" / name).read_text()


def test_a_driver_that_crashes(project: Path, tmp_path: Path) -> None:
    driver = built("wild_write", tmp_path)
    run(project, tmp_path / "results", f"--driver={driver}", "-k", "crashes")
    bundle = bundle_of(tmp_path / "results", "test_crashes")
    (row,) = [
        row
        for row in map(json.loads, next((tmp_path / "results").glob("*/rows.jsonl")).read_text().splitlines())
        if row["outcome"] == "CRASH"
    ]
    assert row["bundle"] == f"bundles/{bundle.name}"
    driver.unlink()  # everything that is needed is in the bundle

    again = harness("repro", bundle, "--times", "2", cwd=project)
    assert (again.code, again.out.splitlines()[1][:31]) == (0, "failed the same way in 2 of 2 (")

    shrunk = harness("shrink", bundle, "--without-driver", "-j", "2", cwd=project)
    assert shrunk.code == 0, shrunk.err
    assert "run, and fails in the same way" in shrunk.out
    assert "passes without the driver" in shrunk.out
    text = written(project, f"{bundle.stem.replace('.', '_').replace('-', '_')}.py")
    program = text[text.index("with registry.program()") :]
    assert program.split("\n")[1:3] == [
        '        key = p.create_key(p.test_root / "app")',
        '        p.set_value(key, "trigger", b"1234")',
    ]
    assert "probe" not in text.split("def ")[1]
    assert "a reference guest, not Windows" in text
    stopped = harness("repro", bundle, "--before-op", "failure", cwd=project)
    assert "no debugger port" in stopped.out
    assert "   4 (stopped before this one)" in stopped.out
    assert "noise = 1" in stopped.out


def test_the_build_that_broke_it_is_found(project: Path, tmp_path: Path) -> None:
    """A failure without an assertion of the test's own: what is right is seen without the driver."""
    driver = built("blocks_silently", tmp_path / "bad")
    run(project, tmp_path / "results", f"--driver={driver}", "-k", "deletes")
    bundle = bundle_of(tmp_path / "results", "test_deletes")
    builds = tmp_path / "builds"
    for number in range(4):
        folder = builds / f"v1.0-{number + 8}-g{number:07x}"
        folder.mkdir(parents=True)
        source = driver if number >= 2 else built("leak_per_callback", tmp_path / "good")
        shutil.copy(source, folder / "my.sys")
    found = harness("bisect", bundle, "--drivers-from", builds, "--json", cwd=project)
    answer = json.loads(found.out)
    assert Path(answer["first_bad"]).parent.name == "v1.0-10-g0000002", found.err
    assert found.code == 0


def test_what_a_driver_should_do_and_doesnt_is_shrunk_with_the_driver(project: Path, tmp_path: Path) -> None:
    """It fails without the driver too, and would say nothing about it then."""
    driver = built("blocks_silently", tmp_path)
    run(project, tmp_path / "results", f"--driver={driver}", "-k", "denies", "--driver-parameter=Mode=2")
    bundle = bundle_of(tmp_path / "results", "test_denies")
    shrunk = harness("shrink", bundle, "-o", "reproduced/test_denies.py", cwd=project)
    assert shrunk.code == 0, shrunk.err
    text = written(project, "test_denies.py")
    assert "guest.start_driver(" in text
    assert "Mode" in text
    assert "noise" not in text


def test_an_expectation_and_what_is_no_failure_of_the_guest(project: Path, tmp_path: Path) -> None:
    run(project, tmp_path / "results", "-k", "asks or expects")
    shrunk = harness("shrink", bundle_of(tmp_path / "results", "test_expects"), "--json", cwd=project)
    answer = json.loads(shrunk.out)
    assert (answer["proven"], answer["after"]) == (True, "2 operations, 1 rules, 1 filters")
    text = (project / answer["test"]).read_text()
    assert 'p.set_value(key, "b", 2, expect=NTSTATUS.SUCCESS)' in text
    bundle = bundle_of(tmp_path / "results", "test_asks_python")
    with Bundle.open(bundle) as opened:
        assert opened.manifest.no_claim == "the assertion is not about what the guest did"
    refused = harness("shrink", bundle, cwd=project)
    assert refused.code == 2
    assert "--control TARGET" in refused.err


def test_what_a_bundle_calls_its_test_is_text(project: Path, tmp_path: Path) -> None:
    """No markup, and nothing that a terminal obeys."""
    run(project, tmp_path / "results", "-k", "brackets")
    bundle = bundle_of(tmp_path / "results", "test_brackets")
    assert harness("shrink", bundle, cwd=project).code == 0
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(bundle) as there, zipfile.ZipFile(hostile, "w") as copy:
        for name in there.namelist():
            data = there.read(name)
            if name == "bundle.json":
                manifest = json.loads(data)
                manifest["test"]["name"] += "\x1b]0;mine\x07"
                data = json.dumps(manifest).encode()
            copy.writestr(name, data)
    told = harness("repro", hostile, cwd=project)
    assert "mine" in told.err
    assert not {"\x1b", "\x07"} & set(told.err + told.out)


def test_a_bundle_from_elsewhere_says_what_is_missing(project: Path, tmp_path: Path) -> None:
    run(project, tmp_path / "results", "-k", "expects")
    bundle = bundle_of(tmp_path / "results", "test_expects")
    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(bundle, away / "b.zip")
    (project / "test_mine.py").rename(project / "moved.txt")
    try:
        done = harness("repro", "b.zip", cwd=away)
        assert done.code == 0, done.err
        assert "test_mine.py is not here: its recorded steps are replayed" in done.err
        assert done.out.startswith("reproduced: set_value returned STATUS_ACCESS_DENIED")
        no_target = harness("repro", "b.zip", "-t", "vm:nowhere", cwd=away)
        assert no_target.code == 2
        assert "this bundle can't be run here:\n  target vm:nowhere: " in no_target.err
    finally:
        (project / "moved.txt").rename(project / "test_mine.py")


def test_a_target_that_can_not_run_it_is_passed_over(project: Path, tmp_path: Path) -> None:
    """It fails everywhere: no first bad one, and a machine without an image ends nothing."""
    run(project, tmp_path / "results", "-k", "expects")
    bundle = bundle_of(tmp_path / "results", "test_expects")
    targets = ("vm:win7-sp1", "reference:6.1", "reference:10.0.26100")
    chosen = [word for target in targets for word in ("--targets", target)]
    done = harness("bisect", bundle, *chosen, "--json", cwd=project)
    answer = json.loads(done.out)
    assert (done.code, answer["first_bad"]) == (1, None)
    assert "reference:6.1, the oldest that can be judged, is bad already" in answer["said"]
    found = {each["candidate"]: each for each in answer["tried"]}
    assert {name: each["found"] for name, each in found.items()} == {
        "vm:win7-sp1": "unknown",
        "reference:6.1": "bad",
        "reference:10.0.26100": "bad",
    }
    assert "the image of vm:win7-sp1 is not built here" in found["vm:win7-sp1"]["message"]


def test_a_passing_test_leaves_nothing(project: Path, tmp_path: Path) -> None:
    (tmp_path / "test_good.py").write_text("def test_good(registry): registry.program().run()\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    run(tmp_path, tmp_path / "results")
    (folder,) = (tmp_path / "results").iterdir()
    assert not (folder / "bundles").exists()
