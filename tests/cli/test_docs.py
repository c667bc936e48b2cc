"""What the documentation tells people to do works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.run import pytest_command
from harness.driver import build_signed, find_project_root

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    paths = re.findall(r"`((?:harness|driver-src|suites|docs|tests|tools|benchmarks)/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in paths if not (ROOT / path).exists()]
    # What the reader is told to make.
    assert [name for name in missing if name != "suites/demo/test_mine.py"] == []
