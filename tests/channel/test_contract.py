"""What every channel does, and does alike: one suite over serial, SSH and WinRM, regrun.exe under Wine."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.channel import ssh
from harness.channel.base import Channel, Progress
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError, RunnerError
from harness.channel.frames import RequestType
from harness.channel.runner import RunnerClient
from harness.errors import GuestCrashed, UsageError
from harness.guest.bugcheck import Bugcheck
from tests.channel.conftest import PROGRAM, WineGuest

#: Bounds what must happen; no test is about how long it takes.
PATIENCE = 300.0


def links() -> list[threading.Thread]:
    """Threads that read from runners."""
    return [each for each in threading.enumerate() if each.name.startswith("link to")]


def test_exit_codes_and_streams_come_apart(channel: Channel) -> None:
    done = channel.execute([PROGRAM, "say", "one"], timeout=PATIENCE)
    assert (done.exit_code, done.stdout, done.stderr) == (0, b"one\0", b"to stderr")


@pytest.mark.parametrize("code", [1, 255, 256, 0xC0000005])
def test_exit_codes_have_32_bits(channel: Channel, code: int) -> None:
    # An exit status of POSIX has eight bits; behind the runner, and behind WinRM, all 32 arrive.
    if code > 255 and channel.kind == "winrm":
        pytest.skip("the test's endpoint runs wine as a process of POSIX, which keeps eight bits")
    assert channel.execute([PROGRAM, "exit", str(code)], timeout=PATIENCE).exit_code == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["a b", "", "c\td"],
        ['quo"te', '"', '""', 'a\\"b', "back\\slash\\", "two words\\", "\\\\server\\share"],
        ["äöü €", "Ελληνικά", "日本語", "🦊"],
        ["&", "a|b", "<in", ">out", "^", "^^", "(x)", "x & y", "a^b c", "!bang!", "100%", "% 5"],
        ["*.c", "?", "~", "$HOME", "`id`", "#", ";", "'single'", "{a,b}", "-x"],
    ],
    ids=["spaces", "quotes and backslashes", "other scripts", "cmd's signs", "sh's signs"],
)
def test_arguments_arrive_as_they_are(channel: Channel, arguments: list[str]) -> None:
    done = channel.execute([PROGRAM, "say", *arguments], timeout=PATIENCE)
    assert done.stdout.decode().split("\0")[:-1] == arguments


def test_input_goes_in_while_output_comes_out(channel: Channel) -> None:
    data = os.urandom(1_500_000)
    done = channel.execute([PROGRAM, "cat"], input=data, timeout=PATIENCE)
    assert done.stdout == data


def test_a_program_that_is_not_there_is_an_error_or_a_failure(channel: Channel) -> None:
    missing = [r"C:\harness\missing.exe"]
    if channel.kind == "winrm":  # cmd.exe says it
        assert channel.execute(missing, timeout=PATIENCE).exit_code != 0
        return
    with pytest.raises(RunnerError) as caught:
        channel.execute(missing, timeout=PATIENCE)
    assert caught.value.win32 == 2


@pytest.mark.parametrize("size", [0, 1, 200_000, 5_000_000])
def test_files_come_back_as_they_were_put(channel: Channel, size: int, tmp_path: Path) -> None:
    path = rf"C:\harness\new folder\{channel.kind}-{size}\file ä.bin"
    data = os.urandom(size)
    steps: list[tuple[int, int]] = []
    channel.put(path, data, timeout=PATIENCE, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (size, size)
    assert channel.get(path, timeout=PATIENCE) == data
    on_host = tmp_path / "shorter"
    on_host.write_bytes(data[: size // 2])
    channel.put(path, on_host, timeout=PATIENCE)
    assert channel.get(path, timeout=PATIENCE) == data[: size // 2]


def test_a_file_beyond_the_limit_is_refused_and_one_at_it_is_not(channel: Channel) -> None:
    path = rf"C:\harness\{channel.kind}-limit.bin"
    for size in (5000, 2_500_000):
        channel.put(path, bytes(size), timeout=PATIENCE)
        assert len(channel.get(path, limit=size, timeout=PATIENCE)) == size
        with pytest.raises(ChannelError, match=f"{size} bytes; the limit is {size - 1}"):
            channel.get(path, limit=size - 1, timeout=PATIENCE)


def test_a_missing_file_is_an_error(channel: Channel) -> None:
    with pytest.raises(ChannelError, match=r"missing\.bin|FILE_"):
        channel.get(r"C:\harness\missing.bin", timeout=PATIENCE)
    with pytest.raises(UsageError, match="No such file"):
        channel.put(r"C:\harness\x.bin", Path("/no/such/file"), timeout=PATIENCE)


def test_requests_reach_one_runner_that_stays(channel: Channel) -> None:
    runner = RunnerClient(channel)
    first, second = runner.hello(timeout=PATIENCE), runner.hello(timeout=PATIENCE)
    assert first.pid == second.pid
    environment = runner.environment(timeout=PATIENCE)
    assert environment.wine is not None
    assert environment.arch == first.arch == "x64"
    data = os.urandom(300_000)
    assert channel.request(RequestType.PING, data, timeout=PATIENCE) == data
    channel.ping(timeout=PATIENCE)


def test_a_refusal_says_why(channel: Channel) -> None:
    with pytest.raises(RunnerError) as caught:
        RunnerClient(channel).digest(r"C:\harness\nothing.bin", timeout=PATIENCE)
    assert caught.value.win32 == 2


def test_a_digest_is_the_file_s(channel: Channel) -> None:
    path = rf"C:\harness\{channel.kind}-digest.bin"
    channel.put(path, b"content", timeout=PATIENCE)
    found = RunnerClient(channel).digest(path, timeout=PATIENCE)
    assert (found.size, found.sha256) == (7, hashlib.sha256(b"content").digest())


def test_a_time_out_ends_the_program_and_the_channel_goes_on(channel: Channel, wine_guest: WineGuest) -> None:
    path = rf"C:\harness\{channel.kind}-grows"
    file, seconds, said = wine_guest.wine.path(path), 1.0, ""
    # How long a program takes to begin is the host's affair; here it has begun when its time is up.
    while not (file.exists() and "did not end within" in said):
        assert seconds < PATIENCE, said
        seconds *= 3
        with pytest.raises(ChannelTimeoutError) as late:
            channel.execute([PROGRAM, "on", path], timeout=seconds)
        said = str(late.value)
    assert channel.execute([PROGRAM, "say", "on"], timeout=PATIENCE).stdout == b"on\0"
    programs = wine_guest.wine.processes()
    assert wine_guest.wine.still_running(programs, f"{PROGRAM}\0on\0{path}".encode()) == []


def test_endless_output_is_cut_off(channel: Channel) -> None:
    with pytest.raises(ChannelError, match=r"kept|within"):
        channel.execute([PROGRAM, "on"], timeout=10)
    assert channel.execute([PROGRAM, "say"], timeout=PATIENCE).exit_code == 0


def test_a_ping_goes_beside_a_command(channel: Channel, wine_guest: WineGuest) -> None:
    path = rf"C:\harness\{channel.kind}-beside"
    file, deadline = wine_guest.wine.path(path), Deadline.after(PATIENCE)
    channel.ping(timeout=PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(channel.execute, [PROGRAM, "until-gone", path], timeout=PATIENCE)
        while not file.exists() and not call.done():
            assert not deadline.passed
        channel.ping(timeout=PATIENCE)
        assert not call.done()
        file.unlink()
        assert call.result().exit_code == 0


def test_a_watcher_ends_the_running_call(fresh: Channel) -> None:
    fresh.ping(timeout=PATIENCE)
    started = threading.Event()
    crash = GuestCrashed(Bugcheck(0xE2, (0, 0, 0, 0)))

    def run() -> None:
        started.set()
        fresh.execute([PROGRAM, "on", r"C:\harness\watched"], timeout=PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(run)
        started.wait()
        fresh.fail(crash)
        assert call.exception() is crash
    for later in (fresh.ping, lambda: fresh.get(r"C:\x"), lambda: fresh.execute(["x"])):
        with pytest.raises(GuestCrashed):
            later()


def test_use_after_close_says_so(fresh: Channel) -> None:
    fresh.ping(timeout=PATIENCE)
    before = len(links())
    fresh.close()
    fresh.close()
    calls = (
        fresh.ping,
        lambda: fresh.get(r"C:\x"),
        lambda: fresh.put(r"C:\x", b""),
        lambda: fresh.execute(["x"]),
        lambda: fresh.request(RequestType.PING),
    )
    for call in calls:
        with pytest.raises(ChannelClosedError, match="closed"):
            call()
    assert len(links()) == before - 1


def test_what_arrived_over_sftp_is_compared(wine_guest: WineGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    """SFTP knows a file's size alone; the runner knows its digest."""
    real = ssh.sftp_put

    def spoilt(sftp: Any, files: str, path: str, source: bytes, progress: Progress | None) -> None:
        real(sftp, files, path, bytes(len(source)), progress)

    monkeypatch.setattr(ssh, "sftp_put", spoilt)
    with wine_guest.open("ssh") as channel, pytest.raises(ChannelError, match="is not what was sent"):
        channel.put("C:\\harness\\spoilt.bin", b"content")
