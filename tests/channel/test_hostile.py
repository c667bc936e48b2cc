"""Guests that lie: runners, SSH servers and WinRM services that break the rules."""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.channel.abi import constant
from harness.channel.access import RemoteShell, SshAccess, WinRmAccess
from harness.channel.environment import Environment
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError
from harness.channel.frames import Frame, RequestType
from harness.channel.holdings import PoolTag, read_open_keys, read_pool_tags, read_verified
from harness.channel.opening import open_channel
from harness.channel.quoting import shell_line
from harness.channel.replies import Reply
from harness.channel.runner import RunnerClient
from harness.channel.serial import SerialChannel
from harness.channel.ssh_connect import fingerprint
from harness.errors import HarnessError, UsageError
from harness.workload.registry import HARNESS_KEY
from tests.channel.fake_runner import FakeRunner, Files, Handler, hello
from tests.channel.sshd import Sshd, sshd_is_missing
from tests.channel.winrm_endpoint import Command, WinRmEndpoint, pass_on

PATIENCE = 300.0
PATH = r"C:\x.bin"

Serve = Callable[[dict[int, Handler]], RunnerClient]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A client whose runner answers as it is told."""
    with ExitStack() as stack:

        def make(handlers: dict[int, Handler]) -> RunnerClient:
            ours, theirs = socket.socketpair()
            stack.enter_context(FakeRunner(theirs, handlers))
            return RunnerClient(stack.enter_context(SerialChannel.over(ours, "the guest", timeout=PATIENCE)))

        yield make


def answer(**values: object) -> Handler:
    return lambda request: cbor2.dumps(values)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"major": 2, "minor": 5},
            rf"speaks protocol 2\.5, this harness {constant('REGRUN_PROTOCOL_MAJOR')}\.",
        ),
        ({"program_format": 9}, "format 9, this harness writes 1"),
        ({"arch": "mips"}, "one of x64, x86"),
        ({"pointer_size": 4}, "pointer size"),
        ({"pid": "1"}, "pid"),
        ({"build": "x" * 300}, "build"),
    ],
)
def test_a_runner_of_another_kind_is_refused(changes: dict[str, object], complaint: str) -> None:
    ours, theirs = socket.socketpair()
    with (
        FakeRunner(theirs, {RequestType.HELLO: lambda request: hello(**changes)}),
        pytest.raises(ChannelError, match=complaint),
    ):
        SerialChannel.over(ours, "the guest", timeout=PATIENCE)


def test_keys_that_are_not_known_yet_are_no_trouble() -> None:
    ours, theirs = socket.socketpair()
    handlers: dict[int, Handler] = {
        RequestType.HELLO: lambda request: hello(minor=9, future=[1, {"a": None}])
    }
    with FakeRunner(theirs, handlers), SerialChannel.over(ours, "the guest", timeout=PATIENCE) as channel:
        assert channel.hello.minor == 9


@pytest.mark.parametrize(
    ("size", "data"),
    [(10, b"short"), (3, b"longer than said"), (1 << 62, b"x"), (0, b"x"), (5_000_000, b"x" * 4_194_305)],
)
def test_a_size_that_is_a_lie_is_noticed(serve: Serve, size: int, data: bytes) -> None:
    client = serve({RequestType.FILE_GET: answer(size=size, data=data)})
    with pytest.raises(ChannelError, match=r"FILE_GET|in the guest"):
        client.get(PATH, timeout=PATIENCE)


def test_a_file_that_grows_for_ever_is_noticed(serve: Serve) -> None:
    served = 0

    def grow(request: Frame) -> bytes:
        nonlocal served
        length = cbor2.loads(request.payload)["length"]
        served += length
        return cbor2.dumps({"size": served + 1, "data": bytes(length)})

    with pytest.raises(ChannelError, match="the limit is 20000000"):
        serve({RequestType.FILE_GET: grow}).get(PATH, limit=20_000_000, timeout=PATIENCE)


def test_content_that_changes_on_the_way_is_noticed(serve: Serve) -> None:
    files = Files()
    wrong = answer(size=7, sha256=hashlib.sha256(b"another").digest())
    client = serve({**files.handlers(), RequestType.FILE_DIGEST: wrong})
    with pytest.raises(ChannelError, match="is not what was sent"):
        client.put(PATH, b"content", timeout=PATIENCE)
    with pytest.raises(ChannelError, match="changed while it was read"):
        client.get(PATH, timeout=PATIENCE)


def test_output_beyond_what_is_kept_is_an_error_not_a_cut(serve: Serve) -> None:
    done = {
        "exit_code": 0,
        "stdout": b"",
        "stderr": b"",
        "stderr_lost": 0,
        "timed_out": False,
        "cancelled": False,
    }
    client = serve({RequestType.EXECUTE: answer(**done, stdout_lost=17)})
    with pytest.raises(ChannelError, match="wrote 17 bytes more to stdout"):
        client.execute(["x"], timeout=PATIENCE)
    client = serve({RequestType.EXECUTE: answer(**{**done, "timed_out": True}, stdout_lost=0)})
    with pytest.raises(ChannelTimeoutError):
        client.execute(["x"], timeout=PATIENCE)


ENVIRONMENT: dict[str, Any] = {
    "os": {"major": 10, "minor": 0, "build": 26100, "ubr": None, "service_pack": 0, "product_type": 1},
    "native_arch": "x64",
    "processors": 2,
    "clock_unix_us": 1,
    "uptime_ms": 1,
    "verifier": {"flags": 0, "drivers": []},
    "drivers": [{"name": "ntoskrnl.exe", "size": 1, "base": None}],
    "filters": ["luafv"],
    "secure_boot": True,
}


def read_environment(values: object) -> Environment:
    return Environment.read(Reply.read("ENVIRONMENT", cbor2.dumps(values)))


def read_tags(reply: Reply) -> tuple[PoolTag, ...]:
    return read_pool_tags(reply, (b"Wrng",))


def test_what_a_guest_does_not_know_stays_unknown() -> None:
    found = read_environment({**ENVIRONMENT, "brand new": {"x": [1]}})
    assert (found.build, found.ubr, found.secure_boot, found.hvci) == (26100, None, True, None)
    assert found.drivers is not None
    assert found.drivers[0].name == "ntoskrnl.exe"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("os", None),
        ("processors", 0),
        ("processors", True),
        ("native_arch", "arm64"),
        ("clock_unix_us", -1),
        ("filters", ["x"] * 5000),
        ("filters", "luafv"),
        ("filters", [1]),
        ("drivers", [{"name": "n" * 300, "size": 1}]),
        ("drivers", ["x"]),
        ("verifier", []),
        ("secure_boot", 1),
        ("wine", "8" * 300),
    ],
)
def test_an_environment_out_of_bounds_is_named(key: str, value: object) -> None:
    with pytest.raises(ChannelError, match=key if value != -1 else "malformed"):
        read_environment({**ENVIRONMENT, key: value})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
)


@given(st.sampled_from(sorted(ENVIRONMENT)), ANYTHING)
def test_any_value_is_read_or_refused(key: str, value: object) -> None:
    try:
        read_environment({**ENVIRONMENT, key: value})
    except ChannelError:
        return


COUNTS = (f"{pool}_{count}" for pool in ("paged", "nonpaged") for count in ("allocs", "frees", "bytes"))
TAG: dict[str, Any] = {"tag": b"Wrng", **dict.fromkeys(COUNTS, 1)}
VERIFIED = {"name": "a.sys", "flags": 8, "paged": 1, "nonpaged": 1, "paged_bytes": 1, "nonpaged_bytes": 1}
OPEN = {"process": 4, "program": None, "name": "\\REGISTRY"}


@pytest.mark.parametrize(
    ("read", "values", "complaint"),
    [
        (read_tags, {"tags": [TAG, TAG]}, "tags"),
        (read_tags, {"tags": [{**TAG, "tag": b"Ntfs"}]}, "not asked for"),
        (read_tags, {"tags": [{**TAG, "paged_bytes": -1}]}, "paged_bytes"),
        (read_tags, {"tags": [{**TAG, "nonpaged_frees": 1 << 32}]}, "nonpaged_frees"),
        (read_verified, {"drivers": [VERIFIED] * 1025}, "drivers"),
        (read_verified, {"drivers": [{**VERIFIED, "name": "n" * 40_000}]}, "name"),
        (read_open_keys, {"runner": 1, "count": 0, "keys": [OPEN]}, "count"),
        (read_open_keys, {"runner": 1, "count": 300, "keys": [OPEN] * 257}, "keys"),
        (read_open_keys, {"runner": 1, "count": 1, "keys": [{**OPEN, "process": "4"}]}, "process"),
    ],
)
def test_accounts_out_of_bounds_are_named(
    read: Callable[[Reply], object], values: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ChannelError, match=complaint):
        read(Reply("a test", values))  # type: ignore[arg-type]


def test_counts_that_went_round_and_counts_read_too_early() -> None:
    around = {**TAG, "paged_allocs": 1, "paged_frees": 0xFFFF_FFFF, "nonpaged_allocs": 3, "nonpaged_frees": 4}
    (found,) = read_tags(Reply("a test", {"tags": [around]}))
    assert (found.paged.count, found.nonpaged.count, found.used) == (2, 0, True)


@given(st.binary(max_size=300) | ANYTHING.map(cbor2.dumps))
def test_any_reply_is_read_or_refused(payload: bytes) -> None:
    class Guest:
        def request(self, type: int, payload_out: bytes = b"", *, timeout: float = 60.0) -> bytes:
            return payload

    client = RunnerClient(Guest())
    calls: list[Callable[[], object]] = [
        client.hello,
        client.environment,
        lambda: client.execute(["x"]),
        lambda: client.digest(PATH),
        lambda: client.get(PATH),
        lambda: client.put(PATH, b"x"),
        lambda: client.start_service("x"),
        lambda: client.query_service("x"),
        lambda: client.open_device(r"\\.\X"),
        lambda: client.control_device(1, 0, output=8),
        lambda: client.read_device(1, 8),
        lambda: client.set_clock(1),
        lambda: client.pool_tags((b"Wrng",)),
        client.verified_drivers,
        lambda: client.open_keys(HARNESS_KEY),
    ]
    for call in calls:
        try:
            call()
        except HarnessError:
            continue


# -- SSH --------------------------------------------------------------------------------------------------


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    if reason := sshd_is_missing():
        pytest.skip(reason)
    with Sshd(tmp_path) as server:
        yield server


def ssh_access(server: Sshd, **changes: Any) -> SshAccess:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "user": getpass.getuser(),
        "host_key": server.host_key,
        "port": server.port,
        "key_file": server.user_key,
        "shell": RemoteShell.POSIX,
    }
    return SshAccess(**(values | changes))


def test_another_host_key_is_refused_with_both_fingerprints(sshd: Sshd) -> None:
    other = "SHA256:" + "A" * 43
    with pytest.raises(ChannelError, match=rf"has the key SHA256:[^ ]+ .*pinned is {other}"):
        open_channel(ssh_access(sshd, host_key=other), timeout=PATIENCE)
    line = sshd.user_key.with_suffix(".pub").read_text().rsplit(" ", 1)[0]
    with pytest.raises(ChannelError, match=r"pinned is SHA256:"):
        open_channel(ssh_access(sshd, host_key=line), timeout=PATIENCE)


def test_the_fingerprint_is_as_good_as_the_key(sshd: Sshd) -> None:
    key = base64.b64decode(sshd.host_key.split()[1])
    with open_channel(ssh_access(sshd, host_key=fingerprint(key)), timeout=PATIENCE) as channel:
        assert channel.execute(["echo", "hello"], timeout=PATIENCE).stdout == b"hello\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(sshd: Sshd, mode: int) -> None:
    sshd.user_key.chmod(mode)
    with pytest.raises(UsageError, match=r"chmod 600"):
        open_channel(ssh_access(sshd), timeout=PATIENCE)


def test_without_a_runner_commands_run_under_the_shell(sshd: Sshd) -> None:
    with open_channel(ssh_access(sshd), timeout=PATIENCE) as channel:
        done = channel.execute(
            ["sh", "-c", "cat; echo err >&2; exit 3"], input=b"a\0b" * 99_999, timeout=PATIENCE
        )
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"a\0b" * 99_999, b"err\n")
        with pytest.raises(ChannelError, match=r"does not run in the guest.*put the runner there first"):
            channel.ping(timeout=PATIENCE)
        with pytest.raises(ChannelTimeoutError):
            channel.execute(["sleep", "1000"], timeout=0.3)
        with pytest.raises(ChannelError, match="wrote more than"):
            channel.execute(["cat", "/dev/zero"], timeout=PATIENCE)


@pytest.mark.parametrize(
    "script", ["head -c 9999999 /dev/urandom", "yes RGRN", "printf RGRN; exec sleep 99", "exit 1"]
)
def test_an_ssh_server_whose_runner_is_none(sshd: Sshd, tmp_path: Path, script: str) -> None:
    runner = tmp_path / "runner"
    runner.write_text(f"#!/bin/sh\n{script}\n")
    runner.chmod(stat.S_IRWXU)
    access = ssh_access(sshd, runner=str(runner))
    with open_channel(access, timeout=PATIENCE) as channel, pytest.raises(ChannelError):
        channel.ping(timeout=3)


# -- WinRM ------------------------------------------------------------------------------------------------


def winrm_access(endpoint: WinRmEndpoint, folder: Path, **changes: Any) -> WinRmAccess:
    password = folder / "password"
    password.touch(0o600)
    password.write_text("secret\n")
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "user": "tester",
        "password_file": password,
        "port": endpoint.port,
        "certificate": endpoint.certificate_sha256,
    }
    return WinRmAccess(**(values | changes))


def stubborn(command: Command) -> int:
    """Says something for ever."""
    while True:
        command.write_stdout(b"RGRN" * 5000)


def test_another_certificate_is_refused(tmp_path: Path) -> None:
    with WinRmEndpoint(stubborn, "tester", "secret", https=True) as endpoint:
        with pytest.raises(ChannelError, match="not the machine that was pinned"):
            open_channel(winrm_access(endpoint, tmp_path, certificate="ab" * 32), timeout=PATIENCE)
        assert endpoint.service.actions == []


@pytest.mark.parametrize("https", [False, True])
def test_a_wrong_password_is_refused(tmp_path: Path, https: bool) -> None:
    with WinRmEndpoint(stubborn, "tester", "another", https=https) as endpoint:
        with pytest.raises(ChannelError, match="refused; check user and password"):
            open_channel(winrm_access(endpoint, tmp_path), timeout=PATIENCE)
        assert endpoint.service.actions == []


def test_nothing_readable_goes_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = bytearray()
    receive = socket.socket.recv_into

    def recv_into(self: socket.socket, buffer: Any, *rest: Any) -> int:
        count = receive(self, buffer, *rest)
        heard.extend(bytes(buffer[:count]))
        return count

    monkeypatch.setattr(socket.socket, "recv_into", recv_into)
    run = pass_on(lambda command: ["echo", "a secret answer"])
    with (
        WinRmEndpoint(run, "tester", "secret") as endpoint,
        open_channel(winrm_access(endpoint, tmp_path), timeout=PATIENCE) as channel,
    ):
        assert channel.execute(["a-secret-question"], timeout=PATIENCE).stdout == b"a secret answer\n"
    assert b"multipart/encrypted" in heard
    for word in (b"secret", b"rsp:Shell", b"YSBzZWNyZXQ"):
        assert word not in heard


def test_a_plain_answer_to_an_encrypted_message_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.channel import winrm_endpoint

    def plainly(self: Any, body: bytes) -> None:
        self._answer(200, b"<x/>", {"Content-Type": "application/soap+xml"})

    monkeypatch.setattr(winrm_endpoint._Handler, "_handle_encrypted", plainly)
    with (
        WinRmEndpoint(stubborn, "tester", "secret") as endpoint,
        pytest.raises(ChannelError, match="encrypted message with a plain one"),
    ):
        open_channel(winrm_access(endpoint, tmp_path), timeout=PATIENCE)


@pytest.mark.parametrize(
    "body",
    [b"", b"<", b"<a/>", b"\xff\xfe", b"<a>" * 100_000, b"x" * 8_000_000],
    ids=["nothing", "a stump", "another", "no text", "deep", "endless"],
)
def test_answers_that_make_no_sense_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with WinRmEndpoint(stubborn, "tester", "secret", https=True) as endpoint:
        monkeypatch.setattr(endpoint.service, "handle", lambda message: (200, body))
        with pytest.raises(ChannelError):
            open_channel(winrm_access(endpoint, tmp_path), timeout=PATIENCE)


def test_a_redirection_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.channel import winrm_endpoint

    asked: list[str] = []

    def elsewhere(self: Any) -> None:
        asked.append(self.path)
        self._answer(307, b"", {"Location": "/other"})

    monkeypatch.setattr(winrm_endpoint._Handler, "do_POST", elsewhere)
    with WinRmEndpoint(stubborn, "tester", "secret") as endpoint, pytest.raises(ChannelError):
        open_channel(winrm_access(endpoint, tmp_path), timeout=PATIENCE)
    assert asked == ["/wsman"]


def test_a_runner_that_floods_over_winrm_ends_with_the_callers_time(tmp_path: Path) -> None:
    with WinRmEndpoint(stubborn, "tester", "secret") as endpoint:
        with open_channel(winrm_access(endpoint, tmp_path), timeout=PATIENCE) as channel:
            with pytest.raises(ChannelTimeoutError):
                channel.ping(timeout=2)
            with pytest.raises(ChannelError, match=r"kept|did not end within"):
                channel.execute(["flood"], timeout=PATIENCE)
        assert endpoint.service.shells == 0


def test_the_runner_is_brought_in_with_what_windows_has(tmp_path: Path) -> None:
    lines: list[str] = []
    typed = bytearray()

    def windows(command: Command) -> int:
        lines.append(command.line)
        if command.line.startswith("findstr"):
            while data := command.read():
                typed.extend(data)
        return 1 if "regrun.exe" in command.line and len(lines) == 1 else 0

    content = os.urandom(100_000)
    with (
        WinRmEndpoint(windows, "tester", "secret") as endpoint,
        open_channel(winrm_access(endpoint, tmp_path), timeout=PATIENCE) as channel,
    ):
        channel.put(r"C:\harness\regrun.exe", content, timeout=PATIENCE)
    assert base64.b64decode(bytes(typed)) == content
    assert max(len(line) for line in typed.splitlines()) <= 76
    assert lines[1:] == [
        'if not exist "C:\\harness\\" mkdir "C:\\harness"',
        'findstr "^" > "C:\\harness\\regrun.exe.b64"',
        'certutil -f -decode "C:\\harness\\regrun.exe.b64" "C:\\harness\\regrun.exe"',
        'del "C:\\harness\\regrun.exe.b64"',
    ]


@pytest.mark.parametrize("kind", ["http", "https"])
def test_a_service_that_goes_away_in_the_middle(tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        endpoint = stack.enter_context(
            WinRmEndpoint(
                pass_on(lambda command: [sys.executable, "-c", "import time; time.sleep(1000)"]),
                "tester",
                "secret",
                https=kind == "https",
            )
        )
        channel = stack.enter_context(open_channel(winrm_access(endpoint, tmp_path), timeout=PATIENCE))
        endpoint.__exit__(None, None, None)
        with pytest.raises(ChannelClosedError, match="is the guest up"):
            channel.execute(["x"], timeout=PATIENCE)


# -- command lines ----------------------------------------------------------------------------------------


def test_lines_for_cmd_escape_what_cmd_reads() -> None:
    line = shell_line(RemoteShell.CMD, [r"C:\a b\x.exe", 'say "hi" & go', "%PATH%"])
    assert line == r'^"C:\a b\x.exe^" ^"say \^"hi\^" ^& go^" ^%PATH^%'
    with pytest.raises(UsageError, match="line's end"):
        shell_line(RemoteShell.CMD, ["x", "a\nb"])
    for argv in ([], [""], ["x", "a\0b"]):
        with pytest.raises(UsageError):
            shell_line(RemoteShell.CMD, argv)
