"""What the suites share: altitudes of the test filters, odd statuses, the scene of a workload."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest

from harness.probe import HIGH, LOW, MIDDLE, Event, Filter, Trace
from harness.probe.event import class_name
from harness.registry.access import KEY_READ
from harness.registry.paths import RegistryPath
from harness.registry.status import NTSTATUS
from harness.workload import ProgramBuilder

__all__ = [
    "HIGH",
    "LOW",
    "MIDDLE",
    "ODD_STATUS",
    "THREE",
    "behaviour",
    "callers",
    "locked",
    "requires",
    "shown",
    "versions",
]

#: The statements of the catalogue a test proves, or measures where their mode is to record.
behaviour = pytest.mark.behaviour
#: The Windows versions a test is about, both ends included.
versions = pytest.mark.versions
#: What a guest must have.
requires = pytest.mark.requires


THREE: Final = (HIGH, MIDDLE, LOW)

#: An error status that no registry routine returns, so it can't come from elsewhere.
ODD_STATUS: Final = 0xC0DE0001


def callers(events: Iterable[Event], *filters: Filter) -> list[int]:
    """Which of `filters` were called, in order, as positions in the argument list."""
    place = {each.id: index for index, each in enumerate(filters)}
    return [place[event.filter_id] for event in events if event.filter_id in place]


def shown(trace: Trace) -> list[str]:
    """The names of a trace's classes, for recording."""
    return [class_name(each) for each in trace.classes]


def locked(p: ProgramBuilder) -> RegistryPath:
    """Make a key that everybody may read and delete (clean-up has to) and nobody may write; its path."""
    path = p.test_root / "locked"
    p.close(p.create_key(path, access=KEY_READ, sddl="D:P(A;;0x30019;;;WD)", expect=NTSTATUS.SUCCESS))
    return path
