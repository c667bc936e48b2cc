"""Scripts that nobody can run here: what is wrong with them is seen all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.image.scripts import check_powershell
from harness.image.templates import shared_folder


@pytest.mark.parametrize("name", ["openssh.ps1", "private-network.ps1"])
def test_the_scripts_of_the_first_boot_are_sound(name: str) -> None:
    assert check_powershell(Path(shared_folder(), name).read_text()) == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("if ($a) {\n  b\n", "'{' of line 1 is not closed"),
        ("foo (1 }\n", "line 1 closes '}', which is not open there"),
        ("a\n)\n", "line 2 closes ')'"),
        ("$x = 'it\n", "line 1 has a quote that is not closed"),
        ('$x = "a`"\n', "line 1 has a quote that is not closed"),
        ("# naïve\n", "beyond ASCII"),
        (
            "a\n$x = Get-CimInstance Win32_BIOS\n",
            "line 2 has 'Get-CimInstance', which PowerShell 2.0 does not",
        ),
        ("if ($a -in $b) { c }\n", "'-in', which PowerShell 2.0"),
        ("$a | Where-Object Name\n", "'Where-Object N', which PowerShell 2.0"),
    ],
)
def test_a_mistake_is_named(text: str, says: str) -> None:
    assert any(says in problem for problem in check_powershell(text))


def test_brackets_in_texts_and_comments_are_none() -> None:
    assert check_powershell("a 'it''s (' \"b `\" {\" # ) }\r\n@($b[0])\r\n") == ()
