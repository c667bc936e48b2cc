"""Puts a suite's files into a guest and runs its executable there."""

from __future__ import annotations

import functools
import hashlib
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.errors import GuestHung, HarnessError, UsageError
from harness.guest.base import Arch
from harness.guest.bugcheck import Bugcheck
from harness.native.verdict import Judgement

if TYPE_CHECKING:
    from pathlib import Path

    from harness.guest.base import ExecResult, Guest
    from harness.native.spec import NativeSuite

__all__ = [
    "CaseFailedError",
    "CaseResult",
    "batch_file",
    "deploy",
    "deployment",
    "execute",
    "output_text",
    "run_case",
]

#: Set up the environment, then run the program; written anew for each command.
_BATCH: Final = "harness-run.cmd"
#: What cmd.exe takes for itself outside quotes; everything outside is escaped, quotes included.
_SPECIAL: Final = re.compile(r'[()!^"<>&|]')
#: Longest line cmd.exe reads (troubleshoot/windows-client/shell-experience/command-line-string-limitation).
_LONGEST_LINE: Final = 8191


class CaseFailedError(HarnessError):
    """A case failed, for the reason in the message; `output` is what its program wrote."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case ended. `output` is standard output followed by standard error."""

    judgement: Judgement
    exit_code: int
    output: str


def deployment(suite: NativeSuite, arch: Arch) -> dict[str, bytes]:
    """Guest path to content of everything the suite needs there, the executable first.

    Raises `UsageError` where there is no executable for `arch` and for a file that can't be read, and what
    `build_program` raises where it is made of C files.
    """
    image = _program(suite, arch)
    return {
        suite.program: image,
        **{f"{suite.folder}\\{each.place}": _content(each.path) for each in suite.files},
    }


def _program(suite: NativeSuite, arch: Arch) -> bytes:
    given = suite.executable
    if given.source is not None:
        return _built(given.source, given.name.removesuffix(".exe"), arch)
    if arch not in given.images:
        raise UsageError(f"{suite.file} names no executable for {arch}")
    return _content(given.images[arch])


@functools.cache
def _built(source: Path, name: str, arch: Arch) -> bytes:
    from harness.driver.program import build_program, program_spec

    return build_program(program_spec(source, name), arch.value).image.read_bytes()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def deploy(suite: NativeSuite, guest: Guest) -> str:
    """Put the suite's files into the guest; the digest of the executable."""
    files = deployment(suite, guest.info.arch)
    for path, data in files.items():
        guest.put(path, data)
    return hashlib.sha256(files[suite.program]).hexdigest()


def run_case(suite: NativeSuite, guest: Guest, case: str) -> CaseResult:
    """Run one case in a guest that has the suite's files, and judge it.

    Raises `GuestHung` when it does not end in time, `GuestCrashed` when the guest dies of it.
    """
    done = execute(suite, guest, suite.run_argv(case), suite.run.timeout, f"the case {case}")
    output = output_text(done)
    code = done.exit_code & 0xFFFF_FFFF
    return CaseResult(suite.rules.judge(code, output), code, output)


def execute(suite: NativeSuite, guest: Guest, argv: Sequence[str], timeout: float, what: str) -> ExecResult:
    """Run a command of the suite in its folder, with its environment."""
    from harness.channel.errors import ChannelTimeoutError

    if suite.environment:
        path = f"{suite.folder}\\{_BATCH}"
        guest.put(path, batch_file(argv, suite.environment))
        argv = ("cmd.exe", "/d", "/c", path)
    try:
        return guest.execute(argv, timeout=timeout, folder=suite.folder)
    except ChannelTimeoutError as error:
        raise GuestHung(
            Bugcheck.unknown(f"{what} did not end within {timeout:g} s; its processes were ended")
        ) from error


def batch_file(argv: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """A batch file that runs `argv` with `environment` on top of what the guest has, and ends with its code.

    Raises `UsageError` for arguments that no batch file can carry: which bytes beyond ASCII mean what depends
    on the guest's code page.
    """
    program, *arguments = argv
    line = f'"{program}" {_escaped(subprocess.list2cmdline(arguments))}'
    if not line.isascii() or not line.isprintable() or len(line) > _LONGEST_LINE:
        raise UsageError(
            f"{line[:200]!r} can't be run with an environment of its own: a batch file takes ASCII, "
            f"{_LONGEST_LINE} characters a line"
        )
    return "".join(f"{each}\r\n" for each in _batch_lines(line, environment)).encode("ascii")


def _batch_lines(line: str, environment: Mapping[str, str]) -> Iterator[str]:
    yield "@echo off"
    for name, value in environment.items():
        yield f'set "{name}={value.replace("%", "%%")}"'
    yield line
    yield "exit %errorlevel%"


def _escaped(arguments: str) -> str:
    return _SPECIAL.sub(r"^\g<0>", arguments).replace("%", "%%")


def output_text(done: ExecResult) -> str:
    """Both streams as text with plain line ends; what is no UTF-8 is shown as escapes."""
    text = b"\n".join(filter(None, (done.stdout.rstrip(b"\r\n"), done.stderr.rstrip(b"\r\n"))))
    return text.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
