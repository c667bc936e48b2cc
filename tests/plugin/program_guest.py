"""Guests that pretend to run executables, for inner runs of pytest, which import this."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # inner runs know no package of tests

from fake_guest import FakeGuest

from harness.channel.errors import ChannelTimeoutError
from harness.errors import GuestCrashed, InfrastructureError
from harness.guest.base import Capability, ExecResult, GuestInfo
from harness.guest.bugcheck import Bugcheck
from harness.guests import Guests
from harness.targets import Target

__all__ = ["install"]


class ProgramGuest(FakeGuest):
    """Its programs are text: a line ``NAME EXIT-CODE OUTPUT`` for each case.

    NUMBER in the output becomes the number of the guest in its process. Instead of the exit code a word says
    what happens: hang, bugcheck or infra. Every call to list is a line of the file that LISTINGS names.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._info = GuestInfo(
            target.name,
            target.kind,
            target.version,
            target.arch,
            capabilities=frozenset({Capability.PROGRAMS}),
        )

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, folder: str | None = None) -> ExecResult:
        if self._dead is not None:
            raise self._dead
        program = self._files[argv[0]].decode()
        cases = {line.split()[0]: line.split(maxsplit=2)[1:] for line in program.splitlines()}
        if argv[1:] == ("--list",):
            with Path(os.environ["LISTINGS"]).open("a") as noted:
                noted.write(f"{self.info.name}\n")
            if "list" in cases:
                self._happen(cases["list"][0], timeout)
            return ExecResult(0, "".join(f"{case}\r\n" for case in cases).encode(), b"")
        case = argv[1]
        output = " ".join(cases[case][1:]).replace("NUMBER", str(self.number)).encode() + b"\r\n"
        if cases[case][0].isdigit():
            return ExecResult(int(cases[case][0]), output, b"")
        self._happen(cases[case][0], timeout)
        return ExecResult(0, output, b"")

    def _happen(self, what: str, timeout: float) -> None:
        match what:
            case "hang":
                raise ChannelTimeoutError(f"did not end within {timeout:g} s")
            case "bugcheck":
                self._dead = GuestCrashed(Bugcheck(0xD1, (1, 2, 3, 4), "wrong.sys"))
                raise self._dead
            case "infra":
                raise InfrastructureError("the disk of the host is full")

    @property
    def usable(self) -> bool:
        return self._dead is None


def install() -> None:
    """Let every target be such a guest."""
    Guests.boot = lambda self, target: ProgramGuest(target)  # type: ignore[method-assign]
