"""A workload for every operation that has notify classes: what it needs, what it does, how it shows.

`prepare` sets the scene in a program of its own, before any rule is set. `act` performs the operation in a
second program and returns its step; beside the operation that program only opens keys. `check` looks
afterwards: its status is `done` when the operation took effect and `undone` when it did not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.registry.access import DELETE, KEY_ALL_ACCESS, KEY_READ, SecurityInformation
from harness.registry.infoclasses import (
    KeyInformationClass,
    KeySetInformationClass,
    KeyValueInformationClass,
)
from harness.registry.notify import NotifyClass, Operation, delivered_by
from harness.registry.paths import RegistryPath
from harness.registry.status import NTSTATUS
from harness.registry.version import WindowsVersion
from harness.workload import ProgramBuilder, Step

__all__ = ["WORKLOADS", "Place", "Workload", "named", "workloads"]

NOT_FOUND: Final = NTSTATUS.OBJECT_NAME_NOT_FOUND
SUCCESS: Final = NTSTATUS.SUCCESS

#: Owner and full control to system and administrators, read to users: differs from what keys inherit.
SDDL: Final = "D:P(A;;KA;;;SY)(A;;KA;;;BA)(A;;KR;;;BU)"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a workload runs. Everything lies below names that belong to this test alone."""

    app: RegistryPath  # the key under test: value "v" = "x", subkey "child"
    mount: RegistryPath  # where hives are loaded
    saved: str  # name of a hive file that `prepare` made
    target: str  # name of a file to be written
    backup: str  # name for the old file of a replace


Prepare = Callable[[ProgramBuilder, Place], None]
Act = Callable[[ProgramBuilder, Place], Step]


@dataclass(frozen=True, slots=True)
class Workload:
    """An operation of the table in `WORKLOADS`."""

    name: str
    operation: Operation
    act: Act
    prepare: Prepare
    check: Act | None = None
    done: int = SUCCESS
    undone: int = SUCCESS
    #: First version whose system has the call at all.
    since: tuple[int, int, int] = (5, 1, 0)
    #: Leaves something behind that only a restart or a revert removes.
    disposable: bool = False
    #: The operation happens at `Place.mount`, not below `Place.app`.
    mounted: bool = False
    #: Its notifications name no key (B-OBJ-08), so a rule can't be tied to one.
    keyless: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def pre(self) -> NotifyClass:
        assert self.operation.pre is not None
        return self.operation.pre

    @property
    def post(self) -> NotifyClass:
        assert self.operation.post is not None
        return self.operation.post

    def expected(self, version: WindowsVersion) -> list[NotifyClass]:
        """What one callback that lets everything pass is told on that Windows, in order."""
        operation = self.operation
        if not version.has_extended_create:
            operation = _BEFORE_EX.get(operation, operation)
        delivered = delivered_by(version)
        return [c for c in (operation.pre, operation.post) if c is not None and c in delivered]

    @property
    def observe_only(self) -> bool:
        """Neither block nor bypass applies (B-NOT-36)."""
        return self.operation is Operation.KEY_HANDLE_CLOSE


_BEFORE_EX: Final = {
    Operation.CREATE_KEY_EX: Operation.CREATE_KEY,
    Operation.OPEN_KEY_EX: Operation.OPEN_KEY,
}


# -- scenes --------------------------------------------------------------------------------------------------


def app(p: ProgramBuilder, at: Place) -> None:
    """The key under test with one value and one subkey."""
    key = p.create_key(at.app)
    p.set_value(key, "v", "x")
    p.create_key(at.app / "child")


def saved(p: ProgramBuilder, at: Place) -> None:
    """The same, and its subkey saved to a file."""
    app(p, at)
    child = p.open_key(at.app / "child", access=KEY_ALL_ACCESS)
    p.set_value(child, "kept", "y")
    p.save_key(child, at.saved)


def loaded(p: ProgramBuilder, at: Place) -> None:
    """The same, and the file loaded as a hive."""
    saved(p, at)
    p.load_key(at.mount, at.saved)


# -- operations ----------------------------------------------------------------------------------------------


def create(p: ProgramBuilder, at: Place) -> Step:
    return p.create_key(at.app / "new")


def create_existing(p: ProgramBuilder, at: Place) -> Step:
    return p.create_key(at.app / "child")


def open_(p: ProgramBuilder, at: Place) -> Step:
    return p.open_key(at.app, access=KEY_READ)


def open_missing(p: ProgramBuilder, at: Place) -> Step:
    return p.open_key(at.app / "missing", access=KEY_READ)


def close(p: ProgramBuilder, at: Place) -> Step:
    return p.close(p.open_key(at.app, access=KEY_READ))


def delete(p: ProgramBuilder, at: Place) -> Step:
    return p.delete_key(p.open_key(at.app / "child", access=DELETE))


def set_value(p: ProgramBuilder, at: Place) -> Step:
    return p.set_value(p.open_key(at.app), "new", "z")


def delete_value(p: ProgramBuilder, at: Place) -> Step:
    return p.delete_value(p.open_key(at.app), "v")


def set_information(p: ProgramBuilder, at: Place) -> Step:
    moment = (0x01C0_0000_0000_0000).to_bytes(8, "little")  # a file time in the year 2000
    return p.set_information_key(p.open_key(at.app), KeySetInformationClass.WRITE_TIME, moment)


def rename(p: ProgramBuilder, at: Place) -> Step:
    return p.rename_key(p.open_key(at.app / "child"), "renamed")


def enumerate_key(p: ProgramBuilder, at: Place) -> Step:
    return p.enumerate_key(p.open_key(at.app), 0, KeyInformationClass.BASIC)


def enumerate_value(p: ProgramBuilder, at: Place) -> Step:
    return p.enumerate_value(p.open_key(at.app), 0, KeyValueInformationClass.FULL)


def query_key(p: ProgramBuilder, at: Place) -> Step:
    return p.query_key(p.open_key(at.app), KeyInformationClass.FULL)


def query_value(p: ProgramBuilder, at: Place) -> Step:
    return p.query_value(p.open_key(at.app), "v")


def query_multiple(p: ProgramBuilder, at: Place) -> Step:
    return p.query_multiple(p.open_key(at.app), ["v"])


def flush(p: ProgramBuilder, at: Place) -> Step:
    return p.flush_key(p.open_key(at.app))


def query_security(p: ProgramBuilder, at: Place) -> Step:
    return p.query_security(p.open_key(at.app), SecurityInformation.DACL)


def set_security(p: ProgramBuilder, at: Place) -> Step:
    return p.set_security(p.open_key(at.app), SecurityInformation.DACL, sddl=SDDL)


def query_name(p: ProgramBuilder, at: Place) -> Step:
    return p.query_object_name(p.open_key(at.app))


def load(p: ProgramBuilder, at: Place) -> Step:
    return p.load_key(at.mount, at.saved)


def unload(p: ProgramBuilder, at: Place) -> Step:
    return p.unload_key(at.mount)


def save(p: ProgramBuilder, at: Place) -> Step:
    return p.save_key(p.open_key(at.app), at.target)


def save_merged(p: ProgramBuilder, at: Place) -> Step:
    return p.save_merged(p.open_key(at.app), p.open_key(at.app / "child"), at.target)


def restore(p: ProgramBuilder, at: Place) -> Step:
    return p.restore_key(p.open_key(at.app), at.saved)


def replace(p: ProgramBuilder, at: Place) -> Step:
    return p.replace_key(p.open_key(at.mount), at.target, at.backup)


def replaceable(p: ProgramBuilder, at: Place) -> None:
    loaded(p, at)
    p.save_key(p.open_key(at.app), at.target)


# -- looking afterwards --------------------------------------------------------------------------------------


def _opens(name: str) -> Act:
    def look(p: ProgramBuilder, at: Place) -> Step:
        return p.open_key(at.app / name, access=KEY_READ)

    return look


def _reads(name: str) -> Act:
    def look(p: ProgramBuilder, at: Place) -> Step:
        return p.query_value(p.open_key(at.app, access=KEY_READ), name)

    return look


def _is_mounted(p: ProgramBuilder, at: Place) -> Step:
    return p.open_key(at.mount, access=KEY_READ)


WORKLOADS: Final = (
    Workload("create", Operation.CREATE_KEY_EX, create, app, _opens("new"), SUCCESS, NOT_FOUND),
    Workload("create-existing", Operation.CREATE_KEY_EX, create_existing, app),
    Workload("open", Operation.OPEN_KEY_EX, open_, app),
    Workload("open-missing", Operation.OPEN_KEY_EX, open_missing, app),
    Workload("close", Operation.KEY_HANDLE_CLOSE, close, app),
    Workload("delete", Operation.DELETE_KEY, delete, app, _opens("child"), NOT_FOUND, SUCCESS),
    Workload("set-value", Operation.SET_VALUE_KEY, set_value, app, _reads("new"), SUCCESS, NOT_FOUND),
    Workload("delete-value", Operation.DELETE_VALUE_KEY, delete_value, app, _reads("v"), NOT_FOUND, SUCCESS),
    Workload("set-information", Operation.SET_INFORMATION_KEY, set_information, app),
    Workload("rename", Operation.RENAME_KEY, rename, app, _opens("renamed"), SUCCESS, NOT_FOUND),
    Workload("enumerate-key", Operation.ENUMERATE_KEY, enumerate_key, app),
    Workload("enumerate-value", Operation.ENUMERATE_VALUE_KEY, enumerate_value, app),
    Workload("query-key", Operation.QUERY_KEY, query_key, app),
    Workload("query-value", Operation.QUERY_VALUE_KEY, query_value, app),
    Workload("query-multiple", Operation.QUERY_MULTIPLE_VALUE_KEY, query_multiple, app),
    Workload("flush", Operation.FLUSH_KEY, flush, app),
    Workload("query-security", Operation.QUERY_KEY_SECURITY, query_security, app),
    Workload("set-security", Operation.SET_KEY_SECURITY, set_security, app),
    Workload("query-name", Operation.QUERY_KEY_NAME, query_name, app),
    Workload(
        "load", Operation.LOAD_KEY, load, saved, _is_mounted, SUCCESS, NOT_FOUND, mounted=True
    ),
    Workload(
        "unload", Operation.UNLOAD_KEY, unload, loaded, _is_mounted, NOT_FOUND, SUCCESS, mounted=True
    ),
    Workload("save", Operation.SAVE_KEY, save, app),
    Workload("save-merged", Operation.SAVE_MERGED_KEY, save_merged, app, keyless=True),
    Workload("restore", Operation.RESTORE_KEY, restore, saved, _reads("kept"), SUCCESS, NOT_FOUND),
    Workload("replace", Operation.REPLACE_KEY, replace, replaceable, disposable=True, mounted=True),
)  # fmt: skip


def named(name: str) -> Workload:
    """The workload of that name."""
    return workloads(name)[0]


def workloads(*names: str, blockable: bool = False) -> tuple[Workload, ...]:
    """Workloads by name, or all; `blockable` leaves out what can only be observed (B-NOT-36)."""
    known = {w.name for w in WORKLOADS}
    for name in names:
        if name not in known:
            raise LookupError(f"no workload {name!r}; there are {', '.join(sorted(known))}")
    return tuple(
        w for w in WORKLOADS if (not names or w.name in names) and not (blockable and w.observe_only)
    )
