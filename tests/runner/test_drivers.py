"""Kernel drivers and devices under Wine, whose driver host loads a real WDM driver."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from harness.channel.frames import RequestType, RunnerErrorCode
from harness.driver import build_driver, find_project_root
from tests.runner.winehost import RefusedError, StandardRunner, Wine, read_answer

SERVICE_STOPPED, SERVICE_RUNNING = 1, 4
SERVICE_DOES_NOT_EXIST, SERVICE_EXISTS = 1060, 1073
STATUS_BUFFER_TOO_SMALL = 0xC0000023
STATUS_INVALID_DEVICE_REQUEST = 0xC0000010
STATUS_OBJECT_NAME_NOT_FOUND = 0xC0000034


def code(number: int, method: int) -> int:
    """CTL_CODE of the sample (driver-src/samples/traits_methods.c)."""
    return 0x22 << 16 | (0x900 + number) << 2 | method


BUFFERED, NEITHER = code(0, 0), code(3, 3)


@pytest.fixture(scope="module")
def service(wine: Wine, long_runner: StandardRunner) -> Iterator[str]:
    """The sample with all transfer methods, started."""
    sample = find_project_root() / "driver-src" / "samples" / "traits_methods.c"
    wine.path("C:\\traits_methods.sys").write_bytes(build_driver(sample, "x64").unsigned.read_bytes())
    long_runner.ask(
        RequestType.SERVICE_CREATE,
        name="traits",
        path="C:\\traits_methods.sys",
        parameters={"Number": 7, "Wide": 1 << 40, "Text": "größe", "Bytes": b"\0\1\2"},
    )
    assert long_runner.ask(RequestType.SERVICE_QUERY, name="traits") == {
        "exists": True,
        "state": SERVICE_STOPPED,
    }
    # Wine has no NtLoadDriver that works: its service control manager does it.
    answer = long_runner.ask(RequestType.SERVICE_START, name="traits")
    assert answer == {"status": None, "win32": 0, "by": "scm"}
    yield "traits"
    assert long_runner.ask(RequestType.SERVICE_STOP, name="traits") == {
        "status": None,
        "win32": 0,
        "by": "scm",
    }
    assert long_runner.ask(RequestType.SERVICE_DELETE, name="traits") == {}
    assert long_runner.ask(RequestType.SERVICE_QUERY, name="traits") == {"exists": False, "state": None}


def test_a_started_driver_runs(long_runner: StandardRunner, service: str) -> None:
    assert long_runner.ask(RequestType.SERVICE_QUERY, name=service) == {
        "exists": True,
        "state": SERVICE_RUNNING,
    }


def test_parameters_are_below_the_service(long_runner: StandardRunner, service: str) -> None:
    key = f"HKLM\\SYSTEM\\CurrentControlSet\\Services\\{service}"
    line = f"reg query {key}\\Parameters"
    shown = long_runner.ask(RequestType.EXECUTE, command_line=line, timeout_ms=60_000)["stdout"]
    assert isinstance(shown, bytes)
    rows = {tuple(row.split()) for row in shown.splitlines() if row.startswith(b"    ")}
    assert {(b"Number", b"REG_DWORD", b"0x7"), (b"Bytes", b"REG_BINARY", b"000102")} <= rows
    assert (b"Wide", b"REG_QWORD") in {row[:2] for row in rows}
    assert (b"Text", b"REG_SZ") in {row[:2] for row in rows}
    line = f"reg query {key} /v ImagePath"
    shown = long_runner.ask(RequestType.EXECUTE, command_line=line, timeout_ms=60_000)["stdout"]
    assert isinstance(shown, bytes)
    assert b"C:\\traits_methods.sys" in shown


def test_a_driver_of_file_systems_has_its_type_group_and_keys(long_runner: StandardRunner) -> None:
    long_runner.ask(
        RequestType.SERVICE_CREATE, name="flt", path="C:\\flt.sys", file_system=True, group="FSFilter Top"
    )
    try:
        long_runner.ask(
            RequestType.SERVICE_VALUES,
            name="flt",
            key="Instances\\flt Instance",
            values={"Altitude": "370000.1", "Flags": 0},
        )
        key = "HKLM\\SYSTEM\\CurrentControlSet\\Services\\flt"
        answer = long_runner.ask(RequestType.EXECUTE, command_line=f"reg query {key} /s", timeout_ms=60_000)
        shown = answer["stdout"]
    finally:
        long_runner.ask(RequestType.SERVICE_DELETE, name="flt")
    assert isinstance(shown, bytes)
    rows = {tuple(row.split(maxsplit=2)) for row in shown.splitlines() if row.startswith(b"    ")}
    assert {
        (b"Type", b"REG_DWORD", b"0x2"),
        (b"Group", b"REG_SZ", b"FSFilter Top"),
        (b"Altitude", b"REG_SZ", b"370000.1"),
        (b"Flags", b"REG_DWORD", b"0x0"),
    } <= rows
    assert f"{key}\\Instances\\flt Instance".replace("HKLM", "HKEY_LOCAL_MACHINE").encode() in shown


def test_a_service_that_is_not_there_gets_no_values(long_runner: StandardRunner) -> None:
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(RequestType.SERVICE_VALUES, name="nobody made this", key="Instances", values={"A": 1})
    assert (refused.value.error, refused.value.win32) == (RunnerErrorCode.SYSTEM, SERVICE_DOES_NOT_EXIST)


def test_a_service_of_the_same_name_is_refused(long_runner: StandardRunner, service: str) -> None:
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(RequestType.SERVICE_CREATE, name=service, path="C:\\traits_methods.sys")
    assert (refused.value.error, refused.value.win32) == (RunnerErrorCode.SYSTEM, SERVICE_EXISTS)


def test_device_control_brings_data_and_information(long_runner: StandardRunner, service: str) -> None:
    device = "\\\\.\\RegTraits"
    answer = long_runner.ask(RequestType.DEVICE_CONTROL, device=device, code=BUFFERED, data=b"HAL", output=16)
    assert answer == {"status": 0, "information": 3, "data": b"IBM"}
    answer = long_runner.ask(RequestType.DEVICE_CONTROL, device=device, code=NEITHER, data=b"abc", output=3)
    assert answer == {"status": 0, "information": 3, "data": b"cba"}


def test_the_driver_s_own_status_comes_back(long_runner: StandardRunner, service: str) -> None:
    device = "\\\\.\\RegTraits"
    answer = long_runner.ask(RequestType.DEVICE_CONTROL, device=device, code=NEITHER, data=b"abc", output=1)
    assert (answer["status"], answer["data"]) == (STATUS_BUFFER_TOO_SMALL, b"")
    answer = long_runner.ask(RequestType.DEVICE_CONTROL, device=device, code=code(99, 0), data=b"", output=0)
    assert answer["status"] == STATUS_INVALID_DEVICE_REQUEST


def test_an_open_device_serves_several_requests(long_runner: StandardRunner, service: str) -> None:
    opened = long_runner.ask(RequestType.DEVICE_OPEN, device="\\\\.\\RegTraits")
    assert opened["status"] == 0
    handle = opened["handle"]
    for text, shifted in ((b"HAL", b"IBM"), (b"abc", b"bcd")):
        answer = long_runner.ask(
            RequestType.DEVICE_CONTROL, handle=handle, code=BUFFERED, data=text, output=3
        )
        assert answer["data"] == shifted
    assert long_runner.ask(RequestType.DEVICE_CLOSE, handle=handle) == {}
    with pytest.raises(RefusedError, match="handle"):
        long_runner.ask(RequestType.DEVICE_CONTROL, handle=handle, code=BUFFERED, data=b"", output=0)


def test_what_is_written_can_be_read(long_runner: StandardRunner, service: str) -> None:
    device = "\\\\.\\RegTraits"
    written = long_runner.ask(RequestType.DEVICE_WRITE, device=device, data=b"kept in the driver")
    assert (written["status"], written["information"]) == (0, 18)
    read = long_runner.ask(RequestType.DEVICE_READ, device=device, length=64)
    assert (read["status"], read["information"], read["data"]) == (0, 18, b"kept in the driver")


def test_a_device_that_is_not_there_has_a_status(long_runner: StandardRunner) -> None:
    opened = long_runner.ask(RequestType.DEVICE_OPEN, device="\\\\.\\NoSuchDevice")
    assert opened == {"status": STATUS_OBJECT_NAME_NOT_FOUND, "handle": 0}
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(RequestType.DEVICE_READ, device="NoSuchDevice", length=1)
    assert refused.value.status == STATUS_OBJECT_NAME_NOT_FOUND


def test_as_many_devices_as_the_limit_says(long_runner: StandardRunner, service: str) -> None:
    device = "\\\\.\\RegTraits"
    handles = [long_runner.ask(RequestType.DEVICE_OPEN, device=device)["handle"] for _ in range(64)]
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(RequestType.DEVICE_OPEN, device=device)
    assert refused.value.error == RunnerErrorCode.LIMIT
    assert set(handles) == set(range(1, 65))
    for handle in handles:
        long_runner.ask(RequestType.DEVICE_CLOSE, handle=handle)


@pytest.mark.parametrize(
    "type", [RequestType.SERVICE_START, RequestType.SERVICE_STOP, RequestType.SERVICE_DELETE]
)
def test_a_service_that_is_not_there_is_an_error(long_runner: StandardRunner, type: RequestType) -> None:
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(type, name="nobody made this")
    assert (refused.value.error, refused.value.win32) == (RunnerErrorCode.SYSTEM, SERVICE_DOES_NOT_EXIST)


HOLDER = """
#include <stdio.h>
#include <windows.h>
int main(void)
{
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = OpenServiceW(manager, L"kept", SERVICE_QUERY_STATUS);
    puts(service ? "held" : "not there");
    fflush(stdout);
    getchar();
    CloseServiceHandle(service);
    return 0;
}
"""


def test_a_deleted_service_is_gone_whoever_had_it_open(
    wine: Wine, long_runner: StandardRunner, tmp_path: Path
) -> None:
    """As Wine's driver host has, for a moment after it said that the driver has stopped."""
    compiler = shutil.which("x86_64-w64-mingw32-gcc")
    if compiler is None:
        pytest.skip("no mingw-w64 for x64: apt-get install gcc-mingw-w64-x86-64")
    (tmp_path / "holder.c").write_text(HOLDER)
    exe = tmp_path / "holder.exe"
    subprocess.run([compiler, tmp_path / "holder.c", "-o", exe], check=True)
    kept = {"name": "kept", "path": "C:\\kept.sys"}
    long_runner.ask(RequestType.SERVICE_CREATE, **kept)
    with wine.start([exe], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        delete = long_runner.send(RequestType.SERVICE_DELETE, cbor2.dumps({"name": "kept"}))
        create = long_runner.send(RequestType.SERVICE_CREATE, cbor2.dumps(kept))
        for _ in range(50):
            long_runner.send(RequestType.PING, b"it waits")
            assert long_runner.receive().payload == b"it waits"
        holder.communicate(b"\n")
    read_answer(RequestType.SERVICE_DELETE, delete, long_runner.receive())
    read_answer(RequestType.SERVICE_CREATE, create, long_runner.receive())
    long_runner.ask(RequestType.SERVICE_DELETE, name="kept")


def test_a_driver_that_refuses_to_start_is_no_success(long_runner: StandardRunner, wine: Wine) -> None:
    sample = find_project_root() / "driver-src" / "wrong" / "entry_fails.c"
    wine.path("C:\\entry_fails.sys").write_bytes(build_driver(sample, "x64").unsigned.read_bytes())
    long_runner.ask(RequestType.SERVICE_CREATE, name="refuses", path="\\??\\C:\\entry_fails.sys")
    try:
        answer = long_runner.ask(RequestType.SERVICE_START, name="refuses")
        assert answer["by"] == "scm"
        assert answer["win32"] not in (0, None)
    finally:
        long_runner.ask(RequestType.SERVICE_DELETE, name="refuses")
