"""Runs the drills of a target: one fault after the other, each on a fresh guest."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.drill.forcing import Way, way_to
from harness.drill.judge import judge
from harness.drill.model import DrillReport, DrillResult, Fault, Verdict
from harness.errors import HarnessError
from harness.guest.bugcheck import Bugcheck

if TYPE_CHECKING:
    from harness.guest.base import Guest
    from harness.targets import Target

__all__ = ["run_drills"]

#: Called before each drill, with the fault.
Progress = Callable[[Fault], object]
#: Every memory may be dumped: the drill asks for it.
_ANY_MEMORY_MIB: Final = 1 << 30


def run_drills(
    target: Target,
    boot: Callable[[], Guest],
    *,
    faults: Iterable[Fault] = tuple(Fault),
    keep: Path | None = None,
    progress: Progress = lambda fault: None,
) -> DrillReport:
    """Force each of `faults` on a fresh guest of `target` that `boot` makes, and judge what was seen.

    Evidence is written into a folder below `keep` for each fault, else into one that is removed again. Raises
    what `boot` raises.
    """
    results = []
    facts: dict[str, str] = {}
    with ExitStack() as stack:
        if keep is None:
            keep = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
        guest: Guest | None = None
        stack.callback(lambda: guest.close() if guest is not None else None)
        for fault in faults:
            progress(fault)
            if guest is None:
                guest = boot()
                facts = facts or _facts(guest)
            way = way_to(fault, guest, target)
            if isinstance(way, str):  # the guest is as good as before
                results.append(DrillResult.impossible(fault, way))
                continue
            folder = keep / fault.value
            folder.mkdir(parents=True)
            results.append(_drill(fault, way, guest, folder))
            used, guest = guest, None
            used.close()
    return DrillReport(target.name, tuple(results), **facts)


def _drill(fault: Fault, way: Way, guest: Guest, folder: Path) -> DrillResult:
    with ExitStack() as stack:
        try:
            force = way.prepare(stack)
        except HarnessError as refused:
            problem = f"can't be forced: {refused}"
            return DrillResult(fault, Verdict.FAILED, problems=(problem,))
        error: HarnessError | None = None
        began = time.monotonic()
        try:
            force()
        except HarnessError as noticed:
            error = noticed
        seen = time.monotonic()
        files = guest.save_evidence(folder, error, memory_mib=_ANY_MEMORY_MIB if way.expected.dump else 0)
        kept = time.monotonic()
    dump, trouble = _dump(folder)
    return judge(
        fault,
        way.expected,
        error,
        noticed_seconds=seen - began,
        kept_seconds=kept - seen,
        evidence=files,
        dump=dump,
        dump_trouble=trouble,
    )


def _dump(folder: Path) -> tuple[Bugcheck | None, str]:
    """What the evidence says of a memory dump in Windows' format: its bugcheck, why it can't be read."""
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text())
    except (OSError, ValueError):
        return None, ""  # a guest without evidence, which is judged elsewhere
    found = index.get("dump")
    if not found:
        return None, ""
    if trouble := found.get("trouble"):
        return None, str(trouble)
    first, second, third, fourth = found["parameters"]
    return Bugcheck(found["code"], (first, second, third, fourth)), ""


def _facts(guest: Guest) -> dict[str, str]:
    """What was drilled, for the record: of a machine only."""
    facts = guest.info.facts
    if not facts.template:
        return {}
    from harness.channel.access import RUNNER_PATH
    from harness.machine.clones.identity import emulator
    from harness.machine.guest import MachineGuest

    assert isinstance(guest, MachineGuest)
    runner = ""
    with suppress(HarnessError):  # an adopted guest has it somewhere else
        runner = guest.runner.digest(RUNNER_PATH).sha256.hex()
    return {
        "image": facts.template,
        "emulator": emulator(guest.machine.spec.hardware.arch),
        "accelerator": facts.accelerator,
        "runner": runner,
    }
