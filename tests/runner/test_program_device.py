"""Device requests inside a program, to a real driver in Wine's driver host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.channel.frames import RequestType
from harness.driver import build_driver, find_project_root
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from tests.runner.program_guest import ProgramGuest
from tests.runner.winehost import StandardRunner, Wine

DEVICE = "\\\\.\\RegTraits"
IMAGE = "C:\\traits_program.sys"


def _code(number: int, method: int) -> int:
    """CTL_CODE of the sample (driver-src/samples/traits_methods.c)."""
    return 0x22 << 16 | (0x900 + number) << 2 | method


BUFFERED, NEITHER = _code(0, 0), _code(3, 3)


@pytest.fixture
def registry(wine: Wine, long_runner: StandardRunner) -> Iterator[Registry]:
    """A registry beside the sample driver with all transfer methods."""
    sample = find_project_root() / "driver-src" / "samples" / "traits_methods.c"
    wine.path(IMAGE).write_bytes(build_driver(sample, "x64").unsigned.read_bytes())
    long_runner.ask(RequestType.SERVICE_CREATE, name="traits", path=IMAGE)
    try:
        assert long_runner.ask(RequestType.SERVICE_START, name="traits")["win32"] == 0
        with Registry(ProgramGuest(long_runner)) as own:
            yield own
        long_runner.ask(RequestType.SERVICE_STOP, name="traits")
    finally:
        long_runner.ask(RequestType.SERVICE_DELETE, name="traits")


def test_a_device_answers_inside_a_program(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "device")
        buffered = p.device_control(DEVICE, BUFFERED, b"HAL", output=16)
        neither = p.device_control(DEVICE, NEITHER, b"abc", output=3)
        short = p.device_control(DEVICE, NEITHER, b"abc", output=1)
        unknown = p.device_control(DEVICE, _code(99, 0))
        patched = p.device_control(DEVICE, NEITHER, bytes(12), output=12, handles={2: key})
        missing = p.device_control("\\\\.\\NoSuchDevice", BUFFERED)
        with p.on(process="second"):
            elsewhere = p.device_control(DEVICE, BUFFERED, b"HAL", output=3)
    assert (buffered.status, buffered.result.buffer, buffered.result_length) == (0, b"IBM", 3)
    assert (neither.status, neither.result.buffer) == (0, b"cba")
    assert (short.status, short.result.buffer) == (NTSTATUS.BUFFER_TOO_SMALL, b"")
    assert unknown.status == NTSTATUS.INVALID_DEVICE_REQUEST
    assert patched.result.buffer == (bytes(2) + key.handle.to_bytes(8, "little") + bytes(2))[::-1]
    assert missing.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert elsewhere.result.buffer == b"IBM"
