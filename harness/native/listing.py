"""The cases of a suite on a target: asked of a guest once, kept under what the answer depends on.

Every process of a run must come to the same list in the same order, and only one of them should ask: the
first holds a lock, the others wait and read what it found. A failure is remembered for the run, so that its
processes agree on that, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import GuestCrashed, HarnessError, InfrastructureError, UsageError
from harness.native.run import deploy, deployment, execute, output_text
from harness.native.verdict import exit_words

if TYPE_CHECKING:
    from harness.guest.base import Guest
    from harness.native.spec import NativeSuite
    from harness.targets import Target

__all__ = ["Listing", "ask_guest", "list_cases", "listing_key", "read_cases"]

_MOST_CASES: Final = 20_000
_LONGEST_NAME: Final = 200
_SHOWN: Final = 2000
#: Raise when cases are read differently from the same output.
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Listing:
    """The cases in the executable's own order; or why they could not be had, and then there are none."""

    cases: tuple[str, ...] = ()
    trouble: str = ""


def list_cases(
    suite: NativeSuite,
    target: Target,
    boot: Callable[[Target], Guest] | None,
    folder: Path,
    run: str,
) -> Listing:
    """The suite's cases on `target`; `boot` makes a guest where nobody has asked one before (None: don't).

    Answers are kept in `folder`; `run` names the run, for which troubles are kept. Raises nothing that a
    guest, its image or the executable did: that is the listing's `trouble`.
    """
    if suite.list.cases is not None:
        return _checked(lambda: check_names(suite.list.cases or (), suite))
    try:
        key = listing_key(suite, target)
    except (HarnessError, OSError) as error:
        return Listing(trouble=_words(error))
    place = folder / f"{key}.json"
    with _locked(place):
        kept = _read(place, run)
        if kept is None and boot is None:
            return Listing(trouble="nobody has listed the cases yet")
        if kept is None:
            assert boot is not None
            kept = _checked(lambda: _ask(suite, target, boot))
            _write(place, kept, run)
    return kept


def _ask(suite: NativeSuite, target: Target, boot: Callable[[Target], Guest]) -> tuple[str, ...]:
    with boot(target) as guest:
        return ask_guest(suite, guest)


def ask_guest(suite: NativeSuite, guest: Guest) -> tuple[str, ...]:
    """The cases that the executable lists in this guest.

    Raises `UsageError` where its answer is none, `GuestHung` when it gives none in time, and what the guest
    raises.
    """
    deploy(suite, guest)
    done = execute(suite, guest, suite.list_argv(), suite.list.timeout, f"the list command of {suite.title}")
    output = output_text(done)
    code = done.exit_code & 0xFFFF_FFFF
    if suite.list.exit_codes and code not in suite.list.exit_codes:
        raise UsageError(
            f"{suite.file}: the list command {list(suite.list_argv())} failed ({exit_words(code)}); is "
            f"list.arguments right? It wrote: {output[:_SHOWN]!r}"
        )
    return read_cases(suite, output)


def read_cases(suite: NativeSuite, output: str) -> tuple[str, ...]:
    """Case names in the output of the list command. Raises `UsageError` for none and for impossible ones."""
    pattern = suite.list.pattern
    if pattern is None:
        names = suite.conventions.read(output)
    else:
        names = [found["case"] for found in pattern.finditer(output) if found["case"]]
    if not names:
        raise UsageError(
            f"{suite.file}: the list command named no case; are framework and list.pattern right? "
            f"It wrote: {output[:_SHOWN]!r}"
        )
    return check_names(names, suite)


def check_names(names: Iterator[str] | tuple[str, ...] | list[str], suite: NativeSuite) -> tuple[str, ...]:
    """`names` as they are. Raises `UsageError` for too many, one that is there twice, one no name can be."""
    found: dict[str, None] = {}
    for name in names:
        if name in found:
            raise UsageError(f"{suite.file}: two cases are named {name!r}; results could not tell them apart")
        if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise UsageError(
                f"{suite.file}: {name[:_LONGEST_NAME]!r} is no name of a case: it has 1 to {_LONGEST_NAME} "
                "printable characters"
            )
        found[name] = None
        if len(found) > _MOST_CASES:
            raise UsageError(f"{suite.file}: more than {_MOST_CASES} cases; make several suites of it")
    return tuple(found)


def _checked(find: Callable[[], tuple[str, ...]]) -> Listing:
    try:
        return Listing(find())
    except (HarnessError, OSError) as error:
        return Listing(trouble=_words(error))


def _words(error: Exception) -> str:
    return str(error.bugcheck) if isinstance(error, GuestCrashed) else str(error)


def listing_key(suite: NativeSuite, target: Target) -> str:
    """SHA-256 of what a listing depends on: files, command, and the image that the target is made of.

    Raises what reading them raises.
    """
    files = {path: hashlib.sha256(data).hexdigest() for path, data in deployment(suite, target.arch).items()}
    pattern = suite.list.pattern
    parts: list[Any] = [
        _VERSION,
        target.name,
        _image(target),
        files,
        dict(suite.environment),
        suite.list_argv(),
        suite.list.exit_codes,
        pattern.pattern if pattern is not None else suite.conventions.read.__name__,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _image(target: Target) -> str:
    if target.recipe is None:
        return str(target.version)
    from harness.image.digest import recipe_digest
    from harness.image.recipe import load_recipe

    return recipe_digest(load_recipe(target.recipe))


# -- what is kept ------------------------------------------------------------------------------------------


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with place.with_suffix(".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise InfrastructureError(
            f"{place.parent} can't be used: {error.strerror or error}; name another place with HARNESS_CACHE"
        ) from error


def _read(place: Path, run: str) -> Listing | None:
    """What was kept; None where there is nothing, nothing usable, or the trouble of another run."""
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        cases, trouble = tuple(map(str, kept["cases"])), str(kept["trouble"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if trouble and kept.get("run") != run:
        return None
    return Listing(cases, trouble)


def _write(place: Path, listing: Listing, run: str) -> None:
    kept = {"cases": listing.cases, "trouble": listing.trouble, "run": run}
    with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False, encoding="utf-8") as file:
        json.dump(kept, file)
    Path(file.name).replace(place)
