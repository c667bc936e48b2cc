"""The kernel pool that drivers of a guest hold, by tag and by driver, as far as its system tells.

A tag that nobody had used when the first driver that mentions it started is that driver's own, and so is what
is held with it later. Tags that others use as well say nothing of one driver and are not judged. What Driver
Verifier counts of a driver is whole, whatever its tags are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from harness.channel.errors import RunnerError
from harness.channel.frames import RunnerErrorCode
from harness.channel.holdings import MAX_TAGS, PoolTag, VerifiedDriver
from harness.channel.runner import RunnerClient
from harness.guest.leaks import Held, Holding, pool_words
from harness.machine.inside.pool_tags import framework_tag, mentioned_tags

__all__ = ["PoolAccount", "why_untold"]

#: Driver Verifier's option of pool tracking (devtest/verifier-command-line).
_POOL_TRACKING: Final = 0x8
_SHOWN: Final = 4
_OLD: Final = "the guest's runner is older than this harness; put the runner of this harness into the guest"
_UNTOLD: Final = frozenset({RunnerErrorCode.SYSTEM, RunnerErrorCode.UNSUPPORTED})


def why_untold(error: RunnerError) -> str:
    """Why a guest can't tell what it was asked. Raises the error again where it means something else."""
    if error.code == RunnerErrorCode.UNKNOWN_REQUEST:
        return _OLD
    if error.code in _UNTOLD:
        return error.reason
    raise error


@dataclass
class _Driver:
    """A driver that was installed: the tags it may use, and whose they were found to be."""

    name: str
    mentioned: set[bytes] = field(default_factory=set)
    own: set[bytes] = field(default_factory=set)
    shared: set[bytes] = field(default_factory=set)

    @property
    def limits(self) -> str:
        """What is not known of its pool by tags alone."""
        others = ", ".join(f"'{tag.decode('ascii')}'" for tag in sorted(self.shared)[:_SHOWN])
        told = f"tags that others use as well ({others}), or " if others else ""
        return f"{self.name}: {told}tags that its code computes; with +verifier its pool is counted whole"


class PoolAccount:
    """Asked through `runner`; its calls' errors are raised, but for those that `why_untold` knows."""

    def __init__(self, runner: RunnerClient) -> None:
        self._runner = runner
        self._drivers: dict[str, _Driver] = {}

    def installed(self, service: str, image: bytes) -> None:
        """There is a driver's service, which will load `image` as a file of the same name."""
        driver = self._drivers.setdefault(_file(service), _Driver(f"{service}.sys"))
        driver.mentioned |= set(mentioned_tags(image))
        if tag := framework_tag(service):
            driver.mentioned.add(tag)

    def starting(self, service: str) -> None:
        """A driver is about to start: now it can be told which tags are used without it."""
        driver = self._drivers[_file(service)]
        asked = driver.mentioned - driver.own - driver.shared
        if not asked:
            return
        ours = set(self._owners())
        try:
            used = {found.tag for found in self._ask(asked - ours) if found.used}
        except RunnerError as error:
            why_untold(error)
            return  # `held` will say so
        driver.shared |= used
        driver.own |= asked - used

    def held(self) -> tuple[list[Held], str]:
        """What is held at this moment, and of what that isn't known and why."""
        owners = self._owners()
        verified = self._verified()
        tags: list[PoolTag] = []
        untold = ""
        try:
            tags = self._ask(set(owners))
        except RunnerError as error:
            untold = why_untold(error)
        found = [held for tag in tags for held in _with_tag(tag, owners[tag.tag])]
        for driver, counts in verified:
            found += _beyond(driver.name, counts, [tag for tag in tags if owners[tag.tag] == [driver.name]])
        whole = {driver.name for driver, _ in verified}
        rest = [driver for driver in self._drivers.values() if driver.name not in whole]
        if untold and rest:
            return found, f"{', '.join(driver.name for driver in rest)}: {untold}"
        return found, "; ".join(driver.limits for driver in rest)

    def _owners(self) -> dict[bytes, list[str]]:
        """Each tag that is some driver's own, with the names of all that mention it."""
        owners: dict[bytes, list[str]] = {}
        for driver in self._drivers.values():
            for tag in driver.own:
                owners.setdefault(tag, []).append(driver.name)
        return owners

    def _ask(self, tags: set[bytes]) -> list[PoolTag]:
        wanted = sorted(tags)
        found: list[PoolTag] = []
        for begin in range(0, max(1, len(wanted)), MAX_TAGS):  # without any: whether the guest could tell
            found += self._runner.pool_tags(wanted[begin : begin + MAX_TAGS])
        return found

    def _verified(self) -> list[tuple[_Driver, VerifiedDriver]]:
        """The drivers whose pool Driver Verifier tracks."""
        try:
            found = self._runner.verified_drivers()
        except RunnerError as error:
            why_untold(error)
            return []
        return [
            (self._drivers[each.name.lower()], each)
            for each in found
            if each.flags & _POOL_TRACKING and each.name.lower() in self._drivers
        ]


def _file(service: str) -> str:
    """The name of a service's image, for comparisons."""
    return f"{service}.sys".lower()


def _with_tag(tag: PoolTag, owners: list[str]) -> Iterator[Held]:
    names, text = " and ".join(sorted(owners)), tag.tag.decode("ascii")
    for paged, use in ((True, tag.paged), (False, tag.nonpaged)):
        if use.count:
            yield Held(Holding.POOL, pool_words(names, text, paged=paged), use.count, use.size)


def _beyond(name: str, counts: VerifiedDriver, tags: list[PoolTag]) -> Iterator[Held]:
    """What Driver Verifier counts of a driver beyond what its own tags account for."""
    for paged, use, accounted in (
        (True, counts.paged, [tag.paged for tag in tags]),
        (False, counts.nonpaged, [tag.nonpaged for tag in tags]),
    ):
        count = use.count - sum(each.count for each in accounted)
        if count > 0:
            size = max(0, use.size - sum(each.size for each in accounted))
            yield Held(Holding.POOL, pool_words(name, None, paged=paged), count, size)
