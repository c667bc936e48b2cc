"""What can be said of scripts of cmd and PowerShell without running them: labels, brackets, quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["check_cmd", "check_powershell"]

#: Longest line cmd.exe takes (https://learn.microsoft.com/troubleshoot/windows-client/shell-experience/
#: command-line-string-limitation).
_LONGEST_LINE: Final = 8191
_LABEL: Final = re.compile(r"^\s*:([A-Za-z_][\w-]*)\s*$")
_CALL: Final = re.compile(r"\b(?:call\s+:|goto\s+:?)([A-Za-z_][\w-]*)", re.IGNORECASE)
_COMMENT: Final = re.compile(r"^\s*(?:rem\b|::)", re.IGNORECASE)
_QUOTED: Final = re.compile(r'"[^"]*"')
#: True from a number on: NTSTATUS and HRESULT values are negative.
_AT_LEAST: Final = re.compile(r"\bif\s+(?:not\s+)?errorlevel\b", re.IGNORECASE)


def check_cmd(text: str) -> tuple[str, ...]:
    """Everything wrong with a script, each with its line number; empty when nothing is."""
    return tuple(_mistakes(text))


def _mistakes(text: str) -> Iterator[str]:
    if not text.isascii():
        yield "holds characters beyond ASCII: which code page reads them is not known"
    if text.replace("\r\n", "").count("\n"):
        yield "has lines that end without a carriage return: cmd.exe then misses labels"
    lines = text.split("\r\n")
    labels = {match[1].lower() for line in lines if (match := _LABEL.match(line))}
    depth = 0
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST_LINE:
            yield f"line {number} has {len(line)} characters; cmd.exe takes {_LONGEST_LINE}"
        if _COMMENT.match(line) or _LABEL.match(line):
            continue
        if line.count('"') % 2:
            yield f"line {number} has an odd number of quotes: {line.strip()[:60]}"
            continue
        bare = _QUOTED.sub("", line)
        if _AT_LEAST.search(bare):
            yield f"line {number} has `if errorlevel`: programs that end with a negative code pass for sound"
        for name in _CALL.findall(bare):
            if name.lower() not in labels and name.lower() != "eof":
                yield f"line {number} goes to :{name}, which is not there"
        depth += bare.count("(") - bare.count(")")
        if depth < 0:
            yield f"line {number} closes a parenthesis that was not opened"
            depth = 0
    if depth:
        yield "a parenthesis is not closed"


#: Comments, strings of both kinds (a doubled quote, or one behind a backtick, does not end them).
_POWERSHELL_TEXT: Final = re.compile(r"""#[^\n]*|'(?:[^'\n]|'')*'|"(?:[^"`\n]|`.|"")*\"""")
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}


#: Words that PowerShell 2.0, that of Windows 7 and Server 2008 R2, does not know
#: (about_Windows_PowerShell_2.0 to 5.0, "What's New").
_NEWER_POWERSHELL: Final = re.compile(
    r"\[ordered\]|\[pscustomobject\]|\$PSScriptRoot|\$PSItem|\s-(?:not)?in\s|\s-(?:shl|shr)\s|::new\(|"
    r"\b(?:Get-CimInstance|ConvertFrom-Json|ConvertTo-Json|Invoke-WebRequest|Invoke-RestMethod|Unblock-File|"
    r"Get-FileHash|Expand-Archive)\b|(?:Where-Object|ForEach-Object)\s+[A-Za-z]",
    re.IGNORECASE,
)


def check_powershell(text: str) -> tuple[str, ...]:
    """As `check_cmd` for a script of PowerShell without here-strings; there is none on Linux to parse it.

    It must be one that PowerShell 2.0 reads too.
    """
    return tuple(_powershell_mistakes(text))


def _powershell_mistakes(text: str) -> Iterator[str]:
    if not text.isascii():
        yield "holds characters beyond ASCII: Windows PowerShell reads them by the system's code page"
    bare = _POWERSHELL_TEXT.sub("", text.replace("\r\n", "\n"))
    for found in _NEWER_POWERSHELL.finditer(bare):
        number = bare.count("\n", 0, found.start()) + 1
        yield f"line {number} has {found[0].strip()!r}, which PowerShell 2.0 does not know"
    opened: list[tuple[str, int]] = []
    for number, line in enumerate(bare.split("\n"), 1):
        if "'" in line or '"' in line:
            yield f"line {number} has a quote that is not closed"
        for character in line:
            if character in "([{":
                opened.append((character, number))
            elif character in _PAIRS:
                if not opened or opened[-1][0] != _PAIRS[character]:
                    yield f"line {number} closes {character!r}, which is not open there"
                    return
                opened.pop()
    for character, number in opened:
        yield f"{character!r} of line {number} is not closed"
