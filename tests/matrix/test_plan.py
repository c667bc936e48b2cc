from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from harness.between import parse_parameters
from harness.errors import ToolMissingError
from harness.image.recipe import Recipe
from harness.matrix.plan.jobs import Job, read_frozen, write_frozen
from harness.matrix.plan.machines import Machines
from harness.matrix.plan.plan import LeftOut, NotBuilt, Plan
from harness.matrix.plan.planfile import read_plan
from harness.matrix.run.command import job_command
from harness.plugin.options import Isolation
from harness.strict import ConfigError

X64, X86 = 0x8664, 0x14C


def driver(path: Path, machine: int = X64) -> Path:
    """A file with the headers of a driver and nothing else."""
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    wide = machine == X64
    optional = bytearray(
        struct.pack("<H", 0x20B if wide else 0x10B).ljust((112 if wide else 96) + 16 * 8, b"\0")
    )
    struct.pack_into("<I", optional, (112 if wide else 96) - 4, 16)  # NumberOfRvaAndSizes
    struct.pack_into("<II", optional, 32, 0x1000, 0x200)
    struct.pack_into("<I", optional, 60, 0x200)  # SizeOfHeaders
    path.parent.mkdir(parents=True, exist_ok=True)
    coff = struct.pack("<HHIIIHH", machine, 0, 0, 0, 0, len(optional), 0x22)
    path.write_bytes((head + b"PE\0\0" + coff + bytes(optional)).ljust(0x400, b"\0"))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with two suites, one of them for drivers."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name in ("first", "own"):
        (tmp_path / "suites" / name).mkdir(parents=True)
    return tmp_path


def plan_of(folder: Path, text: str, flaw: str = "") -> Plan:
    (folder / "night.toml").write_text(text)
    return read_plan(folder / "night.toml", machines=Machines(_only_the_stand_in, lambda target: flaw))


def _only_the_stand_in(recipe: Recipe) -> str:
    return "" if recipe.name == "stand-in" else "its image is not built; run: " + recipe.build_command


def mistakes_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        plan_of(folder, text)
    start = f"{folder / 'night.toml'}: "
    assert all(mistake.startswith(str(folder)) for mistake in raised.value.mistakes)
    return [mistake.removeprefix(start) for mistake in raised.value.mistakes]


def test_a_full_plan(folder: Path) -> None:
    driver(folder / "new" / "acme.sys")
    driver(folder / "old" / "1.0" / "acme.sys")
    driver(folder / "old" / "1.1" / "acme.sys", X86)
    (folder / "known.toml").write_text("")
    plan = plan_of(
        folder,
        """
        targets = ["reference:10.0.26100", "reference:6.1*", "vm:stand-in"]
        exclude = ["reference:6.1"]
        suites = ["suites/first"]
        isolation = "test"
        channel = "ssh"
        clones = 2
        retries = 3
        known_issues = "known.toml"
        grain_seconds = 60

        [limits]
        cores = 8
        test_seconds = 60

        [[driver]]
        name = "acme"
        file = "new/acme.sys"
        suites = ["suites/own"]
        parameters = { Mode = 2, Path = "x", Altitude = "385200", Big = "99999999999", Said = '"so"' }

        [[driver]]
        name = "old"
        glob = "old/*/acme.sys"
        suites = ["suites/own"]
        targets = ["reference:*"]

        [[exclusive]]
        name = "licence"
        targets = ["vm:*"]
        """,
    )
    assert plan.name == "night"
    assert plan.root == folder
    assert plan.targets == ("reference:10.0.26100", "reference:6.1-x86", "vm:stand-in")
    assert plan.left_out == (LeftOut("reference:6.1", "excluded by 'reference:6.1'"),)
    assert (plan.isolation, plan.channel, plan.limits.cores) == (Isolation.TEST, "ssh", 8)
    assert [(build.name, build.targets) for build in plan.builds] == [
        ("acme", ("reference:10.0.26100", "vm:stand-in")),
        ("old-1.0", ("reference:10.0.26100",)),
        ("old-1.1", ("reference:6.1-x86",)),
    ]
    (acme, *_) = plan.builds
    # A text stays one, also where it looks like a number: altitudes are.
    assert parse_parameters(acme.parameters) == {
        "Mode": 2,
        "Path": "x",
        "Altitude": "385200",
        "Big": "99999999999",
        "Said": '"so"',
    }
    assert acme.sha256 == hashlib.sha256((folder / "new" / "acme.sys").read_bytes()).hexdigest()


def test_a_small_plan_runs_the_projects_suites(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 'targets = ["reference:10.0.26100"]')
    assert [suite.name for suite in plan.suites] == ["suites"]
    assert plan.root == plan.suites[0].parent


def test_every_mistake_is_told_at_once(folder: Path) -> None:
    (folder / "not-a-driver.sys").write_bytes(b"MZ")
    (folder / "known.toml").write_text("[[issue]]\nlink = 'x'\n")
    driver(folder / "arm.sys", 0xAA64)
    found = mistakes_of(
        folder,
        """
        name = "../night"
        targets = ["reference:10.0.26100", "reference:9.9", "vm:stand-in+hvci", "vm:win11-24h2", "vm:win1"]
        exclude = ["reference:7*"]
        suites = ["suites/first", "suites/second"]
        channel = "serial"
        clones = 0
        known_issues = "known.toml"
        grain_seconds = nan

        [limits]
        cores = -1

        [[driver]]
        name = "gone"
        file = "gone.sys"
        suites = ["suites/own"]

        [[driver]]
        name = "bad"
        builds = { one = "not-a-driver.sys", two = "arm.sys" }
        suites = ["suites/own"]
        parameters = { Mode = 1.5, "a=b" = 1 }
        targets = ["vm:other"]

        [[driver]]
        name = "none"
        glob = "nothing/*.sys"
        suites = ["suites/own"]

        [[driver]]
        name = "both"
        file = "gone.sys"
        glob = "*.sys"
        suites = ["suites/own"]

        [[exclusive]]
        name = "licence"
        targets = ["vm:win7*"]
        """,
    )
    text = "\n".join(found)
    for expected in (
        "clones: must be from 1 to 64, not 0",
        "grain_seconds: must be from 5 to 86400, not nan",
        "limits.cores: must be from 0 to 65536, not -1",
        "name: '../night' must be letters",
        "targets[1]: ",
        "targets[2]: vm:stand-in+hvci: a stand-in (Wine on Linux) has no memory integrity",
        "targets[3]: vm:win11-24h2: its image is not built; run: harness image build win11-24h2 --media ISO",
        "targets[4]: no recipe 'win1'; did you mean",
        "exclude[0]: 'reference:7*' matches none of the targets",
        "suites[1]: there is no file or folder",
        "driver[0].file: ",
        "driver[1].builds.one: ",
        "driver[1].builds.two: ",
        "driver[1].parameters.Mode: must be a whole number or a text",
        "driver[1].parameters.a=b: a name can't have = in it",
        "driver[1].targets: match none of the plan's targets",
        "driver[2].glob: 'nothing/*.sys' matches 0 files",
        "driver[3]: must have exactly one of file, builds and glob",
        "known.toml: issue[0]: must name a behaviour or a test",
        "known.toml: issue[0].link: 'x' must be where the issue is kept",
        "exclusive[0].targets: 'vm:win7*' matches none of: reference:10.0.26100",
    ):
        assert expected in text


def test_unknown_keys_are_told_with_the_nearest(folder: Path) -> None:
    assert mistakes_of(folder, 'targts = ["reference:6.1"]\n[limits]\ncore = 1') == [
        "targts: unknown key; did you mean targets? (allowed: bundle_machine, channel, clones, driver, "
        "evidence, exclude, exclusive, grain_seconds, isolation, known_issues, limits, memory_dump_mib, "
        "name, not_built, not_drilled, recipes, retention, retries, root, suites, targets)",
        "targets: is missing; it is a list, each a text",
        "limits.core: unknown key; did you mean cores? (allowed: cores, job_seconds, machines, memory_mib, "
        "test_seconds)",
    ]


def test_targets_without_an_image_are_left_out_only_if_the_plan_says_so(folder: Path) -> None:
    text = 'targets = ["vm:stand-in", "vm:win11-2*"]\nsuites = ["suites/first"]\n'
    (first, *_) = mistakes_of(folder, text)
    assert first.startswith("targets[1]: vm:win11-21h2: its image is not built; run: ")
    plan = plan_of(folder, f'not_built = "{NotBuilt.LEAVE_OUT}"\n{text}')
    assert plan.targets == ("vm:stand-in",)
    assert "vm:win11-24h2" in {left.target for left in plan.left_out}
    (only,) = mistakes_of(
        folder, 'not_built = "leave-out"\ntargets = ["vm:win11-2*"]\nsuites = ["suites/first"]'
    )
    assert only.startswith("targets: no image of them is built and drilled")


def test_a_machine_is_admitted_when_its_crash_would_be_noticed(folder: Path) -> None:
    text = 'targets = ["reference:6.1", "vm:stand-in"]\nsuites = ["suites/first"]\n'
    why = "it was not drilled; run: harness image drill stand-in"
    with pytest.raises(ConfigError, match=f"vm:stand-in: a crash may go unnoticed: {why}, or set"):
        plan_of(folder, text, why)
    without = plan_of(folder, f'not_drilled = "leave-out"\n{text}', why)
    assert without.targets == ("reference:6.1",)
    assert without.left_out == (LeftOut("vm:stand-in", f"a crash may go unnoticed: {why}"),)
    assert "vm:stand-in" in plan_of(folder, f'not_drilled = "run"\n{text}', why).targets


def test_an_image_that_cant_be_asked_for_is_a_mistake_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_here(recipe: Recipe) -> bool:
        raise ToolMissingError(f"{recipe.name} needs a tool; install it")

    monkeypatch.setattr("harness.matrix.plan.machines.is_built", not_here)
    (folder / "night.toml").write_text('targets = ["vm:stand-in", "vm:win1"]\nsuites = ["suites/first"]')
    with pytest.raises(ConfigError) as raised:
        read_plan(folder / "night.toml")
    assert "vm:stand-in: stand-in needs a tool; install it" in str(raised.value)
    assert "no recipe 'win1'" in str(raised.value)


def test_a_driver_without_a_target_of_its_architecture_is_a_mistake(folder: Path) -> None:
    driver(folder / "x86.sys", X86)
    text = 'targets = ["reference:6.3"]\n[[driver]]\nname = "a"\nfile = "x86.sys"\nsuites = ["suites/own"]'
    (found,) = mistakes_of(folder, f'suites = ["suites/first"]\n{text}')
    assert "is a driver for x86, and none of its targets is x86" in found


def test_builds_have_names_of_their_own(folder: Path) -> None:
    driver(folder / "b" / "my build" / "a.sys")
    driver(folder / "b" / "two" / "a.sys")
    text = 'targets = ["reference:6.3"]\nsuites = ["suites/first"]\n'
    table = '[[driver]]\nname = "a"\nsuites = ["suites/own"]\n'
    (found,) = mistakes_of(folder, f'{text}{table}glob = "b/*/a.sys"')
    assert "the build's name, 'a-my build', must be letters" in found
    (found,) = mistakes_of(folder, f'{text}{table}glob = "**/a.sys"')
    assert "can't hold **" in found
    other = table.replace('"a"', '"a-two"')
    (found,) = mistakes_of(folder, f'{text}{other}file = "b/two/a.sys"\n{table}glob = "b/t*/a.sys"')
    assert "there is a build 'a-two' already" in found


def test_without_the_projects_suites_a_plan_names_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.matrix.plan.planfile._OWN_SUITES", folder / "not there")
    driver(folder / "a.sys")
    text = 'targets = ["reference:6.3"]\n[[driver]]\nname = "a"\nfile = "a.sys"'
    assert [mistake.partition(":")[0] for mistake in mistakes_of(folder, text)] == [
        "suites",
        "driver[0].suites",
    ]


def test_suites_need_a_root_above_all_of_them(folder: Path) -> None:
    text = 'targets = ["reference:6.3"]\nsuites = ["suites/first"]\nroot = "suites/own"'
    (found,) = mistakes_of(folder, text)
    assert found.startswith("root: ")
    assert "let root name a folder above all suites" in found
    assert plan_of(folder, text.replace("suites/own", f"suites/../../{folder.name}/.")).root == folder


def test_a_job_keeps_machines_where_the_plan_says_so(folder: Path) -> None:
    text = 'targets = ["reference:6.3"]\nsuites = ["suites/first"]\n'
    job = Job("0001-a", "reference:6.3", ("suites/first",))
    assert "--bundle-machine" not in job_command(plan_of(folder, text), job, folder)
    assert "--bundle-machine" in job_command(plan_of(folder, f"{text}bundle_machine = true\n"), job, folder)


def test_what_is_frozen_comes_back_the_same(folder: Path) -> None:
    driver(folder / "a.sys")
    plan = plan_of(
        folder,
        'targets = ["reference:6.3", "vm:stand-in"]\nsuites = ["suites/first"]\n'
        '[[driver]]\nname = "a"\nfile = "a.sys"\nsuites = ["suites/own"]\n[[exclusive]]\nname = "x"',
    )
    jobs = (
        Job("0001-a", "reference:6.3", ("suites/first/test_a.py",), expected=2.5),
        Job("0002-b", "vm:stand-in", ("suites/own/t.py",), "a", str(folder / "a.sys"), "0" * 64, ("M=1",)),
    )
    write_frozen(folder, plan, jobs)
    assert read_frozen(folder) == (plan, jobs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "../out"}, r"jobs\[0\]\.id: '\.\./out' can't be the name of a folder"),
        ({"paths": ["../secret.py"]}, "leaves the plan's root"),
        ({"paths": ["--pdb"]}, "leaves the plan's root"),
        ({"paths": []}, "no target or no paths"),
        ({"driver": "/a.sys"}, "comes with its SHA-256"),
        ({"cores": 0}, "a number that can't be"),
        ({"expected": float("nan")}, "a number that can't be"),
        ({"cores": "many"}, r"jobs\[0\]\.cores: must be a whole number"),
        ({"shell": "rm"}, "unknown key"),
    ],
)
def test_a_damaged_job_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    plan = plan_of(folder, 'targets = ["reference:6.3"]\nsuites = ["suites/first"]')
    write_frozen(folder, plan, [Job("a", "reference:6.3", ("t.py",))])
    raw = json.loads((folder / "plan.json").read_text())
    raw["jobs"][0] |= change
    (folder / "plan.json").write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match=message):
        read_frozen(folder)


def test_a_folder_without_a_plan_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plan\.json: not the plan of a run: .*start a new run"):
        read_frozen(tmp_path)
