"""Lines that people are told to type, held against what the command takes."""

from __future__ import annotations

import re
from typing import Any

from harness.driver import find_project_root

__all__ = ["mistake"]


def mistake(command: Any, words: list[str]) -> str:
    """Why the command can't take this line, as it would say it itself; empty when it can. Runs nothing."""
    while (commands := getattr(command, "commands", None)) is not None:
        if not words or words[0] not in commands:
            return f"no command {words[:1]}"
        command, words = commands[words[0]], words[1:]
    try:
        context = command.make_context("harness", list(words))
    except Exception as error:  # of Typer's own click, whose place depends on its version
        said = error.format_message() if hasattr(error, "format_message") else repr(error)
        return "" if "does not exist" in said else said  # the reader's own files
    passed_on = [*context.args, *(context.params.get("paths") or ())]
    return " ".join(word for word in passed_on if word.startswith("-") and word not in PASSED_ON)


#: Of pytest, and of the plugin, which `harness run` hands on.
PASSED_ON = {"-k", "-p", "-x", "-rs", "-q", "--pdb"} | {
    option
    for module in (find_project_root() / "harness/plugin").glob("*.py")
    for option in re.findall(r'"(--[a-z-]+)"', module.read_text())
}
