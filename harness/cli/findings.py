"""One thing `harness doctor` looked at, and how it looks without letting one failure hide the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "State", "extra", "guarded", "package"]


class State(StrEnum):
    OK = "ok"
    MISSING = "missing"
    UNUSABLE = "unusable"  # it is there and doesn't work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `needed` is false for what only widens what can be done."""

    what: str
    state: State
    detail: str
    mend: str = ""
    needed: bool = True


def extra(name: str) -> str:
    """The command that installs an extra of the package, here."""
    from harness.driver.spec import find_project_root
    from harness.errors import UsageError

    try:
        find_project_root()
    except UsageError:
        return f"pip install 'regfilter-harness[{name}]'"
    # Without a group it brings what building, the reference guest and the tests need.
    return "tools/bootstrap.sh machines" if name == "machines" else "tools/bootstrap.sh"


def package(name: str, mend: str, *, needed: bool = True) -> Finding:
    """Whether a Python package is installed, and its version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Finding(name, State.OK, version(name), needed=needed)
    except PackageNotFoundError:
        return Finding(name, State.MISSING, "Python package", mend, needed)


def guarded(what: str, look: Callable[[], Finding], mend: str, *, needed: bool = False) -> Finding:
    """A check that must not take the others with it; the harness's own errors say what to do."""
    from harness.errors import HarnessError, ToolMissingError

    try:
        return look()
    except ToolMissingError as error:
        return Finding(what, State.MISSING, str(error), mend, needed)
    except ModuleNotFoundError as error:
        return Finding(what, State.MISSING, f"Python package {error.name}", mend, needed)
    except HarnessError as error:
        return Finding(what, State.UNUSABLE, str(error).split("\n")[0], mend, needed)
