"""The command line under Wine: files instead of a stream, parts of files, help, mistakes."""

from __future__ import annotations

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cbor2
import pytest

from harness.channel.frames import FAILED, REPLY, FrameDecoder, RequestType, encode_frame
from tests.runner.winehost import PATIENCE, Wine


def run(wine: Wine, exe: Path, *arguments: str, data: bytes = b"") -> tuple[int, bytes, bytes]:
    """Exit code, stdout, stderr. The runner starts nothing that could hold the pipes."""
    done = subprocess.run(
        ["wine", str(exe), *arguments],
        env=wine.environment,
        input=data,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_requests_of_a_file_are_answered_into_a_file(wine: Wine, runner_exe: Path, tmp_path: Path) -> None:
    requests = [
        (RequestType.HELLO, cbor2.dumps({})),
        (RequestType.PING, b"as it is"),
        (RequestType.CANCEL, cbor2.dumps({"id": 1})),
        (RequestType.EXECUTE, cbor2.dumps({"command_line": "cmd /c echo hi", "timeout_ms": 60_000})),
        (4000, cbor2.dumps({})),
    ]
    frames = [encode_frame(type, id + 1, payload) for id, (type, payload) in enumerate(requests)]
    # Garbage in between, and a half frame at the end.
    (tmp_path / "in").write_bytes(b"RGgarbage".join(frames) + frames[0][:20])
    code, _, _ = run(
        wine, runner_exe, "--request", wine.dos(tmp_path / "in"), "--reply", wine.dos(tmp_path / "out")
    )
    assert code == 0
    decoder = FrameDecoder()
    answers = decoder.feed((tmp_path / "out").read_bytes())
    assert (decoder.discarded, decoder.pending) == (0, False)
    assert [frame.id for frame in answers] == [1, 2, 3, 4, 5]
    assert [frame.type for frame in answers] == [*(type | REPLY for type, _ in requests[:4]), FAILED]
    assert answers[1].payload == b"as it is"
    assert cbor2.loads(answers[2].payload) == {"found": False}
    assert cbor2.loads(answers[3].payload)["stdout"] == b"hi\r\n"


def test_parts_of_a_file_are_written_side_by_side_and_read(wine: Wine, runner_exe: Path) -> None:
    content = random.Random(5).randbytes(400_000)
    starts = list(range(0, len(content), 100_000))
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(
                run, wine, runner_exe, "--write", "C:\\parts.bin", str(at), data=content[at : at + 100_000]
            )
            for at in reversed(starts)
        ]
    assert [job.result()[0] for job in jobs] == [0] * len(starts)
    assert wine.path("C:\\parts.bin").read_bytes() == content
    assert run(wine, runner_exe, "--read", "C:\\parts.bin", "300", "70000") == (0, content[300:70_300], b"")
    assert run(wine, runner_exe, "--read", "C:\\parts.bin", "399990", "70000")[1] == content[-10:]


def test_help_names_every_option(wine: Wine, runner_exe: Path) -> None:
    code, text, _ = run(wine, runner_exe, "--help")
    assert code == 0
    options = ("--patient", "--port", "--wait", "--install", "--remove", "--service", "--request", "--reply")
    for option in (*options, "--write", "--read", "--version", "--helper"):
        assert option.encode() in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nonsense",),
        ("--port",),
        ("--request", "only"),
        ("--write", "path", "many"),
        ("--read", "path", "0"),
        ("--wait", "100000", "--patient"),
    ],
)
def test_a_wrong_command_line_is_not_carried_out(
    wine: Wine, runner_exe: Path, arguments: tuple[str, ...]
) -> None:
    code, text, error = run(wine, runner_exe, *arguments)
    assert (code, text) == (2, b"")
    assert b"regrun: " in error  # Wine itself may have said something before


def test_a_missing_file_is_told(wine: Wine, runner_exe: Path) -> None:
    code, _, error = run(wine, runner_exe, "--read", "C:\\nobody made this", "0", "1")
    assert code == 1
    assert b"error 2" in error
