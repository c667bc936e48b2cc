"""Which targets a test runs on, from its markers; mistakes in markers end the collection of their file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import pytest

from harness.catalogue import Catalogue
from harness.errors import HarnessError
from harness.guest.base import Arch, Capability, GuestInfo
from harness.plugin.commandline import Isolation
from harness.plugin.fixtures import TARGET_FIXTURE
from harness.plugin.options import SETTINGS
from harness.registry.version import WindowsVersion
from harness.targets import Target

__all__ = [
    "allowed_targets",
    "behaviours_of",
    "exclusion",
    "limitation",
    "missing_capability",
    "name_without_target",
    "parametrise_targets",
    "row_key",
    "target_of",
]


def parametrise_targets(metafunc: pytest.Metafunc) -> None:
    """One instance of the test for every target its markers allow.

    Targets that a marker excludes are left out; when it excludes all of them the test is skipped with the
    reason. Unknown behaviour ids, unknown capabilities and malformed markers raise `CollectError`.
    """
    if TARGET_FIXTURE not in metafunc.fixturenames:
        _check_markers(metafunc.definition)
        return
    parameters = [
        pytest.param(target, id=target.name, marks=marks) for target, marks in allowed_targets(metafunc)
    ]
    # The scope makes pytest group the tests by target, so that one guest serves many in a row.
    isolation = metafunc.config.stash[SETTINGS].isolation
    scope: Literal["session", "module"] = "session" if isolation is Isolation.SESSION else "module"
    metafunc.parametrize(TARGET_FIXTURE, parameters, indirect=True, scope=scope)


def allowed_targets(metafunc: pytest.Metafunc) -> list[tuple[Target, tuple[pytest.MarkDecorator, ...]]]:
    """The targets of the session that the test's markers allow, as `parametrise_targets` says.

    Where they allow none: all of them, each with the marker that skips the test there.
    """
    definition = metafunc.definition
    _check_markers(definition)
    try:
        targets = metafunc.config.stash[SETTINGS].targets
        excluded = {target: exclusion(definition, target) for target in targets}
    except (HarnessError, TypeError, ValueError) as error:
        raise _mistake(definition, error) from None
    chosen = [target for target, reason in excluded.items() if not reason]
    if chosen:
        return [(target, ()) for target in chosen]
    return [(target, (pytest.mark.skip(reason=reason),)) for target, reason in excluded.items()]


def _check_markers(definition: pytest.Item) -> None:
    try:
        for marker in definition.iter_markers("behaviour"):
            if not marker.args or marker.kwargs or not all(isinstance(name, str) for name in marker.args):
                raise ValueError('the behaviour marker takes ids of the catalogue: behaviour("B-LAY-03")')
        for behaviour in behaviours_of(definition):
            Catalogue.load().get(behaviour)
        for marker in definition.iter_markers("requires"):
            for name in marker.args:
                Capability(name)
    except (HarnessError, TypeError, ValueError) as error:
        raise _mistake(definition, error) from None


def _mistake(definition: pytest.Item, error: Exception) -> pytest.Collector.CollectError:
    return pytest.Collector.CollectError(f"{definition.name}: {error}")


def behaviours_of(node: pytest.Item | pytest.Collector) -> tuple[str, ...]:
    """The ids of all `behaviour` markers on a test, its class and its module, each once."""
    named = (name for marker in node.iter_markers("behaviour") for name in marker.args)
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))


def target_of(item: pytest.Item) -> Target | None:
    """The target that the test was parametrised with; None for a test that uses no guest."""
    callspec = getattr(item, "callspec", None)
    target = None if callspec is None else callspec.params.get(TARGET_FIXTURE)
    return target if isinstance(target, Target) else None


def name_without_target(item: pytest.Item) -> str:
    """The same text for the same test on every target: what rows are compared by."""
    target = target_of(item)
    if target is None:
        return item.nodeid
    stem, _, parameters = item.nodeid.partition("[")
    rest = parameters.removesuffix("]").removeprefix(target.name).removesuffix(target.name).strip("-")
    return f"{stem}[{rest}]" if rest else stem


def row_key(item: pytest.Item) -> tuple[str, str]:
    """Test and target, as its row names them; no target is an empty one."""
    target = target_of(item)
    return name_without_target(item), "" if target is None else target.name


def missing_capability(node: pytest.Item, info: GuestInfo) -> str:
    """The reason to skip on this guest, empty when it has everything the test needs."""
    return _lacks(info.name, info.reasons, [name for name in _needs(node) if name not in info.capabilities])


def limitation(node: pytest.Item, target: Target) -> str:
    """As `missing_capability`, as far as the target's recipe tells: no guest need be booted to skip then."""
    return _lacks(target.name, target.limits, [name for name in _needs(node) if name in target.limits])


def _needs(node: pytest.Item) -> tuple[str, ...]:
    """What the `requires` markers name, and what the fixtures of a test can't do without."""
    named = [name for marker in node.iter_markers("requires") for name in marker.args]
    if "probe" in getattr(node, "fixturenames", ()):
        named.append(Capability.CALLBACKS)
    return tuple(dict.fromkeys(map(str, named)))


def _lacks(name: str, reasons: Mapping[str, str], missing: list[str]) -> str:
    if not missing:
        return ""
    why = "; ".join(dict.fromkeys(reasons[each] for each in missing if each in reasons))
    return f"{name} lacks {', '.join(missing)}{f': {why}' if why else ''}"


def exclusion(node: pytest.Item | pytest.Collector, target: Target) -> str:
    """Why markers leave this target out, empty when they don't.

    Asked again when a test starts: only then its parameters' own markers are known.
    """
    return next(_exclusions(node, target), "")


def _exclusions(node: pytest.Item | pytest.Collector, target: Target) -> Iterator[str]:
    for marker in node.iter_markers("versions"):
        since, until = _bounds(*marker.args, **marker.kwargs)
        if since is not None and target.version < since:
            yield f"needs Windows {since} or later; {target} is older"
        if until is not None and target.version > until:
            yield f"holds up to Windows {until} only; {target} is newer"
    for marker in node.iter_markers("arch"):
        wanted = [Arch(name) for name in marker.args]
        if target.arch not in wanted:
            yield f"holds on {' and '.join(wanted)} only; {target} is {target.arch}"


def _bounds(
    *, since: str | WindowsVersion | None = None, until: str | WindowsVersion | None = None
) -> tuple[WindowsVersion | None, WindowsVersion | None]:
    return _version(since), _version(until)


def _version(value: str | WindowsVersion | None) -> WindowsVersion | None:
    return WindowsVersion.parse(value) if isinstance(value, str) else value
