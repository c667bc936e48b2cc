"""The same programs on the reference guest and on the runner under Wine: what each operation returns.

Every difference is listed with its reason; one that is listed and gone fails as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from harness.reference import boot
from harness.registry.access import KEY_READ, SecurityInformation
from harness.registry.infoclasses import KeyInformationClass
from harness.registry.options import KeyOptions
from harness.registry.paths import MACHINE
from harness.registry.status import NTSTATUS, status_name
from harness.registry.version import WindowsVersion
from harness.workload import ProgramBuilder, Registry, Step
from tests.runner.program_guest import ProgramGuest
from tests.runner.winehost import StandardRunner


@dataclass(frozen=True)
class Difference:
    """Statuses of operation `index` of a program on the reference guest and on the runner."""

    index: int
    reference: int
    runner: int
    reason: str


def keys(p: ProgramBuilder) -> None:
    key = p.create_key(p.test_root / "keys")
    p.create_key(p.test_root / "keys")
    p.create_key(p.test_root / "no" / "such" / "parent")
    p.create_key(p.test_root / "nodisposition", null_disposition=True)
    p.open_key(p.test_root / "missing")
    p.open_key("", root=key)
    child = p.create_key("child", root=key, class_name="a class")
    p.query_key(child, KeyInformationClass.NODE, length=20)
    p.rename_key(child, "renamed")
    p.enumerate_key(key, 0)
    p.enumerate_key(key, 1)
    p.delete_key(child)
    p.query_key(child)
    p.flush_key(key)
    p.delete_key(p.null_handle())
    p.close(key)
    p.close(key)


def values(p: ProgramBuilder) -> None:
    key = p.create_key(p.test_root / "values")
    p.set_value(key, "a", "text")
    p.set_value(key, None, 5)
    p.set_value(key, "half \ud800", b"")
    for length in (0, 4, 12, 16, 100):
        p.query_value(key, "a", length=length)
    for index in range(4):
        p.enumerate_value(key, index, length=200)
    p.query_value(key, "missing")
    p.delete_value(key, "a")
    p.delete_value(key, "a")
    p.set_value(key, "b", b"data", address=0x10)
    readable = p.open_key(p.test_root / "values", access=KEY_READ)
    p.set_value(readable, "c", 1)
    p.query_value(readable, None)


def objects(p: ProgramBuilder) -> None:
    key = p.create_key(p.test_root / "objects")
    p.query_object(key)
    p.query_object_name(key)
    p.query_security(key, SecurityInformation.DACL)
    p.query_security(key, SecurityInformation.DACL, length=8)
    p.set_security(key, SecurityInformation.DACL, sddl="D:(A;;KA;;;WD)")
    given = p.duplicate_handle(key, target_process="second")
    with p.on(process="second"):
        p.set_value(given, "v", 1)
        p.close(given)
        p.close(given)
    event = p.create_event()
    p.notify_change_key(key, event)
    p.set_value(event, "v", 1)
    p.terminate_process("second")
    p.device_control("\\\\.\\NoSuchDevice", 0x222000)
    p.mark()


def ended_processes(p: ProgramBuilder) -> None:
    """The next process has the same numbers for other objects."""
    with p.on(process="second"):
        former = [p.create_key(p.test_root / "ended") for _ in range(40)]
        memory = p.allocate_memory(64)
        p.close(former[1])
    p.terminate_process("second")
    with p.on(process="second"):
        own = [p.create_key(p.test_root / "next") for _ in range(80)]
        for key in former:
            p.query_key(key)
            p.close(key)
        for key in own:
            p.set_value(key, "v", 1)
        p.set_value(own[0], "w", b"1234", buffer=memory)


def volatile_keys_and_links(p: ProgramBuilder) -> None:
    key = p.create_key(p.test_root / "volatile", options=KeyOptions.VOLATILE)
    p.create_key("lasting", root=key)
    p.create_key("volatile", root=key, options=KeyOptions.VOLATILE)
    target = p.test_root / "volatile" / "volatile"
    link = p.create_key(p.test_root / "link", options=KeyOptions.CREATE_LINK)
    p.set_value(link, "SymbolicLinkValue", str(target).encode("utf-16-le"), type=6)
    p.open_key(p.test_root / "link")
    p.open_key(p.test_root / "link" / "missing")


def hives(p: ProgramBuilder) -> None:
    mount = MACHINE / "RunnerAndReference"
    key = p.create_key(p.test_root / "hives")
    p.set_value(key, "v", "kept")
    p.save_key(key, "saved.dat")
    p.save_key(key, "saved.dat")
    p.load_key(mount, "saved.dat")
    root = p.open_key(mount)
    p.query_value(root, "v")
    p.close(root)
    p.unload_key(mount)
    p.unload_key(mount)
    p.load_key(mount, "missing\\missing.dat")
    p.delete_file("nothing.dat")


def stubs(p: ProgramBuilder) -> None:
    key = p.create_key(p.test_root / "stubs")
    p.set_value(key, "v", 1)
    p.save_key(key, "stubs.dat")
    p.query_multiple(key, ["v"])
    p.set_information_key(key, 0, bytes(8))
    p.restore_key(key, "stubs.dat")
    p.load_app_key("app.dat")
    transaction = p.create_transaction()
    p.create_key(p.test_root / "transacted", transaction=transaction)
    p.commit(transaction)
    p.query_value(key, "v", address=0x10)


def _not_done(*indexes: int) -> tuple[Difference, ...]:
    return tuple(
        Difference(index, NTSTATUS.SUCCESS, NTSTATUS.NOT_IMPLEMENTED, "Wine's stub would report success")
        for index in indexes
    )


_PROGRAMS: dict[Callable[[ProgramBuilder], None], tuple[Difference, ...]] = {
    keys: (),
    values: (),
    objects: (),
    ended_processes: (),
    volatile_keys_and_links: (),
    hives: (
        Difference(
            10,
            NTSTATUS.SUCCESS,
            NTSTATUS.OBJECT_NAME_NOT_FOUND,
            "Windows makes a hive of a missing file (sdk regloadkeya), Wine does not",
        ),
    ),
    stubs: (
        *_not_done(3, 4, 5, 6, 7, 8, 9),
        Difference(
            10,
            NTSTATUS.ACCESS_VIOLATION,
            NTSTATUS.NOT_IMPLEMENTED,
            "Wine ends the thread whose output buffer is no memory",
        ),
    ),
}


#: What differs further for a 32-bit runner.
_PROGRAMS_OF_X86: dict[Callable[[ProgramBuilder], None], tuple[Difference, ...]] = {
    volatile_keys_and_links: (
        Difference(
            5,
            NTSTATUS.SUCCESS,
            NTSTATUS.OBJECT_NAME_NOT_FOUND,
            "the link names its target without the Wow6432Node under which 32-bit processes make keys",
        ),
    ),
}


@pytest.fixture(scope="module")
def reference() -> Iterator[ProgramGuest]:
    with boot(WindowsVersion.parse("10.0.26100")) as guest:
        yield guest  # type: ignore[misc]  # it runs programs, that is all that is asked here


def _run(guest: object, program: Callable[[ProgramBuilder], None]) -> list[Step]:
    with Registry(guest) as registry:  # type: ignore[arg-type]
        with registry.program() as p:
            program(p)
        return p.steps


@pytest.mark.parametrize("program", _PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_means_the_same(
    reference: ProgramGuest,
    long_runner: StandardRunner,
    runner_arch: str,
    program: Callable[[ProgramBuilder], None],
) -> None:
    modelled = _run(reference, program)
    executed = _run(ProgramGuest(long_runner), program)
    found = {
        (theirs.index, status_name(ours.status), status_name(theirs.status))
        for ours, theirs in zip(modelled, executed, strict=True)
        if ours.status != theirs.status
    }
    differences = (*_PROGRAMS[program], *(_PROGRAMS_OF_X86.get(program, ()) if runner_arch == "x86" else ()))
    listed = {(item.index, status_name(item.reference), status_name(item.runner)) for item in differences}
    assert found == listed, "\n".join(f"{step.index} {step.operation}" for step in executed)
    for ours, theirs in zip(modelled, executed, strict=True):
        if ours.status == theirs.status:
            assert ours.disposition == theirs.disposition
            assert (ours.result.handle != 0) == (theirs.result.handle != 0)
