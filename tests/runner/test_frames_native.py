"""The runner's frame reader, compiled for the host with the sanitizers, against the harness's own decoder.

Two implementations of one header: what one finds in a damaged stream, the other finds.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.channel.frames import MAX_PAYLOAD, Frame, FrameDecoder, encode_frame
from harness.driver import find_project_root

STALL = None
#: A piece of a stream as it arrives, or the silence after which a half frame is given up.
Piece = bytes | None


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for this machine: install gcc")
    source = find_project_root() / "driver-src"
    target = tmp_path_factory.mktemp("native") / "frames"
    command = [compiler, "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += [f"-I{source / 'runner'}", f"-I{source / 'abi'}", "-o", str(target)]
    command += [str(Path(__file__).with_name("native_frames.c"))]
    command += [str(source / "runner" / name) for name in ("frames.c", "crc32.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "asan" in done.stderr:
        pytest.skip("the compiler has no sanitizers: install libasan")
    assert done.returncode == 0, done.stderr
    return target


def found_by_runner(reader: Path, pieces: Sequence[Piece]) -> list[str]:
    stream = b"".join(
        struct.pack("<I", 0xFFFF_FFFF if piece is None else len(piece)) + (piece or b"") for piece in pieces
    )
    done = subprocess.run([str(reader)], input=stream, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode().splitlines()


def line(frame: Frame) -> str:
    return f"frame {frame.type} {frame.id} {frame.major} {len(frame.payload)} {zlib.crc32(frame.payload)}"


def found_by_harness(pieces: Sequence[Piece]) -> list[str]:
    decoder = FrameDecoder()
    found: list[str] = []
    for piece in pieces:
        frames = decoder.give_up() if piece is None else decoder.feed(piece)
        found += map(line, frames)
    return [*found, f"amid {int(decoder.pending)}"]


def without_long(lines: list[str]) -> list[str]:
    """The runner answers to a right header that announces too much; to the harness it is no frame."""
    return [found for found in lines if not found.startswith("long ")]


def header(length: int, payload_crc: int, id: int = 1) -> bytes:
    head = struct.pack("<4sBBHIII", b"RGRN", 1, 0, 2, id, length, payload_crc)
    return head + struct.pack("<I", zlib.crc32(head))


frames = st.builds(
    encode_frame,
    st.integers(0, 0xFFFF),
    st.integers(1, 0xFFFF_FFFF),
    st.binary(max_size=300),
    major=st.integers(0, 255),
)
nested = st.builds(
    lambda before, inner, after: encode_frame(6, 9, before + inner + after),
    st.binary(max_size=40),
    frames,
    st.binary(max_size=40),
)
odd = st.sampled_from(
    [
        b"R",
        b"RG",
        b"RGR",
        b"RGRN",
        b"RGRGRN",
        header(5, 0),
        header(MAX_PAYLOAD + 1, 0),
        header(0, 1),
        header(3, 0, 0),
    ]
)
noise = st.binary(max_size=60)


@st.composite
def streams(draw: st.DrawFn) -> list[Piece]:
    """Frames, garbage and damaged frames, cut anywhere, with silences in between."""
    parts = draw(st.lists(st.one_of(frames, nested, odd, noise), max_size=12))
    damaged = []
    for part in parts:
        if part and draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(0, len(part) - 1))
            part = (
                part[:at]
                if draw(st.booleans())
                else part[:at] + bytes([part[at] ^ draw(st.integers(1, 255))]) + part[at + 1 :]
            )
        damaged.append(part)
    data = b"".join(damaged)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    pieces: list[Piece] = []
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        pieces.append(data[begin:end])
        pieces.extend([STALL] * draw(st.integers(0, 2)))
    return pieces


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(streams())
def test_both_ends_find_the_same_frames(reader: Path, pieces: list[Piece]) -> None:
    assert without_long(found_by_runner(reader, pieces)) == found_by_harness(pieces)


def test_a_stall_costs_one_frame_and_nothing_behind_it(reader: Path) -> None:
    inner, later = encode_frame(7, 70, b"inner"), encode_frame(8, 80, b"later")
    lost = encode_frame(6, 60, b"x" * 10 + inner + b"y" * 500)
    assert found_by_runner(reader, [lost[:200] + later, STALL]) == [
        line(Frame(7, 70, b"inner")),
        line(Frame(8, 80, b"later")),
        "amid 0",
    ]


def test_a_frame_of_many_megabytes_in_small_pieces(reader: Path) -> None:
    payload = bytes(range(256)) * (20 << 12)
    whole = encode_frame(2, 3, payload)
    pieces: list[Piece] = [whole[at : at + 50_000] for at in range(0, len(whole), 50_000)]
    assert found_by_runner(reader, [*pieces, encode_frame(2, 4)]) == [
        line(Frame(2, 3, payload)),
        line(Frame(2, 4, b"")),
        "amid 0",
    ]


def test_too_long_a_frame_is_told_with_its_id(reader: Path) -> None:
    assert found_by_runner(reader, [header(MAX_PAYLOAD + 1, 0, 4711)]) == ["long 2 4711", "amid 0"]
