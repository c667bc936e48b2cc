"""Native suites as test files: each case of an executable is an item of its own (docs/native-cases.md).

`registry.native.toml` is collected like a module of Python with one test, ``case``, whose parameters are
target and case. Markers, targets, guests, outcomes and rows are those of every other test.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from _pytest._code.code import TerminalRepr

from harness.errors import HarnessError, InfrastructureError
from harness.guest.base import Capability
from harness.native.spec import SUFFIX, NativeIsolation, NativeSuite, load_suite
from harness.plugin.commandline import Isolation
from harness.plugin.fixtures import CASE_FIXTURE, TARGET_FIXTURE
from harness.plugin.options import SETTINGS
from harness.plugin.selection import allowed_targets, limitation
from harness.plugin.station import ISOLATION, POOL, Station
from harness.targets import Target

__all__ = ["NativeCase", "NativeFile", "collect_file", "parametrise_cases"]

#: The name of the one test in a native suite's file, so that node ids read ``x.native.toml::case[...]``.
_TEST = "case"
#: Where cases that were listed are kept, below the cache of images and templates.
_CACHE = "native"


class NativeCase(pytest.Function):
    """One case on one target. Failures show what the program wrote instead of a traceback."""

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, self.name

    def repr_failure(  # type: ignore[override]
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> str | TerminalRepr:
        error = excinfo.value
        if not isinstance(error, HarnessError):
            return super().repr_failure(excinfo)
        shown = excinfo.getrepr(style="value", chain=False)
        if shown.reprcrash is not None:  # what pytest's summary has in its one line: no name of a class
            shown.reprcrash.message = str(error)
        output = getattr(error, "output", "")
        if output:
            shown.addsection("what the program wrote", output)
        return shown


class NativeFile(pytest.Module):
    """The file of a native suite, as if it were a module with one test."""

    suite: NativeSuite

    def _getobj(self) -> types.ModuleType:
        try:
            self.suite = load_suite(self.path)
        except HarnessError as error:
            raise self.CollectError(str(error)) from None
        module = types.ModuleType(re.sub(r"\W", "_", self.path.name), f"The cases of {self.suite.title}.")
        module.__file__ = str(self.path)
        module.pytestmark = list(_marks(self.suite))  # type: ignore[attr-defined]
        setattr(module, _TEST, _function_of(self.suite))
        return module

    def funcnamefilter(self, name: str) -> bool:
        return name == _TEST

    def classnamefilter(self, name: str) -> bool:
        return False

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        for made in super().collect():
            assert isinstance(made, pytest.Function)
            case = NativeCase.from_parent(
                self,
                name=made.name,
                callspec=made.callspec,
                callobj=made.obj,
                fixtureinfo=made._fixtureinfo,
                originalname=made.originalname,
            )
            if self.suite.isolation is NativeIsolation.CASE:
                case.stash[ISOLATION] = Isolation.TEST
            yield case


def collect_file(file_path: Path, parent: pytest.Collector) -> NativeFile | None:
    """The body of pytest_collect_file: native suites, whatever python_files says."""
    if not file_path.name.endswith(SUFFIX):
        return None
    made: NativeFile = NativeFile.from_parent(parent, path=file_path)
    return made


def _marks(suite: NativeSuite) -> Iterator[pytest.MarkDecorator]:
    yield pytest.mark.requires(*dict.fromkeys((Capability.PROGRAMS.value, *suite.requires)))
    yield pytest.mark.arch(*(arch.value for arch in suite.executable.architectures))
    if suite.behaviours:
        yield pytest.mark.behaviour(*suite.behaviours)
    if suite.since is not None or suite.until is not None:
        yield pytest.mark.versions(since=suite.since, until=suite.until)


def _function_of(suite: NativeSuite) -> Callable[..., None]:
    def case(_station: Station, _harness_case: str | None) -> None:
        _run(suite, _station, _harness_case)

    return case


def _run(suite: NativeSuite, station: Station, case: str | None) -> None:
    from harness.native.listing import ask_guest
    from harness.native.run import CaseFailedError, deploy, run_case
    from harness.native.verdict import Verdict

    if case is None:  # what kept the cases from being listed, once more and with evidence
        cases = ask_guest(suite, station.guest)
        raise InfrastructureError(
            f"{suite.file}: the cases could not be listed when tests were collected, and now they can "
            f"({len(cases)} cases); run again"
        )
    name = suite.executable.name
    if suite.file not in station.deployed:
        station.drivers[name] = deploy(suite, station.guest)
        station.deployed.add(suite.file)
    result = run_case(suite, station.guest, case)
    judgement = result.judgement
    match judgement.verdict:
        case Verdict.PASSED:
            return
        case Verdict.SKIPPED:
            pytest.skip(judgement.reason)
        case Verdict.TODO:
            pytest.xfail(judgement.reason)
        case Verdict.FAILED:
            raise CaseFailedError(judgement.reason, result.output)


# -- which cases -------------------------------------------------------------------------------------------


def parametrise_cases(metafunc: pytest.Metafunc) -> bool:
    """Target and case together, since targets need not have the same cases; False for any other test."""
    parent = metafunc.definition.parent
    if not isinstance(parent, NativeFile):
        return False
    parameters = []
    for target, marks in allowed_targets(metafunc):
        if marks or limitation(metafunc.definition, target):  # it will be skipped, with that reason
            parameters.append(pytest.param(target, None, id=target.name, marks=marks))
            continue
        parameters += [
            pytest.param(target, case, id=target.name if case is None else f"{target.name}-{case}")
            for case in _cases(parent, target)
        ]
    metafunc.parametrize((TARGET_FIXTURE, CASE_FIXTURE), parameters, indirect=True)
    return True


def _cases(file: NativeFile, target: Target) -> tuple[str | None, ...]:
    """The cases on a target; a None stands for a listing that failed: one item says so when it runs."""
    from harness.machine.keep.places import Places
    from harness.native.listing import list_cases

    config = file.config
    listing = list_cases(
        file.suite,
        target,
        None if config.getoption("--listed-before") else config.stash[POOL].boot,
        Places.standard().cache / _CACHE,
        str(config.stash[SETTINGS].run_folder.absolute()),
    )
    return (None,) if listing.trouble else listing.cases
