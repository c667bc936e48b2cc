"""What the documentation tells people to do works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from harness import cli
from harness.driver import build_signed, find_project_root
from harness.pytest_command import pytest_command
from tests.cli.lines import mistake

ROOT = find_project_root()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("arch", ["x64", "x86"])
def test_the_worked_example(arch: str, tmp_path: Path) -> None:
    image = build_signed(ROOT / "driver-src" / "samples" / "regguard", arch).image
    target = {"x64": "reference:10.0.26100", "x86": "reference:6.1-x86"}[arch]
    command = [
        *pytest_command(),
        "docs/examples/test_regguard.py",
        "--driver",
        str(image),
        "--target",
        target,
    ]
    done = subprocess.run(
        [*command, "--results", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_tests_of_the_tutorial(tmp_path: Path) -> None:
    first, second = blocks("docs/tutorial.md")
    (tmp_path / "test_mine.py").write_text(f"{first}\n\n{second}")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        *pytest_command(),
        "--target",
        "reference:10.0.26100",
        "--target",
        "reference:6.1",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_the_session_of_the_architecture_page() -> None:
    (session,) = blocks("docs/architecture.md")
    done = subprocess.run(
        [sys.executable, "-c", session], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("STATUS_ACCESS_DENIED\n")
    assert "PreSetValueKey" in done.stdout


def test_the_session_of_the_reference_page() -> None:
    (session,) = blocks("docs/reference-guest.md")
    done = subprocess.run(
        [sys.executable, "-c", session], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "PreCreateKeyEx" in done.stdout


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> list[str]:
    """The `harness` commands of indented blocks, each on one line, without its comment."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL).replace("\\\n", " ")
    return re.findall(r"^ {4,}(harness [^#\n]+)", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_what_the_command_takes(page: Path) -> None:
    root = typer.main.get_command(cli.app)
    wrong = {line: found for line in commands(page) if (found := mistake(root, shlex.split(line)[1:]))}
    assert wrong == {}


@pytest.mark.parametrize(
    "line",
    [
        "guest begin vm:x",
        "guest get vm:x",
        "guest exec --quick vm:x cmd.exe",
        "guest exec vm:x --recipes . cmd.exe",
        "clean --everything",
        "run suites --kanal ssh",
        "image adopt x --kind windows --version 10.0.26100 --bus scsi",
    ],
)
def test_a_command_that_rotted_is_noticed(line: str) -> None:
    assert mistake(typer.main.get_command(cli.app), line.split())


def test_the_machine_pages_have_commands_to_check() -> None:
    assert len(commands(ROOT / "docs/machines.md")) > 15
    assert len(commands(ROOT / "docs/own-machines.md")) > 4


def test_the_session_of_the_channels_page() -> None:
    (session,) = blocks("docs/channels.md")
    subprocess.run([sys.executable, "-c", session], cwd=ROOT, capture_output=True, text=True, check=True)


def test_the_recipe_of_the_machines_page_is_one(tmp_path: Path) -> None:
    """What is written by hand in docs/own-machines.md is read with the rest of an adopted disk's recipe."""
    from harness.channel.base import ChannelKind
    from harness.image.recipe import load_recipe

    (shown,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/own-machines.md").read_text(), re.DOTALL)
    for name in ("disk.raw", "secret"):
        (tmp_path / name).touch(mode=0o600)
    head = 'name = "mine"\ntitle = "mine"\nkind = "windows"\nversion = "10.0.26100"\narch = "x64"\n\n'
    text = head + shown.replace("/home/me/secrets/win11", str(tmp_path / "secret"))
    text += f'\n[adopt]\nformat = "raw"\ndisk = "{tmp_path}/disk.raw"\n'
    file = tmp_path / "mine" / "recipe.toml"
    file.parent.mkdir()
    file.write_text(text)
    assert [access.kind for access in load_recipe(file).channels] == [ChannelKind.WINRM, ChannelKind.SERIAL]


@pytest.fixture
def stand_in() -> None:
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    from harness.errors import HarnessError
    from harness.image.finding import find_recipe
    from harness.image.images import is_built

    try:
        built = is_built(find_recipe("stand-in"))
    except HarnessError as error:
        pytest.skip(str(error))
    if not built:
        pytest.skip("the stand-in is not built: harness image build stand-in")


@pytest.mark.usefixtures("stand_in")
def test_the_tests_of_the_machines_page(tmp_path: Path) -> None:
    (tests, session) = blocks("docs/machines.md")
    (tmp_path / "test_hello.py").write_text(tests)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [*pytest_command(), "--target", "vm:stand-in", "--results", str(tmp_path), str(tmp_path), "-rs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed, 1 skipped" in done.stdout
    assert "lacks app-hives: Wine's RegLoadAppKey claims success and loads nothing" in done.stdout
    subprocess.run([sys.executable, "-c", session], cwd=ROOT, check=True, timeout=900)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    anchors = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text)
    paths = re.findall(r"`((?:harness|driver-src|suites|docs|tests|tools|benchmarks)/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [f"{to}#{at}" for to, at in anchors if at not in headings(page.parent / to if to else page)]
    missing += [path for path in paths if not (ROOT / path).exists()]
    # What the reader is told to make.
    assert [name for name in missing if name != "suites/demo/test_mine.py"] == []


def test_every_option_of_the_plugin_is_explained() -> None:
    """In the table of docs/writing-tests.md."""
    declared = re.findall(
        r'^    "(--[a-z-]+)": {', (ROOT / "harness/plugin/commandline.py").read_text(), re.M
    )
    _, _, section = (ROOT / "docs/writing-tests.md").read_text().partition("## Options")
    explained = re.findall(r"`(--[a-z-]+)`", section.partition("\n## ")[0])
    assert len(declared) > 15
    assert sorted(explained) == sorted(declared)
