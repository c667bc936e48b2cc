"""Discs: what another program reads from them, the same bytes for the same content, names refused."""

from __future__ import annotations

import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

from harness.channel.disc import make_disc
from harness.errors import UsageError

FILES = {
    "regrun.exe": b"MZ" + bytes(range(256)) * 33,
    "drivers/x64/Filter Driver.sys": b"driver",
    "drivers/empty.txt": b"",
    "Größe.txt": b"umlaut",
    "a name of a file that is long, with spaces and a dot.at.end.bin": b"x" * 5000,
}


def test_another_program_reads_back_names_and_content(tmp_path: Path) -> None:
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso not installed (apt-get install xorriso)")
    disc = tmp_path / "disc.iso"
    on_host = tmp_path / "regrun.exe"
    on_host.write_bytes(FILES["regrun.exe"])
    make_disc({**FILES, "regrun.exe": on_host}, "PAYLOAD", disc)
    out = tmp_path / "out"
    subprocess.run(
        ["xorriso", "-read_fs", "norock", "-osirrox", "on", "-indev", disc, "-extract", "/", out],
        check=True,
        capture_output=True,
    )
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found == FILES
    for path in [out, *out.rglob("*")]:
        path.chmod(0o700)  # xorriso made folders that pytest could not remove
    label = subprocess.run(["xorriso", "-indev", disc, "-toc"], check=True, capture_output=True, text=True)
    assert "'PAYLOAD'" in label.stdout + label.stderr


def test_the_same_content_gives_the_same_bytes_on_another_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discs = [tmp_path / "one.iso", tmp_path / "two.iso"]
    for day, (disc, names) in enumerate(zip(discs, (list(FILES), list(reversed(FILES))), strict=True)):
        monkeypatch.setattr(time, "time", lambda day=day: 1.8e9 + 100_000 * day)
        make_disc({name: FILES[name] for name in names}, "PAYLOAD", disc)
    assert discs[0].read_bytes() == discs[1].read_bytes()
    assert stat.S_IMODE(discs[0].stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == sorted(discs)


def test_discs_with_other_markers_differ_in_their_descriptor(tmp_path: Path) -> None:
    """The rest may be the same, and a system that saw the one before looks no further."""
    descriptors = []
    for marker in (b"one", b"two"):
        make_disc({"same": b"x"}, "PAYLOAD", disc := tmp_path / "disc.iso", marker=marker)
        descriptors.append(disc.read_bytes()[16 * 2048 : 17 * 2048])
    assert descriptors[0] != descriptors[1]
    with pytest.raises(UsageError, match=r"harness\.id can't be"):
        make_disc({"HARNESS.id": b""}, "PAYLOAD", tmp_path / "other.iso", marker=b"x")


BAD = ("", "/a", "a//b", "../up", "a:b", "what?", 'quo"te', "back\\slash", "nul\0", "dot.", "space ")


@pytest.mark.parametrize("name", [*BAD, "x" * 65, "d/" * 7 + "deep"])
def test_names_that_windows_can_t_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="disc"):
        make_disc({name: b""}, "PAYLOAD", tmp_path / "disc.iso")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pair", [("a/b", "A"), ("Same.txt", "same.TXT"), ("d/x", "D/y")])
def test_names_that_differ_by_case_alone_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="case makes no difference"):
        make_disc(dict.fromkeys(pair, b""), "PAYLOAD", tmp_path / "disc.iso")


def test_a_bad_label_a_missing_file_and_too_much_are_refused(tmp_path: Path) -> None:
    into = tmp_path / "disc.iso"
    with pytest.raises(UsageError, match="no label"):
        make_disc({}, "lower case", into)
    with pytest.raises(UsageError, match="No such file"):
        make_disc({"x": tmp_path / "missing"}, "PAYLOAD", into)
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate(5_000_000_000)
    with pytest.raises(UsageError, match="the limit is"):
        make_disc({"x": huge}, "PAYLOAD", into)
    assert not into.exists()
