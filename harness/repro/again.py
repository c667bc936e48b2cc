"""A bundle run again, once or many times: by its test where that is here, else by its recorded steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from harness.errors import UsageError
from harness.repro.bundle import Bundle
from harness.repro.missing import check
from harness.repro.rerun import find_test, rerun
from harness.repro.unpacked import Unpacked
from harness.repro.verdict import Attempt, Verdict

__all__ = ["Again"]

#: INFRA is tried again so often.
_RETRIES: Final = 2


class Again:
    """How a bundle is run; a context manager. `notes` say what differs from the failure's own conditions."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        target: str = "",
        driver: Path | None = None,
        earlier: bool = False,
        recipes: Sequence[Path] = (),
    ) -> None:
        self.bundle = bundle
        self.target = target or bundle.manifest.target
        self._driver = driver
        self._earlier = earlier
        if driver is not None and not driver.is_file():
            raise UsageError(f"--driver: there is no file {driver}")
        self.notes = check(bundle, self.target, recipes)
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
        test = find_test(self.bundle)
        if test is None:
            record = self.bundle.manifest.test
            raise UsageError(
                f"the test's file {record.file} is not here; run this in its checkout, "
                "or replay the recorded steps with --steps"
            )
        return rerun(
            self.bundle,
            self._unpacked,
            test,
            target=self.target,
            driver=self._driver,
            earlier=self._earlier,
        )

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
