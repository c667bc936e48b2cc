"""The table of workloads: complete, unambiguous, right about versions."""

from __future__ import annotations

import pytest

from harness.registry.notify import NotifyClass, Post, Pre, delivered_by
from harness.registry.version import MODELLED, VISTA, WIN10, WIN81, WS03, XP, WindowsVersion
from suites.workloads import WORKLOADS, named, workloads


def test_names_are_unique() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)


@pytest.mark.parametrize("version", MODELLED, ids=str)
def test_every_class_a_windows_delivers_is_provoked(version: WindowsVersion) -> None:
    """Except the cleanup, which needs a filter that sets a context (suites/contexts/test_cleanup.py)."""
    provoked = {each for workload in WORKLOADS for each in workload.expected(version)}
    assert provoked == delivered_by(version) - {NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP}


def test_expected_classes_follow_the_version() -> None:
    assert named("create").expected(XP) == [Pre.CreateKey, Post.CreateKey]
    assert named("create").expected(WS03) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    assert named("set-value").expected(XP) == [Pre.SetValueKey]
    assert named("flush").expected(WS03) == []
    assert named("save").expected(VISTA) == []
    assert named("query-name").expected(WIN81) == []
    assert named("query-name").expected(WIN10) == [Pre.QueryKeyName, Post.QueryKeyName]


def test_a_check_tells_done_from_undone() -> None:
    for workload in WORKLOADS:
        assert (workload.check is None) == (workload.done == workload.undone), workload


def test_selecting_workloads() -> None:
    assert [w.name for w in workloads("flush", "open")] == ["open", "flush"]
    assert "close" not in {w.name for w in workloads(blockable=True)}
    with pytest.raises(LookupError, match="no workload 'flsh'"):
        workloads("flsh")
