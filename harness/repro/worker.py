"""A pytest plugin that performs scenarios instead of tests, in a process of its own.

    python -m pytest -p harness.repro.worker --repro-worker FD [the options of the failed run]

It is pytest so that what the failed run had is there too: plugins given with -p, conftest files, whatever
they changed. Scenarios come over the socket FD, pickled by the process that started this one.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError, InfrastructureError
from harness.repro.failure import Failure
from harness.repro.scenario import Scenario

if TYPE_CHECKING:
    from harness.guest.base import Guest
    from harness.guests import Guests
    from harness.repro.stop import Stop
    from harness.targets import Target

__all__ = ["Answer", "Order", "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What stays the same for all scenarios: images by member, and symbols as (image member, file)."""

    images: dict[str, bytes]
    symbols: dict[str, str] = field(default_factory=dict)
    recipes: tuple[str, ...] = ()
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """Perform `scenario` on `target`; with `observe` also tell what each operation gave."""

    scenario: Scenario
    target: str
    observe: bool = False
    #: Seconds after which a reference guest's driver hangs, a third of a machine's; 0: as always.
    deadline: float = 0.0
    #: Perform as far as this, and tell what is there then.
    stop: Stop | None = None
    #: Images instead of those of the setting, by member.
    images: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """How it ended. `infra`: why nothing can be said; `bug`: the traceback of a mistake of the harness."""

    failure: Failure | None = None
    infra: str = ""
    bug: str = ""
    observed: dict[str, str] = field(default_factory=dict)
    picture: tuple[str, ...] = ()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("harness").addoption(
        "--repro-worker", type=int, metavar="FD", help="used by harness shrink"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> bool:
    """Nothing is collected: there are no tests to run."""
    session.items = []
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Serve until the other side closes."""
    with Connection(session.config.getoption("--repro-worker")) as connection:
        setting: Setting = connection.recv()
        _serve(connection, setting)
    return True


def _serve(connection: Connection, setting: Setting) -> None:
    from pathlib import Path

    from harness.driver.symbols import remember_symbols
    from harness.guests import Guests, GuestSettings

    for member, file in setting.symbols.items():
        remember_symbols(setting.images[member], Path(file))
    with Guests(GuestSettings(channel=setting.channel)) as guests:
        while True:
            try:
                order: Order = connection.recv()
            except EOFError:
                return
            connection.send(_answer(order, setting, guests))


def _answer(order: Order, setting: Setting, guests: Guests) -> Answer:
    from pathlib import Path

    from harness.targets import parse_target

    try:
        target = parse_target(order.target, [Path(each) for each in setting.recipes])
        return _perform(order, {**setting.images, **order.images}, guests, target)
    except InfrastructureError as error:
        return Answer(infra=str(error))
    except HarnessError as error:
        return Answer(infra=f"{order.target}: {error}")
    except Exception:
        return Answer(bug=traceback.format_exc())


def _booted(order: Order, guests: Guests, target: Target) -> Guest:
    if order.deadline and target.recipe is None:
        from harness import reference

        return reference.boot(target.version, arch=target.arch, deadline=order.deadline)
    guest = guests.boot(target)
    if order.deadline and isinstance(seconds := getattr(guest, "call_seconds", None), float):
        guest.call_seconds = min(seconds, 3 * order.deadline)  # type: ignore[attr-defined]
    return guest


def _perform(order: Order, images: dict[str, bytes], guests: Guests, target: Target) -> Answer:
    from harness.repro.observe import observe
    from harness.repro.picture import picture
    from harness.repro.replay import Replay, perform
    from harness.repro.stop import up_to

    guest: Any
    with _booted(order, guests, target) as guest:
        if order.stop is not None:
            replay = Replay(guest, up_to(order.scenario, order.stop), images)
            replay.perform()
            return Answer(picture=tuple(picture(replay, order.stop)))
        if order.observe:
            replay = Replay(guest, order.scenario, images)
            replay.perform()
            return Answer(observed=observe(replay))
        failure = perform(guest, order.scenario, images)
        if failure is not None and not guest.usable and failure.crash is None:
            return Answer(infra=failure.message)  # the machine is gone, and nobody knows of a crash
        return Answer(failure)
