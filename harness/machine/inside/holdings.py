"""What drivers hold in a machine, as far as its system tells: the facts of the leak gate.

Windows has no account of everything by driver. Known are pool (`pool_account`), which of the installed
drivers are loaded, and open keys below the keys of tests: System's, where the kernel's handles are, and those
of the runner, in whose threads callbacks run. A key that was deleted while it was open is not told any more,
so open keys are looked at before a test cleans up as well (`note_open_keys`).
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from harness.channel.answers import ServiceState
from harness.channel.errors import RunnerError
from harness.channel.runner import RunnerClient
from harness.guest.leaks import Held, Holding, Outstanding
from harness.machine.inside.pool_account import PoolAccount, why_untold
from harness.probe.client import SERVICE as PROBE
from harness.registry.paths import MACHINE
from harness.workload.registry import HARNESS_KEY

__all__ = ["Holdings"]

#: Below these are the keys of tests; the second is what 32-bit programs see as the first.
_ROOTS: Final = (HARNESS_KEY, MACHINE / "Software" / "Wow6432Node" / "RegFilterHarness")
#: The process whose handles are the kernel's, since Windows XP.
_SYSTEM: Final = 4
_NO_DRIVER: Final = "no driver was installed in this guest"
_BY_NOBODY: Final = "the system does not tell them by driver"
#: What the system is not asked for; of callbacks and contexts the probe counts its own.
_UNASKED: Final = (
    Holding.CALLBACKS,
    Holding.CONTEXTS,
    Holding.KERNEL_HANDLES,
    Holding.PROCESS_REFERENCES,
)
_AS_HANDLES: Final = "the system does not tell them from handles, and a key that has one counts as open"


class Holdings:
    """What drivers hold in one guest, asked through `runner`. Not for several threads.

    What the runner's calls raise is raised; that a system or a runner can't tell is no error but an answer.
    """

    def __init__(self, runner: RunnerClient) -> None:
        self._runner = runner
        self._pool = PoolAccount(runner)
        #: Names of images by service.
        self._installed: dict[str, str] = {}
        self._running: set[str] = set()
        self._noted: Counter[str] = Counter()

    def installed(self, service: str, image: bytes) -> None:
        """A driver's service was made for `image`."""
        self._installed[service.lower()] = f"{service}.sys"
        self._pool.installed(service, image)

    def starting(self, service: str) -> None:
        """A driver is about to start."""
        self._running.add(service.lower())
        if service.lower() in self._installed:
            self._pool.starting(service)

    def stopped(self, service: str) -> None:
        """A driver did not start, or was unloaded."""
        self._running.discard(service.lower())

    def note_open_keys(self) -> None:
        """As `Guest.note_open_keys`. While another driver than the probe runs, it may have keys open."""
        if not self._installed or self._running - {PROBE}:
            return
        found = self._open_keys()
        if not isinstance(found, str):
            self._noted |= found

    def outstanding(self) -> Outstanding:
        """As `Guest.outstanding`."""
        if not self._installed:
            return Outstanding(unknown=dict.fromkeys(Holding, _NO_DRIVER))
        held = [Held(Holding.DRIVERS, self._installed[service]) for service in self._loaded()]
        unknown = dict.fromkeys(_UNASKED, _BY_NOBODY)
        pool, unknown_pool = self._pool.held()
        held += pool
        if unknown_pool:
            unknown[Holding.POOL] = unknown_pool
        keys = self._open_keys()
        if isinstance(keys, str):
            unknown[Holding.HANDLES] = unknown[Holding.REFERENCES] = keys
        else:
            unknown[Holding.REFERENCES] = _AS_HANDLES
            held += [Held(Holding.HANDLES, what, count) for what, count in (keys | self._noted).items()]
        return Outstanding(tuple(held), unknown)

    def _loaded(self) -> list[str]:
        """Services of drivers that run."""
        return [name for name in self._installed if self._runner.query_service(name) is ServiceState.RUNNING]

    def _open_keys(self) -> Counter[str] | str:
        """Open keys in the words of the gate, or why nobody can tell."""
        found: Counter[str] = Counter()
        for root in _ROOTS:
            try:
                told = self._runner.open_keys(root)
            except RunnerError as error:
                return why_untold(error)
            for key in told.keys:
                if key.process in (_SYSTEM, told.runner):
                    found[f"{key.name}, opened by {key.program or f'process {key.process}'}"] += 1
            if told.count > len(told.keys):
                found[f"more keys below {root}"] += told.count - len(told.keys)
        return found
