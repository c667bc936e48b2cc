"""Programs on the runner, under Wine: native calls with real effects.

Where Wine differs from Windows: test_program_reference.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from harness.channel.frames import RequestType
from harness.registry.access import (
    KEY_ALL_ACCESS,
    KEY_READ,
    ObjectAttributes,
    SecurityInformation,
)
from harness.registry.infoclasses import KeyInformationClass, KeyValueInformationClass
from harness.registry.options import KeyOptions
from harness.registry.paths import MACHINE
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.workload import FILL_BYTE, Opcode, Operation, Program, Registry
from harness.workload.codec import decode_result, encode_program
from tests.runner.program_guest import ProgramGuest
from tests.runner.test_program_hold import NO_HOLD, arrives
from tests.runner.winehost import PATIENCE, RefusedError, StandardRunner, Wine

DACL = SecurityInformation.DACL


@pytest.fixture
def registry(long_runner: StandardRunner) -> Iterator[Registry]:
    with Registry(ProgramGuest(long_runner)) as own:
        yield own


# -- keys and values --------------------------------------------------------------------------------------


def test_values_come_back_as_they_were_written(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "number", 0x12345678)
        p.set_value(key, "größe 😀", "ein Text")
        p.set_value(key, None, b"")
        p.check_all()
        number, text, default = (p.query_value(key, name) for name in ("number", "größe 😀", None))
        again = p.create_key(p.test_root / "app")
    assert number.dword == 0x12345678
    assert text.text == "ein Text"
    assert (default.type, default.data) == (ValueType.BINARY, b"")
    assert (key.disposition, again.disposition) == (1, 2)
    assert key.name_address != 0
    assert key.handle not in (0, again.handle)


def test_two_names_that_differ_in_half_a_surrogate_pair_are_two(registry: Registry) -> None:
    names = ["half \ud83d", "half \ude00", "whole \U0001f600"]
    with registry.program() as p:
        key = p.create_key(p.test_root / "names")
        for index, name in enumerate(names):
            p.set_value(key, name, index, expect=0)
        found = [p.query_value(key, name) for name in names]
        listed = p.enumerate_values(key, 4)
    assert [step.dword for step in found] == [0, 1, 2]
    assert sorted(listed.names) == sorted(names)
    assert listed[3].status == NTSTATUS.NO_MORE_ENTRIES


def test_an_embedded_nul_is_part_of_a_name(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "nul")
        p.set_value(key, "a\0b", 1, expect=0)
        short = p.query_value(key, "a")
        whole = p.query_value(key, "a\0b")
    assert short.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert whole.dword == 1


def test_a_failed_operation_does_not_stop_the_program(registry: Registry) -> None:
    with registry.program() as p:
        missing = p.open_key(p.test_root / "missing")
        unfilled = p.set_value(missing, "v", 1)
        made = p.create_key(p.test_root / "made")
        p.close(made)
        stale = p.set_value(made, "v", 1)
        null = p.close(p.null_handle())
    assert missing.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert (missing.result.handle, missing.disposition) == (0, None)
    assert {unfilled.status, stale.status, null.status} == {NTSTATUS.INVALID_HANDLE}


def test_subkeys_are_enumerated_renamed_and_deleted(registry: Registry) -> None:
    with registry.program() as p:
        parent = p.create_key(p.test_root / "parent")
        for name in ("one", "two"):
            p.close(p.create_key(name, root=parent))
        one = p.open_key("one", root=parent)
        p.rename_key(one, "uno", expect=0)
        listed = p.enumerate_keys(parent, 3)
        full = p.query_key(parent, KeyInformationClass.FULL)
        refused = p.delete_key(parent)
        p.delete_key(one, expect=0)
        two = p.open_key("two", root=parent)
        p.delete_key(two, expect=0)
        gone = p.open_key("two", root=parent)
    assert sorted(listed.names) == ["two", "uno"]
    assert full.key_information.subkeys == 2
    assert refused.status in (NTSTATUS.CANNOT_DELETE, NTSTATUS.ACCESS_DENIED)  # the second is Wine's
    assert gone.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_a_value_is_deleted_once(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "values")
        p.set_value(key, "v", 1)
        first, second = p.delete_value(key, "v"), p.delete_value(key, "v")
        flushed = p.flush_key(key)
    assert (first.status, second.status, flushed.status) == (0, NTSTATUS.OBJECT_NAME_NOT_FOUND, 0)


def test_a_volatile_key_has_no_lasting_child(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "volatile", options=KeyOptions.VOLATILE)
        child = p.create_key("child", root=key)
    assert child.status == NTSTATUS.CHILD_MUST_BE_VOLATILE


def test_a_link_leads_to_its_target(registry: Registry) -> None:
    with registry.program() as p:
        # A link is followed by the kernel, which knows nothing of a 32-bit process's view of the registry.
        target = p.query_object_name(p.create_key(p.test_root / "target"))
    with registry.program() as p:
        link = p.create_key(p.test_root / "link", options=KeyOptions.CREATE_LINK | KeyOptions.VOLATILE)
        p.set_value(link, "SymbolicLinkValue", target.name.encode("utf-16-le"), type=ValueType.LINK)
        p.check_all()
        through = p.create_key(p.test_root / "link" / "below")
        name = p.query_object_name(through)
        itself = p.open_key(
            p.test_root / "link", attributes=ObjectAttributes.CASE_INSENSITIVE | ObjectAttributes.OPENLINK
        )
        read = p.query_value(itself, "SymbolicLinkValue")
    assert name.name.lower() == f"{target.name}\\below".lower()
    assert read.type == ValueType.LINK


def test_security_is_set_and_read(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "secured")
        before = p.query_security(key, DACL)
        written = p.set_security(key, DACL, sddl="D:(A;;KA;;;WD)")
        after = p.query_security(key, DACL)
        short = p.query_security(key, DACL, length=8)
        nonsense = p.set_security(key, DACL, sddl="this is no descriptor")
    assert written.status == 0
    assert written.input_address != 0
    assert after.output != before.output
    everyone = bytes.fromhex("010100000000000100000000")
    assert everyone in after.output
    assert short.status == NTSTATUS.BUFFER_TOO_SMALL
    assert short.result_length == len(after.output)
    assert nonsense.status == NTSTATUS.INVALID_SECURITY_DESCR


def test_a_handle_has_the_access_it_was_opened_with(registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "access")
        key = p.open_key(p.test_root / "access", access=KEY_READ)
        basic = p.query_object(key)
        refused = p.set_value(key, "v", 1)
    assert basic.object_information.granted_access == KEY_READ
    assert refused.status == NTSTATUS.ACCESS_DENIED


# -- buffers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 4, 12, 16, 22, 23, 100])
def test_a_buffer_holds_what_the_call_wrote_and_no_more(registry: Registry, length: int) -> None:
    data = b"ten bytes!"
    with registry.program() as p:
        key = p.create_key(p.test_root / "buffers")
        p.set_value(key, "v", data)
        read = p.query_value(key, "v", length=length)
    assert read.result_length == 12 + len(data)
    whole = b"\0\0\0\0\3\0\0\0\x0a\0\0\0" + data
    if length < 12:
        assert read.status == NTSTATUS.BUFFER_TOO_SMALL
    elif length < len(whole):
        assert read.status == NTSTATUS.BUFFER_OVERFLOW
        assert read.result.buffer == whole[:length]
    else:
        assert read.status == 0
        assert read.result.buffer == whole
        assert read.buffer == whole.ljust(length, bytes((FILL_BYTE,)))
    assert (read.output_address == 0) == (length == 0)


def test_data_that_ends_in_fill_bytes_is_read_whole(registry: Registry) -> None:
    data = b"x" + bytes((FILL_BYTE,)) * 9
    with registry.program() as p:
        key = p.create_key(p.test_root / "fill")
        p.set_value(key, "v", data)
        read = p.query_value(key, "v")
    assert len(read.result.buffer) == 13
    assert read.data == data


def test_a_pointer_to_nothing_goes_to_the_call(registry: Registry, runner_arch: str) -> None:
    nowhere = 0xFFFF_8000_0000_0000 if runner_arch == "x64" else 0xFFFF_0000
    with registry.program() as p:
        key = p.create_key(p.test_root / "pointers")
        low = p.set_value(key, "v", b"data", address=0x10)
        high = p.set_value(key, "v", b"data", address=nowhere)
        alive = p.set_value(key, "v", b"data")
    assert (low.status, high.status) == (NTSTATUS.ACCESS_VIOLATION, NTSTATUS.ACCESS_VIOLATION)
    assert (low.input_address, high.input_address) == (0x10, nowhere)
    assert alive.status == 0
    if runner_arch == "x86":
        with pytest.raises(RefusedError, match="address lies beyond"), registry.program() as p:
            p.set_value(p.create_key(p.test_root / "pointers"), "v", b"data", address=1 << 32)


def test_a_size_smaller_than_the_data_is_passed_as_said(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "sizes")
        p.set_value(key, "v", b"0123456789", data_size=4, expect=0)
        read = p.query_value(key, "v")
    assert read.data == b"0123"


def test_large_values_pass_through(registry: Registry) -> None:
    data = os.urandom(3_000_000)
    with registry.program() as p:
        key = p.create_key(p.test_root / "large")
        p.set_value(key, "v", data, expect=0)
        read = p.query_value(key, "v", length=len(data) + 64)
    assert read.data == data


# -- files ------------------------------------------------------------------------------------------------


def test_a_saved_hive_is_mounted_again(registry: Registry) -> None:
    mount = MACHINE / f"RunnerTest{os.getpid()}"
    file = registry.file("saved\\hive.dat")
    with registry.program() as p:
        key = p.create_key(p.test_root / "saved")
        p.set_value(key, "v", "kept")
        p.save_key(key, file, expect=0)
        again = p.save_key(key, file)
        p.load_key(mount, file, expect=0)
        mounted = p.open_key(mount)
        read = p.query_value(mounted, "v")
        p.close(mounted)
        p.unload_key(mount, expect=0)
        gone = p.open_key(mount)
        p.delete_file(file, expect=0)
        missing = p.delete_file(file)
    assert again.status == NTSTATUS.OBJECT_NAME_COLLISION
    assert read.text == "kept"
    assert gone.status == missing.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_a_change_is_asked_for_and_the_event_is_one(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "watched")
        event = p.create_event()
        asked = p.notify_change_key(key, event)
        p.set_value(key, "v", 1)
        no_event = p.notify_change_key(key, key)
    assert asked.status == NTSTATUS.PENDING
    assert event.result.handle != 0
    assert no_event.status == NTSTATUS.OBJECT_TYPE_MISMATCH


# -- order, time, threads, processes ----------------------------------------------------------------------


def test_operations_have_their_places_in_time(registry: Registry) -> None:
    with registry.program() as p:
        p.mark("start")
        p.create_key(p.test_root / "time")
        with p.on(process="second"):
            p.open_key(p.test_root / "time")
        with p.on(thread=1):
            p.open_key(p.test_root / "time")
    ticks = [tick for step in p.steps for tick in (step.begin, step.end)]
    assert ticks == sorted(ticks)
    assert ticks[0] == ticks[1]
    assert p.result.frequency > 0


def test_each_thread_is_one_of_its_own_and_stays(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "threads")
        steps = []
        for thread in (0, 1, 15, 1, 0):
            with p.on(thread=thread):
                steps.append(p.set_value(key, "v", thread, expect=0))
        with p.on(process="second", thread=3):
            other = p.open_key(p.test_root / "threads", expect=0)
        with p.on(process="second", thread=4):
            read = p.query_value(other, "v")
    ids = [step.thread_id for step in steps]
    assert (ids[0], ids[1]) == (ids[4], ids[3])
    assert len({*ids, other.thread_id, read.thread_id}) == 5
    assert ids[0] == p.result.thread_id
    assert {step.process_id for step in steps} == {p.result.process_id}
    assert read.dword == 0


def test_a_handle_moves_between_processes(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "moved")
        p.set_value(key, "v", 7)
        given = p.duplicate_handle(key, target_process="second")
        with p.on(process="second"):
            read = p.query_value(given, "v")
            on = p.duplicate_handle(given, target_process="third", access=KEY_READ)
        with p.on(process="third"):
            basic = p.query_object(on)
            refused = p.set_value(on, "v", 8)
            back = p.duplicate_handle(on)
        at_home = p.query_value(back, "v")
    assert read.dword == at_home.dword == 7
    assert basic.object_information.granted_access == KEY_READ
    assert refused.status == NTSTATUS.ACCESS_DENIED
    assert len(set(p.result.process_ids)) == 3
    assert p.result.process_ids == (p.result.process_id, read.process_id, basic.process_id)


def test_an_ended_process_takes_its_handles_with_it(registry: Registry) -> None:
    """The next process' own handles have the same numbers: none of them is taken for one of the former's."""
    with registry.program() as p:
        with p.on(process="second"):
            keys = [p.create_key(p.test_root / "ended", expect=0) for _ in range(40)]
            p.close(keys[0])
        first = p.terminate_process("second", expect=0)
        with p.on(process="second"):
            second = [p.open_key(p.test_root / "ended", expect=0) for _ in range(80)]
            stale = [p.query_key(key) for key in keys]
            closed = [p.close(key) for key in keys]
            still_open = [p.query_key(key) for key in second]
    assert {key.handle for key in keys} & {key.handle for key in second}, "else this proves nothing"
    assert {step.status for step in [*stale, *closed]} == {NTSTATUS.INVALID_HANDLE}
    assert {step.status for step in still_open} == {NTSTATUS.SUCCESS}
    assert first.process_id == keys[0].process_id
    assert second[0].process_id != first.process_id
    assert p.result.process_ids[1] == second[0].process_id


def test_nothing_is_left_open(registry: Registry) -> None:
    """A key with a handle still open could not be unmounted."""
    mount = MACHINE / f"RunnerLeft{os.getpid()}"
    file = registry.file("left.dat")
    with registry.program() as p:
        key = p.create_key(p.test_root / "left")
        p.save_key(key, file, expect=0)
        p.load_key(mount, file, expect=0)
        p.open_key(mount, expect=0)
        with p.on(process="second"):
            p.open_key(mount, expect=0)
    counts = []
    for _ in range(2):
        with registry.program() as p:
            counts.append(p.query_object(p.open_key(mount)))
    with registry.program() as p:
        p.unload_key(mount, expect=0)
    assert [step.object_information.handle_count for step in counts] == [1, 1]


def test_a_slot_filled_twice_loses_no_handle(registry: Registry) -> None:
    """Both handles of one slot are closed at the end: the numbers do not grow from run to run."""
    path = str(registry.test_root / "twice")
    create = Operation(opcode=Opcode.CREATE_KEY, out=0, name=path, access=KEY_ALL_ACCESS)
    registry.note_key(registry.test_root / "twice")
    registry.set_up()
    runs = [registry.guest.run(Program.of([create] * 3)) for _ in range(3)]
    handles = {tuple(operation.handle for operation in run) for run in runs}
    assert len(handles) == 1
    assert len(set(handles.pop())) == 3


def test_a_handle_given_to_another_process_is_closed_there(registry: Registry) -> None:
    """Its number there does not grow from run to run."""
    given = []
    for _ in range(3):
        with registry.program() as p:
            key = p.create_key(p.test_root / "given")
            given.append([p.duplicate_handle(key, target_process="second") for _ in range(2)])
    assert len({tuple(step.handle for step in steps) for steps in given}) == 1


def _helpers(wine: Wine) -> set[int]:
    found = set()
    for pid in wine.processes():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it has just ended
        if b"--helper" in line:
            found.add(pid)
    return found


@pytest.mark.parametrize("killed", [False, True])
def test_helpers_end_with_the_runner(wine: Wine, runner_exe: Path, killed: bool) -> None:
    before = _helpers(wine)
    with StandardRunner(wine, runner_exe) as runner:
        with Registry(ProgramGuest(runner)) as registry, registry.program() as p:
            for process in ("second", "third", "fourth"):
                with p.on(process=process):
                    p.mark()
        started = _helpers(wine) - before
        assert len(started) == 3
        if killed:
            runner.process.kill()
    deadline = time.monotonic() + PATIENCE
    while _helpers(wine) & started:
        assert time.monotonic() < deadline, "helpers outlive their runner"


def test_a_helper_that_dies_is_an_error_of_its_operation(wine: Wine, runner: StandardRunner) -> None:
    before = _helpers(wine)
    with Registry(ProgramGuest(runner)) as registry:
        registry.set_up()
        p = registry.program()
        with p.on(process="fourth"):
            first = p.create_key(p.test_root / "dying", expect=0)
            event = p.create_event()
        with p.on(process="fourth", background=True):
            lost = p.wait(event, milliseconds=None)
        p.mark("held before this one, while the helper waits")
        with p.on(process="fourth"):
            found = p.open_key(p.test_root / "dying")
        built = p.build()
        runner.ask(RequestType.HOLD, before=3)
        id = runner.send(RequestType.RUN, encode_program(built))
        arrives(runner, 3)
        (helper,) = _helpers(wine) - before
        os.kill(helper, signal.SIGKILL)
        runner.send(RequestType.HOLD, cbor2.dumps({"before": NO_HOLD}))
        frames = {frame.id: frame for frame in (runner.receive(), runner.receive())}
        steps = decode_result(frames[id].payload, built).operations
    assert steps[lost.index].status == NTSTATUS.PROCESS_IS_TERMINATING
    assert steps[lost.index].process_id == steps[first.index].process_id
    assert steps[found.index].status == 0
    assert steps[found.index].process_id != steps[first.index].process_id


# -- what is refused --------------------------------------------------------------------------------------


def test_a_malformed_program_is_refused_with_the_reason(long_runner: StandardRunner) -> None:
    guest = ProgramGuest(long_runner)
    with pytest.raises(RefusedError, match=r"operation 1: handle is handle slot 1, the program has 1"):
        guest.run_encoded(bytes.fromhex("83010182821821a08203a16668616e646c6501"))
    with pytest.raises(RefusedError, match="CBOR"):
        guest.run_encoded(b"\xff")


def test_information_classes_are_passed_through(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "classes")
        p.set_value(key, "v", 5)
        basic = p.query_value(key, "v", KeyValueInformationClass.BASIC)
        full = p.query_value(key, "v", KeyValueInformationClass.FULL)
        wrong = p.query_value(key, "v", 99)
    assert basic.name == full.name == "v"
    assert full.dword == 5
    assert wrong.status == NTSTATUS.INVALID_PARAMETER
