"""Files and commands under Wine."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import cbor2
import pytest

from harness.channel.frames import RequestType, RunnerErrorCode
from tests.runner.winehost import RefusedError, StandardRunner, Wine, read_answer

FILE_NOT_FOUND = 2


def test_a_file_is_put_in_pieces_into_folders_that_are_made(long_runner: StandardRunner, wine: Wine) -> None:
    path = "C:\\made\\for\\this\\größe.bin"
    content = random.Random(1).randbytes(200_000)
    for start in range(0, len(content), 64_000):
        answer = long_runner.ask(
            RequestType.FILE_PUT,
            path=path,
            offset=start,
            data=content[start : start + 64_000],
            truncate=not start,
        )
        assert answer == {"size": min(start + 64_000, len(content))}
    assert wine.path(path).read_bytes() == content
    assert long_runner.ask(RequestType.FILE_DIGEST, path=path) == {
        "size": len(content),
        "sha256": hashlib.sha256(content).digest(),
    }
    assert long_runner.ask(RequestType.FILE_GET, path=path, offset=1000, length=50) == {
        "data": content[1000:1050],
        "size": len(content),
    }
    # Fewer bytes at the end only, and none beyond it.
    assert (
        long_runner.ask(RequestType.FILE_GET, path=path, offset=len(content) - 5, length=50)["data"]
        == content[-5:]
    )
    assert long_runner.ask(RequestType.FILE_GET, path=path, offset=1 << 40, length=50)["data"] == b""
    assert long_runner.ask(RequestType.FILE_DELETE, path=path) == {}
    assert not wine.path(path).exists()


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 65_536, 100_001])
def test_digests_are_sha256(long_runner: StandardRunner, wine: Wine, size: int) -> None:
    content = random.Random(size).randbytes(size)
    wine.path("C:\\digest.bin").write_bytes(content)
    answer = long_runner.ask(RequestType.FILE_DIGEST, path="C:\\digest.bin")
    assert answer == {"size": size, "sha256": hashlib.sha256(content).digest()}


def test_without_truncate_a_file_keeps_its_tail(long_runner: StandardRunner, wine: Wine) -> None:
    wine.path("C:\\tail.bin").write_bytes(b"0123456789")
    answer = long_runner.ask(RequestType.FILE_PUT, path="C:\\tail.bin", offset=2, data=b"ab")
    assert answer == {"size": 10}
    assert wine.path("C:\\tail.bin").read_bytes() == b"01ab456789"
    long_runner.ask(RequestType.FILE_PUT, path="C:\\tail.bin", offset=3, data=b"X", truncate=True)
    assert wine.path("C:\\tail.bin").read_bytes() == b"01aX"


def test_a_path_beyond_max_path_works(long_runner: StandardRunner, wine: Wine) -> None:
    path = "C:\\" + "\\".join(["folder-of-some-length"] * 20) + "\\file.txt"
    assert len(path) > 400
    long_runner.ask(RequestType.FILE_PUT, path=path, offset=0, data=b"deep")
    assert wine.path(path).read_bytes() == b"deep"
    assert long_runner.ask(RequestType.FILE_GET, path=path, offset=0, length=10)["data"] == b"deep"
    long_runner.ask(RequestType.FILE_DELETE, path=path)


@pytest.mark.parametrize(
    ("type", "more"),
    [
        (RequestType.FILE_GET, {"offset": 0, "length": 1}),
        (RequestType.FILE_DELETE, {}),
        (RequestType.FILE_DIGEST, {}),
    ],
)
def test_a_missing_file_is_an_error_with_its_number(
    long_runner: StandardRunner, type: RequestType, more: dict[str, object]
) -> None:
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(type, path="C:\\nobody made this", **more)
    assert (refused.value.error, refused.value.win32) == (RunnerErrorCode.SYSTEM, FILE_NOT_FOUND)


def run(runner: StandardRunner, line: str, *, timeout_ms: int = 60_000, **more: object) -> dict[str, object]:
    return runner.ask(RequestType.EXECUTE, command_line=line, timeout_ms=timeout_ms, **more)


def test_a_command_gives_its_code_and_both_streams(long_runner: StandardRunner) -> None:
    answer = run(long_runner, 'cmd /c "echo out& echo err 1>&2& exit 7"')
    assert answer == {
        "exit_code": 7,
        "stdout": b"out\r\n",
        "stderr": b"err \r\n",
        "stdout_lost": 0,
        "stderr_lost": 0,
        "timed_out": False,
        "cancelled": False,
    }


def test_input_reaches_a_command_and_ends(long_runner: StandardRunner, wine: Wine, runner_exe: Path) -> None:
    content = random.Random(3).randbytes(300_000)
    line = f'"{wine.dos(runner_exe)}" --write C:\\from-input.bin 0'
    assert run(long_runner, line, input=content)["exit_code"] == 0
    assert wine.path("C:\\from-input.bin").read_bytes() == content


def test_output_beyond_the_limit_is_counted(
    long_runner: StandardRunner, wine: Wine, runner_exe: Path
) -> None:
    content = random.Random(4).randbytes(300_000)
    wine.path("C:\\much.bin").write_bytes(content)
    line = f'"{wine.dos(runner_exe)}" --read C:\\much.bin 0 300000'
    answer = run(long_runner, line, max_output=1000)
    assert (answer["stdout"], answer["stdout_lost"]) == (content[:1000], 299_000)
    assert run(long_runner, line)["stdout"] == content


def test_a_command_runs_in_its_folder(long_runner: StandardRunner, wine: Wine) -> None:
    wine.path("C:\\elsewhere").mkdir(exist_ok=True)
    assert run(long_runner, "cmd /c cd", folder="C:\\elsewhere")["stdout"] == b"C:\\elsewhere\r\n"


def test_at_the_time_out_the_whole_tree_ends(runner: StandardRunner, wine: Wine, runner_exe: Path) -> None:
    # A command that starts another; both would wait for input for ever, or for an hour.
    before = set(wine.processes())
    answer = run(runner, "cmd /c C:\\windows\\system32\\ping.exe -n 3600 127.0.0.1", timeout_ms=1500)
    assert (answer["timed_out"], answer["cancelled"], answer["exit_code"]) == (True, False, 0xC000013A)
    assert wine.still_running(set(wine.processes()) - before, b"ping.exe") == []


def test_a_command_that_leaves_a_child_behind_is_done_without_it(runner: StandardRunner) -> None:
    answer = run(
        runner, "cmd /c start /b C:\\windows\\system32\\ping.exe -n 20 127.0.0.1", timeout_ms=600_000
    )
    assert (answer["timed_out"], answer["exit_code"]) == (False, 0)


def test_a_missing_command_is_an_error(long_runner: StandardRunner) -> None:
    with pytest.raises(RefusedError) as refused:
        run(long_runner, "C:\\no\\such.exe")
    assert refused.value.error == RunnerErrorCode.SYSTEM
    assert refused.value.win32 in (2, 3)


def test_a_command_line_of_full_length_is_taken(long_runner: StandardRunner) -> None:
    line = "cmd /c rem " + "x" * 30_000
    id = long_runner.send(RequestType.EXECUTE, cbor2.dumps({"command_line": line, "timeout_ms": 60_000}))
    assert read_answer(RequestType.EXECUTE, id, long_runner.receive())["timed_out"] is False
