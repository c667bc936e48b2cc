"""A runner under Wine as something that runs programs, for tests of its programs."""

from __future__ import annotations

import cbor2

from harness.channel.frames import FAILED, REPLY, RequestType
from harness.workload.codec import decode_result, encode_program
from harness.workload.program import Program
from harness.workload.result import ProgramResult
from tests.runner.winehost import RefusedError, StandardRunner

__all__ = ["ProgramGuest"]


class ProgramGuest:
    """What `harness.workload.Registry` needs of a guest."""

    def __init__(self, runner: StandardRunner) -> None:
        self.runner = runner

    def run(self, program: Program) -> ProgramResult:
        return decode_result(self.run_encoded(encode_program(program)), program)

    def run_encoded(self, data: bytes) -> bytes:
        """The encoded result. Raises `RefusedError` when the runner does not take the program."""
        id = self.runner.send(RequestType.RUN, data)
        frame = self.runner.receive()
        assert frame.id == id
        if frame.type == FAILED:
            raise RefusedError(cbor2.loads(frame.payload))
        assert frame.type == RequestType.RUN | REPLY
        return frame.payload
