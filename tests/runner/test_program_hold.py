"""A program that waits for the host before one of its operations, with its handles open."""

from __future__ import annotations

import time
from pathlib import Path

import cbor2
import pytest

from harness.channel.abi import constant
from harness.channel.frames import FAILED, FrameDecoder, RequestType, RunnerErrorCode, encode_frame
from harness.registry.status import NTSTATUS
from harness.workload import Opcode, Operation, Program, Registry
from harness.workload.codec import decode_result, encode_program
from tests.runner.program_guest import ProgramGuest
from tests.runner.test_oneshot import run
from tests.runner.winehost import PATIENCE, RefusedError, StandardRunner, Wine

NO_HOLD = constant("REGRUN_NO_HOLD")


def arrives(runner: StandardRunner, operation: int) -> dict[str, object]:
    """What HOLD says as soon as the program waits before `operation`; fails when it doesn't come to that."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = runner.ask(RequestType.HOLD, statuses=True)
        if found["held"] and found["operation"] == operation:
            return found
        assert time.monotonic() < deadline, f"it does not wait before operation {operation}: {found}"


def test_it_waits_where_it_is_told_and_goes_on_with_its_handles(runner: StandardRunner) -> None:
    assert runner.ask(RequestType.HOLD, before=2) == {
        "running": False,
        "held": False,
        "operation": 0,
        "statuses": b"",
    }
    runner.ask(RequestType.HOLD, before=NO_HOLD)
    with Registry(ProgramGuest(runner)) as registry:
        registry.set_up()
        p = registry.program()
        key = p.create_key(p.test_root / "app")
        p.delete_value(key, "absent")
        p.set_value(key, "late", 1)
        p.query_value(key, "late")
        built = p.build()
        runner.ask(RequestType.HOLD, before=2)
        id = runner.send(RequestType.RUN, encode_program(built))
        found = arrives(runner, 2)
        codes = [NTSTATUS.SUCCESS, NTSTATUS.OBJECT_NAME_NOT_FOUND]
        assert found["statuses"] == b"".join(int(code).to_bytes(4, "little") for code in codes)
        runner.ask(RequestType.HOLD, before=3)
        arrives(runner, 3)
        runner.send(RequestType.HOLD, cbor2.dumps({"before": NO_HOLD}))
        frames = {frame.type & 0xFF: frame for frame in (runner.receive(), runner.receive())}
        assert frames[RequestType.RUN].id == id
        result = decode_result(frames[RequestType.RUN].payload, built)
    # The key that was opened before the wait is still good after it.
    assert [each.status for each in result.operations] == [*codes, NTSTATUS.SUCCESS, NTSTATUS.SUCCESS]


MARKS = Program.of([Operation(opcode=Opcode.MARK)] * 3)


def test_the_next_program_is_not_held_any_more(runner: StandardRunner) -> None:
    guest = ProgramGuest(runner)
    runner.ask(RequestType.HOLD, before=1000)
    guest.run(MARKS)
    assert runner.ask(RequestType.HOLD)["running"] is False
    runner.ask(RequestType.HOLD, before=0)
    with pytest.raises(RefusedError):
        guest.run_encoded(b"\xff")  # nothing ran
    guest.run(MARKS)


def test_a_program_that_waits_ends_when_the_host_goes_away(runner: StandardRunner) -> None:
    runner.ask(RequestType.HOLD, before=0)
    runner.send(RequestType.RUN, encode_program(MARKS))
    arrives(runner, 0)
    assert runner.close() == 0


def test_a_runner_reached_by_files_says_that_it_can_not(wine: Wine, runner_exe: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(encode_frame(RequestType.HOLD, 1, cbor2.dumps({"before": 1})))
    run(wine, runner_exe, "--request", wine.dos(tmp_path / "in"), "--reply", wine.dos(tmp_path / "out"))
    (answer,) = FrameDecoder().feed((tmp_path / "out").read_bytes())
    assert answer.type == FAILED
    assert cbor2.loads(answer.payload)["error"] == RunnerErrorCode.UNSUPPORTED
