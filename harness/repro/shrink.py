"""Shrinking: a scenario reduced to what still fails in the same way, written as a test and proven.

The judge is the failure of the whole scenario, performed twice: the code, driver and function of a bugcheck;
the operation and statuses of an expectation; the values that an assertion compared, with the statuses of the
operations it speaks of. What differs between these two performances is left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from harness.errors import HarnessError, UsageError
from harness.repro.bundle import Bundle
from harness.repro.chance import ALWAYS, Chance, failing_of
from harness.repro.control import claim_from
from harness.repro.dependencies import Dependencies
from harness.repro.failure import Failure
from harness.repro.literal import NotPlainError
from harness.repro.recorded import scenario_of
from harness.repro.reduce import first_success, reduce_elements
from harness.repro.render import TestSource, render
from harness.repro.scenario import AddFilter, Element, Scenario, SetRule
from harness.repro.simplify import simpler
from harness.repro.worker import Answer, Order
from harness.results.outcome import Outcome

__all__ = ["Judge", "Performs", "Shrunk", "Size", "shrink", "write_test"]

#: Rounds of making things simpler; each takes everything there is once.
_ROUNDS: Final = 20
#: What hangs a reference guest while it is shrunk; the written test is proven with the usual deadline.
_HANG_SECONDS: Final = 3.0

#: How a scenario is to be performed.
MakeOrder = Callable[[Scenario], Order]


class Performs(Protocol):
    """Whoever performs scenarios: `harness.repro.workers.Workers`."""

    jobs: int

    def ask(self, orders: Sequence[Order]) -> Sequence[Answer]: ...

    def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Size:
    """How much a scenario holds."""

    operations: int
    rules: int
    filters: int

    @classmethod
    def of(cls, scenario: Scenario) -> Size:
        return cls(scenario.operations, scenario.count(SetRule), scenario.count(AddFilter))

    def __str__(self) -> str:
        return f"{self.operations} operations, {self.rules} rules, {self.filters} filters"


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The minimum, how it fails, and what told that it fails in the same way.

    `interrupted`: the search was ended before it was done, and this is the smallest that was found.
    """

    scenario: Scenario
    failure: Failure
    before: Size
    after: Size
    oracle: str
    performed: int
    chance: Chance = ALWAYS
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """What the search may not leave out, though it fails without."""

    filters: bool
    driver: bool


class Judge:
    """Says whether scenarios still fail in the same way; each is performed once, or as often as chance wants.

    `best` is the last one of which the answer was yes: the smallest so far.
    """

    def __init__(
        self,
        workers: Performs,
        order: MakeOrder,
        failure: Failure,
        control: MakeOrder | None = None,
        trials: int = 1,
    ) -> None:
        self._workers = workers
        self._order = order
        self._failure = failure
        self._control = control
        self._trials = trials
        self._known: dict[str, bool] = {}
        self.best: Scenario | None = None

    @property
    def performed(self) -> int:
        return len(self._known)

    def __call__(self, scenarios: Sequence[Scenario]) -> list[bool]:
        keys = [scenario.key() for scenario in scenarios]
        fresh = {
            key: scenario for key, scenario in zip(keys, scenarios, strict=True) if key not in self._known
        }
        same = self._failing(fresh)
        self._known.update(dict.fromkeys(fresh, False))
        if same and self._control is not None:
            # Where everything is right it must pass: else it fails for another reason.
            controls = self._workers.ask([self._control(fresh[key]) for key in same])
            same = [key for key, answer in zip(same, controls, strict=True) if answer.failure is None]
        self._known.update(dict.fromkeys(same, True))
        verdicts = [self._known[key] for key in keys]
        self.best = next((each for each, fails in zip(scenarios, verdicts, strict=True) if fails), self.best)
        return verdicts

    def _failing(self, scenarios: Mapping[str, Scenario]) -> list[str]:
        """The keys of those that fail, in their order."""
        failing: set[str] = set()
        for _ in range(self._trials):
            left = {key: each for key, each in scenarios.items() if key not in failing}
            if not left:
                break
            answers = self._workers.ask([self._order(each) for each in left.values()])
            same = (self._is_same(answer.failure) for answer in answers)
            failing |= {key for key, fails in zip(left, same, strict=True) if fails}
        return [key for key in scenarios if key in failing]

    def _is_same(self, failure: Failure | None) -> bool:
        return failure is not None and not self._failure.differs(failure)


def shrink(
    bundle: Bundle,
    workers: Performs,
    target: str,
    *,
    control: str = "",
    without_driver: bool = False,
    keep_filters: bool = False,
    told: Callable[[str, Size], None] | None = None,
) -> Shrunk:
    """Reduce a bundle's scenario. Raises `UsageError` where it does not fail here, or not as recorded.

    `control` is a target where the steps are right; `without_driver` makes the same target without the driver
    under test the control; `keep_filters` leaves filters and rules in it. Without a control the driver under
    test stays where an assertion failed. `told` hears of every step forward.
    A KeyboardInterrupt ends the search with what it has found.
    """
    scenario = scenario_of(bundle)
    order = _order(scenario.failure, target)
    control_order = _control_order(scenario, order, control, without_driver)
    scenario, failure, chance = _baseline(scenario, workers, order, control_order)
    oracle = _oracle(failure)
    before = Size.of(scenario)
    judge = Judge(workers, order, failure, control_order, chance.trials)
    if not judge([scenario])[0]:
        raise UsageError(_not_the_control(control, without_driver, chance))
    if control_order is not None:
        oracle += f"; passes {_control_name(control)}"
    if chance.trials > 1:
        oracle += f"; {chance}"
    tell = told or (lambda what, size: None)
    interrupted = False
    try:
        # A test of a driver fails without it, too, where it asserts what the driver should do.
        about_driver = failure.outcome is Outcome.FAIL and control_order is None
        keep = Keep(filters=keep_filters, driver=about_driver and bool(scenario.own_service))
        scenario = _smallest(scenario, judge, workers.jobs, keep, tell)
    except KeyboardInterrupt:
        workers.abandon()
        interrupted = True
        scenario = judge.best or scenario
    return Shrunk(scenario, failure, before, Size.of(scenario), oracle, judge.performed, chance, interrupted)


def _smallest(
    scenario: Scenario, judge: Judge, width: int, keep: Keep, tell: Callable[[str, Size], None]
) -> Scenario:
    """Left out and made simpler in turns, until nothing changes any more."""
    for _ in range(_ROUNDS):
        smaller = _reduced(scenario, judge, width, keep, tell)
        simple = _simplified(smaller, judge, width, tell)
        if simple.key() == scenario.key():
            break
        scenario = simple
    return scenario


def _order(failure: Failure, target: str) -> MakeOrder:
    """How scenarios are performed on the target that fails."""
    deadline = _HANG_SECONDS if failure.outcome is Outcome.HANG else 0.0
    return lambda scenario: Order(scenario, target, deadline=deadline)


def _control_order(
    scenario: Scenario, order: MakeOrder, control: str, without_driver: bool
) -> MakeOrder | None:
    if without_driver:
        if not scenario.own_service:
            raise UsageError("--without-driver: no driver under test is in the bundle")
        return lambda each: order(each.without_driver(each.own_service))
    if control:
        return lambda each: Order(each, control)
    return None


def _control_name(control: str) -> str:
    return f"on {control}" if control else "without the driver"


def _not_the_control(control: str, without_driver: bool, chance: Chance) -> str:
    if not control and not without_driver:
        return f"the whole test fails by chance ({chance}), and did not fail when it was tried again"
    where = _control_name("" if without_driver else control)
    return f"the whole test fails {where} too: that is no control; take one where it passes"


def _baseline(
    scenario: Scenario,
    workers: Performs,
    order: MakeOrder,
    control: MakeOrder | None,
) -> tuple[Scenario, Failure, Chance]:
    """The scenario with its claim, how it fails here, and how often."""
    recorded = scenario.failure
    if scenario.claim is None and _needs_claim(recorded):
        if control is None:
            raise UsageError(
                "no assertion can tell whether the steps alone fail: give --control TARGET, where the test "
                "passes, or --without-driver"
            )
        scenario = _with_claim_of_control(scenario, workers, order, control)
    failing, chance = failing_of(
        lambda times: [answer.failure for answer in workers.ask([order(scenario)] * times)]
    )
    failure = _stable(failing, chance)
    if recorded.outcome is not failure.outcome or (recorded.crash is not None and recorded.differs(failure)):
        raise UsageError(f"the steps fail here, but in another way: {recorded.differs(failure)}")
    return scenario, failure, chance


def _needs_claim(failure: Failure) -> bool:
    return failure.outcome is Outcome.FAIL and failure.status is None


def _with_claim_of_control(
    scenario: Scenario, workers: Performs, order: MakeOrder, control: MakeOrder
) -> Scenario:
    both = [replace(make(scenario), observe=True) for make in (order, control)]
    seen, right = workers.ask(both)
    claim = claim_from(scenario, seen.observed, right.observed)
    if claim is None:
        raise UsageError("the steps do the same on the control: nothing to tell the failure by")
    return replace(scenario, claim=claim)


def _stable(failing: Sequence[Failure], chance: Chance) -> Failure:
    """What two performances of the same have in common."""
    if not failing:
        raise UsageError(
            f"the recorded steps fail none of {chance.runs} times here. The test may rest on time, or on "
            "what earlier tests left: harness repro BUNDLE --times 20 (--earlier) tells how often it fails"
        )
    first, second = failing[0], failing[-1]
    same = {name: text for name, text in first.seen.items() if second.seen.get(name) == text}
    failure = replace(first, seen=same)
    if difference := failure.differs(second):
        raise UsageError(f"the recorded steps fail differently each time: {difference}")
    if first.seen and not same:
        raise UsageError("what the assertion compares is different each time; nothing to tell the failure by")
    return failure


def _oracle(failure: Failure) -> str:
    if failure.crash is not None:
        return f"{failure.outcome}: {failure.crash}"
    return "; ".join(f"{name}: {text}" for name, text in failure.seen.items()) or failure.message


def _reduced(
    scenario: Scenario, judge: Judge, width: int, keep: Keep, tell: Callable[[str, Size], None]
) -> Scenario:
    """Everything left out that can be."""
    dependencies = Dependencies(scenario, keep_filters=keep.filters, keep_driver=keep.driver)

    def trial(candidates: Sequence[frozenset[Element]]) -> Sequence[bool]:
        scenarios = [scenario.only(each) for each in candidates]
        verdicts = judge(scenarios)
        for smaller, fails in zip(scenarios, verdicts, strict=True):
            if fails:
                tell("left out", Size.of(smaller))
                break
        return verdicts

    kept = reduce_elements(list(scenario.elements()), dependencies.closed, trial, width, dependencies.pinned)
    return scenario.only(kept)


def _simplified(scenario: Scenario, judge: Judge, width: int, tell: Callable[[str, Size], None]) -> Scenario:
    """Every option and condition gone that can go."""
    while (found := first_success(simpler(scenario), judge, width)) is not None:
        scenario = found
        tell("made simpler", Size.of(scenario))
    return scenario


def write_test(shrunk: Shrunk, bundle: Bundle, file: Path, docstring: str) -> TestSource:
    """Write the test and what belongs beside it. Raises `UsageError` where source can't say it."""
    try:
        source = render(shrunk.scenario, docstring)
    except (NotPlainError, HarnessError) as error:
        raise UsageError(f"the minimum can't be written as a test: {error}") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    drivers = {driver.member: driver for driver in bundle.manifest.drivers}
    for name, member in source.beside.items():
        (file.parent / name).write_bytes(bundle.image(drivers[member]))
        for symbols in drivers[member].symbols:
            (file.parent / name).with_suffix(Path(symbols).suffix).write_bytes(bundle.read(symbols))
    file.write_text(source.text, encoding="utf-8")
    return source
