"""Notify classes, operations and what each version delivers."""

from itertools import pairwise

import pytest

from harness.registry.notify import NotifyClass, Operation, Post, Pre, delivered_by
from harness.registry.version import (
    MODELLED,
    VISTA,
    VISTA_SP2,
    WIN7,
    WIN10,
    WIN10_22H2,
    WIN11_24H2,
    WS03,
    WS2022,
    XP,
    WindowsVersion,
)


def numbers(version: WindowsVersion) -> list[int]:
    return sorted(int(notify_class) for notify_class in delivered_by(version))


def test_classes_are_numbered_0_to_50() -> None:
    assert [int(notify_class) for notify_class in NotifyClass] == list(range(51))


@pytest.mark.parametrize(
    ("notify_class", "number", "name"),
    [
        (Pre.DeleteKey, 0, "RegNtPreDeleteKey"),
        (Pre.SetValueKey, 1, "RegNtPreSetValueKey"),
        (Pre.QueryMultipleValueKey, 9, "RegNtPreQueryMultipleValueKey"),
        (Post.OpenKey, 13, "RegNtPostOpenKey"),
        (Pre.KeyHandleClose, 14, "RegNtPreKeyHandleClose"),
        (Post.CreateKeyEx, 27, "RegNtPostCreateKeyEx"),
        (Pre.UnLoadKey, 34, "RegNtPreUnLoadKey"),
        (Post.SetKeySecurity, 39, "RegNtPostSetKeySecurity"),
        (NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP, 40, "RegNtCallbackObjectContextCleanup"),
        (Post.SaveMergedKey, 50, "RegNtPostSaveMergedKey"),
    ],
)
def test_documented_names_and_values(notify_class: NotifyClass, number: int, name: str) -> None:
    assert notify_class == number
    assert notify_class.documented_name == name


def test_namespaces_hold_every_class_once_under_its_documented_name() -> None:
    for namespace, prefix in ((Pre, "RegNtPre"), (Post, "RegNtPost")):
        members = {name: value for name, value in vars(namespace).items() if isinstance(value, NotifyClass)}
        assert {prefix + name for name in members} == {value.documented_name for value in members.values()}
    held = {
        value for space in (Pre, Post) for value in vars(space).values() if isinstance(value, NotifyClass)
    }
    assert held == set(NotifyClass) - {NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP}


def test_pre_and_post_pair_up() -> None:
    for notify_class in NotifyClass:
        other = notify_class.counterpart
        if notify_class is NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP:
            assert other is None
            assert not notify_class.is_pre
            assert not notify_class.is_post
            continue
        assert other is not None
        assert other.counterpart is notify_class
        assert other.operation is notify_class.operation
        assert notify_class.is_pre == other.is_post


def test_operations_know_their_classes() -> None:
    assert Operation.SET_VALUE_KEY.pre is Pre.SetValueKey
    assert Operation.SET_VALUE_KEY.post is Post.SetValueKey
    assert Operation.CALLBACK_OBJECT_CONTEXT_CLEANUP.pre is None
    assert len(Operation) == 26


def test_delivery_by_version() -> None:
    assert numbers(XP) == list(range(15))  # B-VER-02
    assert numbers(WS03) == [*range(10), *range(14, 30)]  # B-VER-03
    assert numbers(VISTA) == [*range(10), *range(14, 41)]  # B-VER-04
    assert numbers(VISTA_SP2) == numbers(WIN7) == [*range(10), *range(14, 47)]
    assert numbers(WIN10) == numbers(WIN10_22H2) == [*range(10), *range(14, 49)]
    assert numbers(WS2022) == numbers(WIN11_24H2) == [*range(10), *range(14, 51)]


def test_later_versions_never_lose_a_class() -> None:
    for earlier, later in pairwise(MODELLED[1:]):
        assert delivered_by(earlier) <= delivered_by(later)
