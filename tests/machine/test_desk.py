"""A machine that one process holds and others use, without the machine: what is held answers from memory."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.channel.errors import RunnerError
from harness.errors import InfrastructureError
from harness.guest.base import ExecResult
from harness.machine.desk import attach, hold
from harness.machine.keep.places import Places

TARGET = "vm:mine"


class Held:
    """As much of a MachineGuest as a desk uses."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.watch = SimpleNamespace(call=nullcontext)

    def execute(self, argv: list[str], *, timeout: float) -> ExecResult:
        return ExecResult(3, argv[0].encode(), b"")

    def put(self, path: str, data: Path, *, by_disc: bool | None) -> None:
        self.files[path] = data.read_bytes()

    def put_disc(self, files: dict[str, Path]) -> str:
        self.files |= {f"D:\\{name}": path.read_bytes() for name, path in files.items()}
        return "D:\\"

    def get(self, path: str) -> bytes:
        if path not in self.files:
            raise RunnerError("the runner refused FILE_GET", code=4, win32=2)
        return self.files[path]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(cache=tmp_path / "cache", runtime=tmp_path / "r", memory=None)


@pytest.fixture
def guest() -> Any:
    return Held()


def test_who_finds_a_held_machine_uses_it(places: Places, guest: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"text")
    with hold(guest, TARGET, places=places) as stop:
        desk = attach(TARGET, places=places)
        assert desk is not None
        desk.put("C:\\a.txt", str(source), None)
        assert desk.get("C:\\a.txt") == b"text"
        assert desk.put_disc({"b.txt": str(source)}) == "D:\\"
        assert desk.get("D:\\b.txt") == b"text"
        assert desk.execute(["cmd.exe"], 5.0) == ExecResult(3, b"cmd.exe", b"")
        desk.stop()
        assert stop.wait(120)


def test_nothing_of_a_hold_that_ended_answers(places: Places, guest: Any) -> None:
    assert attach(TARGET, places=places) is None
    with hold(guest, TARGET, places=places):
        pass
    assert attach(TARGET, places=places) is None
    assert [path.suffix for path in (places.runtime / "held").iterdir()] == [".lock"]


def test_a_target_has_one_holder(places: Places, guest: Any) -> None:
    with hold(guest, TARGET, places=places):
        with (
            pytest.raises(InfrastructureError, match=f"harness guest stop {TARGET}"),
            hold(guest, TARGET, places=places),
        ):
            pass
        assert attach(TARGET, places=places) is not None
    with hold(guest, TARGET, places=places):
        assert attach(TARGET, places=places) is not None


def test_a_file_that_is_not_there_is_named(places: Places, guest: Any) -> None:
    with hold(guest, TARGET, places=places):
        desk = attach(TARGET, places=places)
        assert desk is not None
        with pytest.raises(InfrastructureError, match=r"C:\\nope\.txt: there is no such file in the guest"):
            desk.get("C:\\nope.txt")
