"""A bundle run again, once or many times: by its test where that is here, else by its recorded steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from harness.cleanup import Closing
from harness.errors import InfrastructureError, UsageError
from harness.repro.bundle import Bundle
from harness.repro.missing import check
from harness.repro.recorded import scenario_of
from harness.repro.rerun import find_test, rerun
from harness.repro.trust import check_claim
from harness.repro.unpacked import Unpacked
from harness.repro.verdict import Attempt, Verdict
from harness.repro.worker import Order
from harness.repro.workers import Workers

__all__ = ["Again"]

#: INFRA is tried again so often.
_RETRIES: Final = 2


class Again(Closing):
    """How a bundle is run; a context manager. `notes` say what differs from the failure's own conditions.

    `steps` replays the recorded steps, which is also what happens where the test's file is not here; `trust`
    allows the bundle's assertion then.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        target: str = "",
        driver: Path | None = None,
        earlier: bool = False,
        recipes: Sequence[Path] = (),
        steps: bool = False,
        trust: bool = False,
    ) -> None:
        self.bundle = bundle
        self.target = target or bundle.manifest.target
        self._driver = driver
        self._earlier = earlier
        if driver is not None and not driver.is_file():
            raise UsageError(f"--driver: there is no file {driver}")
        self._test = None if steps else find_test(bundle)
        if self._test is None and not trust:
            check_claim(bundle)
        self.notes = check(bundle, self.target, recipes)
        self._workers: Workers | None = None
        self._stack = ExitStack()
        self._unpacked = self._stack.enter_context(Unpacked(bundle))

    def run(self) -> Attempt:
        """One run on a fresh guest; INFRA is tried again."""
        for _ in range(_RETRIES):
            attempt = self._once()
            if attempt.verdict is not Verdict.INFRA:
                return attempt
        return self._once()

    def repeat(self, times: int, advance: Callable[[Attempt], None] | None = None) -> list[Attempt]:
        """So many runs, one after the other; `advance` is told of each."""
        attempts = []
        for _ in range(times):
            attempts.append(self.run())
            if advance is not None:
                advance(attempts[-1])
        return attempts

    def _once(self) -> Attempt:
        try:
            if self._test is None:
                return self._replayed()
            return rerun(
                self.bundle,
                self._unpacked,
                self._test,
                target=self.target,
                driver=self._driver,
                earlier=self._earlier,
            )
        except InfrastructureError as error:  # one run of many, or one candidate
            return Attempt(Verdict.INFRA, str(error))

    def _replayed(self) -> Attempt:
        """The recorded steps once, judged by the bundle's failure."""
        manifest = self.bundle.manifest
        if self._workers is None:
            self._workers = self._stack.enter_context(Workers(self.bundle, self._unpacked, self.target, 1))
        images = {}
        if self._driver is not None and manifest.own_driver is not None:
            images[manifest.own_driver.member] = self._driver.read_bytes()
        begun = time.monotonic()
        order = Order(scenario_of(self.bundle), self.target, images=images)
        (answer,) = self._workers.ask([order])
        seconds = time.monotonic() - begun
        failure, recorded = answer.failure, manifest.failure
        if failure is None:
            return Attempt(Verdict.NOT_REPRODUCED, "the steps do what they should", seconds=seconds)
        # What was compared is known of replays only; the assertion is the same, so that it failed counts.
        if recorded.crash is None and recorded.outcome is failure.outcome and failure.seen:
            return Attempt(Verdict.REPRODUCED, failure.message, failure, seconds)
        if difference := recorded.differs(failure):
            return Attempt(Verdict.DIFFERENT, difference, failure, seconds)
        return Attempt(Verdict.REPRODUCED, failure.message, failure, seconds)

    def close(self) -> None:
        self._stack.close()
