"""The file of a native suite (``registry.native.toml``), its mistakes found before any guest boots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from harness.guest.base import Arch
from harness.native.frameworks import CONVENTIONS, Conventions, Framework
from harness.native.verdict import Rule, Rules
from harness.strict import Mistakes, load_toml, read_table

__all__ = [
    "CASE",
    "SUFFIX",
    "Deployed",
    "Executable",
    "Framework",
    "ListCommand",
    "NativeIsolation",
    "NativeSuite",
    "RunCommand",
    "load_suite",
]

#: How the names of these files end.
SUFFIX: Final = ".native.toml"
#: What stands for the case in the arguments that run one.
CASE: Final = "{case}"
#: Where suites go in the guest, each into a folder of its own.
_FOLDERS: Final = "C:\\harness\\native"
_DOS_FOLDER: Final = re.compile(r'[A-Za-z]:\\[^"*?<>|%\r\n]+')
_LONGEST_SECONDS: Final = 24 * 3600.0
_GROUP: Final = "case"


class NativeIsolation(StrEnum):
    """How long a guest serves. After a failure the next case gets a fresh one whatever is said."""

    CASE = "case"  # a guest for each case: on machines, a clone
    FILE = "file"  # as the isolation of the run says, at the most one for the file


@dataclass(frozen=True, slots=True)
class Executable:
    """The image of each architecture; or a folder of C files that the harness makes it of."""

    x64: Path | None = None
    x86: Path | None = None
    source: Path | None = None

    @property
    def images(self) -> dict[Arch, Path]:
        named = {Arch.X64: self.x64, Arch.X86: self.x86}
        return {arch: path for arch, path in named.items() if path is not None}

    @property
    def architectures(self) -> tuple[Arch, ...]:
        return tuple(Arch) if self.source is not None else tuple(self.images)

    @property
    def name(self) -> str:
        """The file name, in the guest as on the host."""
        if self.source is not None:
            return f"{self.source.name.replace('-', '_')}.exe"
        return next(iter(self.images.values())).name


@dataclass(frozen=True, slots=True)
class Deployed:
    """A further file: `path` on the host goes to `to` below the suite's folder, by default under its name."""

    path: Path
    to: str = ""

    @property
    def place(self) -> str:
        return (self.to or self.path.name).replace("/", "\\")


@dataclass(frozen=True, slots=True)
class ListCommand:
    """How the cases are found out: by a command, or, where `cases` is not None, not at all.

    `pattern` finds them in the output by its group "case", instead of the framework's own way. No exit codes
    stand for any.
    """

    arguments: tuple[str, ...]
    pattern: re.Pattern[str] | None
    exit_codes: tuple[int, ...]
    timeout: float
    cases: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class RunCommand:
    arguments: tuple[str, ...]
    timeout: float


@dataclass(frozen=True, slots=True)
class NativeSuite:
    """A native suite, what its file doesn't say filled in from the framework's conventions.

    `folder` is a DOS path of the guest: the suite's files are put there, and it is the working folder. Times
    are in seconds.
    """

    file: Path
    title: str
    conventions: Conventions
    executable: Executable
    isolation: NativeIsolation
    folder: str
    files: tuple[Deployed, ...]
    environment: Mapping[str, str]
    behaviours: tuple[str, ...]
    requires: tuple[str, ...]
    since: str | None
    until: str | None
    list: ListCommand
    run: RunCommand
    rules: Rules

    @property
    def program(self) -> str:
        """The executable's path in the guest."""
        return f"{self.folder}\\{self.executable.name}"

    def list_argv(self) -> tuple[str, ...]:
        return (self.program, *self.list.arguments)

    def run_argv(self, case: str) -> tuple[str, ...]:
        quoted = self.conventions.quote(case)
        return (self.program, *(argument.replace(CASE, quoted) for argument in self.run.arguments))


# -- the file ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _List:
    arguments: tuple[str, ...] | None = None
    pattern: str = ""
    exit_codes: tuple[int, ...] = (0,)
    timeout: float = 60.0
    cases: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    arguments: tuple[str, ...] | None = None
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    pass_codes: tuple[int, ...] = (0,)
    skip_codes: tuple[int, ...] | None = None
    skip_pattern: str | None = None
    todo_codes: tuple[int, ...] | None = None
    todo_pattern: str = ""
    fail_pattern: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    executable: Executable
    title: str = ""
    framework: Framework = Framework.PLAIN
    isolation: NativeIsolation = NativeIsolation.CASE
    folder: str = ""
    files: tuple[Deployed, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    behaviours: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    list: _List = _List()
    run: _Run = _Run()
    outcome: _Outcome = _Outcome()


def load_suite(file: Path) -> NativeSuite:
    """Read a suite's file. Raises `ConfigError` with every mistake in it."""
    raw = read_table(_File, load_toml(file), file)
    wrong = Mistakes()
    usual = CONVENTIONS[raw.framework]
    _check_executable(raw.executable, file, wrong)
    _check_places(raw, file, wrong)
    for where, seconds in (("list.timeout", raw.list.timeout), ("run.timeout", raw.run.timeout)):
        if not 0 < seconds <= _LONGEST_SECONDS:
            wrong.add(file, where, f"must be seconds, more than 0 and at most a day, not {seconds:g}")
    listing = _list_command(raw.list, usual, file, wrong)
    running = RunCommand(
        usual.run_arguments if raw.run.arguments is None else raw.run.arguments, raw.run.timeout
    )
    if not any(CASE in argument for argument in running.arguments):
        wrong.add(file, "run.arguments", f"no argument names the case; write {CASE} where it goes")
    rules = _rules(raw.outcome, usual, file, wrong)
    wrong.check()
    stem = file.name.removesuffix(SUFFIX)
    return NativeSuite(
        file=file,
        title=raw.title or stem,
        conventions=usual,
        executable=raw.executable,
        isolation=raw.isolation,
        folder=raw.folder.rstrip("\\") or f"{_FOLDERS}\\{re.sub(r'[^A-Za-z0-9_.-]', '_', stem)}",
        files=raw.files,
        environment=dict(raw.environment),
        behaviours=raw.behaviours,
        requires=raw.requires,
        since=raw.since,
        until=raw.until,
        list=listing,
        run=running,
        rules=rules,
    )


def _list_command(raw: _List, usual: Conventions, file: Path, wrong: Mistakes) -> ListCommand:
    pattern = _pattern(raw.pattern, file, "list.pattern", wrong)
    if pattern is not None and _GROUP not in pattern.groupindex:
        wrong.add(file, "list.pattern", f"has no group named {_GROUP}: write (?P<{_GROUP}>...)")
    arguments = usual.list_arguments if raw.arguments is None else raw.arguments
    return ListCommand(arguments, pattern, _codes(raw.exit_codes), raw.timeout, raw.cases)


def _rules(raw: _Outcome, usual: Conventions, file: Path, wrong: Mistakes) -> Rules:
    """A pattern without codes holds for codes that pass; the framework's own comes with its own codes."""
    skip_codes, skip_pattern = raw.skip_codes, raw.skip_pattern
    if skip_codes is None and skip_pattern is None:
        skip_codes, skip_pattern = usual.skip_codes, usual.skip_pattern
    return Rules(
        pass_codes=_codes(raw.pass_codes),
        skip=_rule(skip_codes, skip_pattern or "", raw, file, "outcome.skip_pattern", wrong),
        todo=_rule(raw.todo_codes, raw.todo_pattern, raw, file, "outcome.todo_pattern", wrong),
        fail_pattern=_pattern(raw.fail_pattern, file, "outcome.fail_pattern", wrong),
    )


def _rule(
    codes: tuple[int, ...] | None, pattern: str, raw: _Outcome, file: Path, where: str, wrong: Mistakes
) -> Rule:
    if codes is None:
        codes = raw.pass_codes if pattern else ()
    return Rule(_codes(codes), _pattern(pattern, file, where, wrong))


def _codes(codes: tuple[int, ...]) -> tuple[int, ...]:
    """Exit codes as Windows keeps them: -1 is 0xffffffff."""
    return tuple(code & 0xFFFF_FFFF for code in codes)


def _pattern(text: str, file: Path, where: str, wrong: Mistakes) -> re.Pattern[str] | None:
    if not text:
        return None
    try:
        return re.compile(text, re.MULTILINE)
    except re.error as error:
        wrong.add(file, where, f"is no regular expression: {error}")
        return None


def _check_executable(given: Executable, file: Path, wrong: Mistakes) -> None:
    images = given.images
    if given.source is not None:
        if images:
            wrong.add(file, "executable", "names source and images; name one of them")
        if not given.source.is_dir():
            wrong.add(file, "executable.source", f"there is no folder {given.source}")
    elif not images:
        wrong.add(file, "executable", 'names no image: give x64 = "PATH", x86 = "PATH" or source = "FOLDER"')
    for arch, path in images.items():
        _check_file(path, file, f"executable.{arch}", wrong)
    if len({path.name.lower() for path in images.values()}) > 1:
        wrong.add(file, "executable", "the images of all architectures must have the same file name")


def _check_places(raw: _File, file: Path, wrong: Mistakes) -> None:
    if raw.folder and not _DOS_FOLDER.fullmatch(raw.folder):
        wrong.add(file, "folder", f"must be a DOS path like {_FOLDERS}\\mine, not {raw.folder!r}")
    for at, deployed in enumerate(raw.files):
        _check_file(deployed.path, file, f"files[{at}].path", wrong)
        parts = deployed.place.split("\\")
        if any(part in ("", ".", "..") or ":" in part for part in parts):
            wrong.add(file, f"files[{at}].to", f"{deployed.to!r} is no path below the suite's folder")
    for name, value in raw.environment.items():
        # They go through a batch file of the guest, in whatever code page that has.
        if not re.fullmatch(r"[^\W\d][\w.()-]*", name, re.ASCII) or not re.fullmatch(r"[ !#-~]*", value):
            wrong.add(file, f"environment.{name}", "name and value are ASCII, without quotes and line ends")


def _check_file(path: Path, file: Path, where: str, wrong: Mistakes) -> None:
    if not path.is_file():
        wrong.add(file, where, f"there is no file {path}")
