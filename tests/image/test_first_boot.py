"""The first-boot script runs: stages in order, each failed step named, nothing done twice.

Under Wine's cmd.exe, with the tools of Windows that Wine has not replaced by one program that writes down how
it was called. What those tools do to a Windows is not shown here.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.driver import find_toolchain
from harness.errors import ToolMissingError
from harness.image.templates import render
from harness.registry.version import WIN11_24H2, XP, WindowsVersion
from tests.image.test_answers import facts
from tests.runner.winehost import Wine, wine_is_missing

TOOLS = ("bcdedit", "certutil", "diskpart", "format", "powercfg", "powershell", "shutdown")

#: Appends its command line to C:\calls.txt; with C:\fail-NAME.txt it fails as certutil does, with an HRESULT.
STAND_IN_TOOL = r"""
#include <windows.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    char name[64], path[128];
    const char *base = strrchr(argv[0], '\\') ? strrchr(argv[0], '\\') + 1 : argv[0];
    FILE *calls = fopen("C:\\calls.txt", "a");
    snprintf(name, sizeof name, "%.40s", base);
    if (strchr(name, '.')) *strchr(name, '.') = 0;
    fprintf(calls, "%s", name);
    for (int i = 1; i < argc; i++) fprintf(calls, " %s", argv[i]);
    fprintf(calls, "\n");
    fclose(calls);
    snprintf(path, sizeof path, "C:\\fail-%s.txt", name);
    return GetFileAttributesA(path) != INVALID_FILE_ATTRIBUTES ? (int)0x80070005 : 0;
}
"""


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        compiler = find_toolchain("x64").compiler
    except ToolMissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("tool")
    (folder / "tool.c").write_text(STAND_IN_TOOL)
    subprocess.run([*compiler, "-O1", "-o", folder / "tool.exe", folder / "tool.c"], check=True)
    return folder / "tool.exe"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    if reason := wine_is_missing():
        pytest.skip(reason)
    with Wine(tmp_path_factory.mktemp("first-boot")) as wine:
        yield wine


@pytest.fixture
def wine(prefix: Wine) -> Wine:
    """A system whose first boot is still to come."""
    shutil.rmtree(prefix.path("C:\\harness"), ignore_errors=True)
    for file in prefix.path("C:\\x").parent.glob("*.txt"):
        file.unlink()
    return prefix


def first_boot(wine: Wine, tool: Path, version: WindowsVersion, *, settled: bool = True) -> list[str]:
    """Run the script as the first logon does; the lines on its stage port."""
    disc = wine.path("C:\\disc\\harness")
    disc.mkdir(parents=True, exist_ok=True)
    text = render("first-boot.cmd", facts(version)).replace(">COM1", ">>C:\\stages.txt")
    text = text.replace("ping -n 6", "ping -n 1").replace("(1,1,120)", "(1,1,2)")
    # Wine prefers its own shutdown.exe, whatever lies in the system's folder.
    text = text.replace("\r\nshutdown ", "\r\nC:\\windows\\shutdown.exe ")
    (disc / "first-boot.cmd").write_bytes(text.encode("ascii"))
    (disc / "regrun.exe").write_bytes(tool.read_bytes())
    for name in TOOLS:
        for folder in ("C:\\windows", "C:\\windows\\system32"):  # before Wine's own of that name
            wine.path(f"{folder}\\{name}.exe").write_bytes(tool.read_bytes())
    state = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State"
    setup = r"HKLM\SYSTEM\Setup"
    run(wine, "reg", "add", setup, "/v", "SystemSetupInProgress", "/t", "REG_DWORD", "/d", "0", "/f")
    image_state = "IMAGE_STATE_COMPLETE" if settled else "IMAGE_STATE_UNDEPLOYABLE"
    run(wine, "reg", "add", state, "/v", "ImageState", "/d", image_state, "/f")
    run(wine, "cmd", "/c", "C:\\disc\\harness\\first-boot.cmd", "C:\\disc")
    return wine.path("C:\\stages.txt").read_text().split("\n")


def run(wine: Wine, *command: str) -> None:
    with (wine.prefix / "out.txt").open("ab") as out:
        process = wine.start(command, stdin=subprocess.DEVNULL, stdout=out)
        process.wait(timeout=600)


def test_all_stages_pass_in_order_and_the_machine_is_shut_down(wine: Wine, tool: Path) -> None:
    lines = [line.strip() for line in first_boot(wine, tool, WIN11_24H2) if line.strip()]
    assert lines == [
        f"HARNESS-STAGE {stage}"
        for stage in (
            "first-logon",
            "files",
            "runner",
            "crash-settings",
            "boot-settings",
            "quiet",
            "settling",
            "sealing",
            "ready",
        )
    ]
    calls = wine.path("C:\\calls.txt").read_text().split("\n")
    assert "regrun --install --port COM2" in calls
    assert "bcdedit /set {current} testsigning on" in calls
    assert "shutdown -s -f -t 0" in calls
    assert wine.path("C:\\harness\\regrun.exe").read_bytes() == tool.read_bytes()


def test_a_failed_step_is_named_and_the_rest_is_done(wine: Wine, tool: Path) -> None:
    wine.path("C:\\fail-bcdedit.txt").write_text("")
    lines = [line.strip() for line in first_boot(wine, tool, WIN11_24H2) if line.strip()]
    assert "HARNESS-FAILED test-signing" in lines
    assert "HARNESS-FAILED files" not in lines
    assert lines[-1] == "HARNESS-STAGE failed"


def test_a_comfort_that_is_missed_fails_nothing(wine: Wine, tool: Path) -> None:
    wine.path("C:\\fail-powercfg.txt").write_text("")
    lines = [line.strip() for line in first_boot(wine, tool, WIN11_24H2) if line.strip()]
    assert "HARNESS-MISSED power" in lines
    assert not [line for line in lines if line.startswith("HARNESS-FAILED")]
    assert lines[-1] == "HARNESS-STAGE ready"


def test_a_setup_that_does_not_say_that_it_is_over_is_told(wine: Wine, tool: Path) -> None:
    lines = [line.strip() for line in first_boot(wine, tool, WIN11_24H2, settled=False) if line.strip()]
    assert "HARNESS-MISSED settled" in lines
    assert lines[-1] == "HARNESS-STAGE ready"


def test_the_second_logon_does_nothing(wine: Wine, tool: Path) -> None:
    first_boot(wine, tool, XP)
    before = wine.path("C:\\calls.txt").read_text()
    again = first_boot(wine, tool, XP)
    assert wine.path("C:\\calls.txt").read_text() == before
    assert [line.strip() for line in again].count("HARNESS-STAGE ready") == 1
