"""Zips from elsewhere, and bundles whose manifest lies."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.probe import abi
from harness.repro import archive
from harness.repro.archive import Archive, write_archive
from harness.repro.bundle import (
    FORMAT,
    Bundle,
    DriverRecord,
    GuestRecord,
    Manifest,
    TestRecord,
    encode_manifest,
)
from harness.repro.failure import Failure
from harness.repro.recorded import scenario_of
from harness.results.outcome import Outcome

ADD_FILTER = abi.constant("IOCTL_REGPROBE_ADD_FILTER")


def make_zip(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def test_what_is_written_is_read_and_the_same_bytes_come_of_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file" * 100)
    for name in ("one.zip", "two.zip"):
        write_archive(tmp_path / name, {"a/b": b"data", "c": source})
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "source", "two.zip"]
    with Archive(tmp_path / "one.zip") as found:
        assert (found.read("a/b"), found.read("c")) == (b"data", b"from a file" * 100)


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../up", "C:/windows", "a\\..\\b"])
def test_a_member_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="points outside"):
        Archive(make_zip(tmp_path / "evil.zip", (name, b"x")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="twice"):
        Archive(make_zip(tmp_path / "evil.zip", ("a", b"1"), ("a", b"2")))


def test_a_bomb_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", ("a", bytes(8 << 20)), ("b", bytes(3 << 20)))
    assert bomb.stat().st_size < 64 * 1024
    with Archive(bomb) as found, pytest.raises(UsageError, match="larger than 4194304 bytes"):
        found.read("a", limit=4 << 20)
    monkeypatch.setattr(archive, "MAX_TOTAL", 10 << 20)
    with Archive(bomb) as found:
        found.read("a")
        with pytest.raises(UsageError, match="larger than"):
            found.read("b")
    monkeypatch.setattr(archive, "MAX_MEMBERS", 1)
    with pytest.raises(UsageError, match="2 members"):
        Archive(bomb)


def test_a_size_that_lies_does_not_count(tmp_path: Path) -> None:
    """The header says one byte, the data are a megabyte: the real size counts."""
    path = make_zip(tmp_path / "liar.zip", ("a", bytes(1 << 20)))
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 24 : place + 28] = (1).to_bytes(4, "little")
    path.write_bytes(raw)
    with Archive(path) as found, pytest.raises(UsageError, match=r"can't be read|larger"):
        found.read("a", limit=1024)


@pytest.mark.parametrize("cut", [1, 10, 50, -10])
def test_a_damaged_zip_is_a_clear_error(tmp_path: Path, cut: int) -> None:
    path = make_zip(tmp_path / "cut.zip", ("bundle.json", b"{}" * 1000))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UsageError, match=r"cut\.zip"):
        Archive(path)


def test_damaged_data_are_a_clear_error(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "bad.zip", ("a", bytes(range(256)) * 50))
    raw = bytearray(path.read_bytes())
    raw[60:90] = b"\xff" * 30
    path.write_bytes(raw)
    with Archive(path) as found, pytest.raises(UsageError, match="can't be read"):
        found.read("a")


# -- manifests --------------------------------------------------------------------------------------------


MANIFEST = Manifest(
    format=FORMAT,
    harness="0.1.0",
    created="2026-11-21T12:00:00+00:00",
    target="reference:6.1",
    test=TestRecord("t.py::test_it[reference:6.1]", "t.py::test_it"),
    guest=GuestRecord("reference", "6.1.7601", "x64"),
    failure=Failure(Outcome.FAIL, "AssertionError"),
    drivers=(DriverRecord("my", "00" * 32, "drivers/my.sys"),),
)

Change = Callable[[dict[str, Any]], object]


def write(path: Path, change: Change = lambda manifest: None, **members: bytes) -> Path:
    (data,) = encode_manifest(MANIFEST).values()
    manifest = json.loads(data)
    change(manifest)
    write_archive(path, {"bundle.json": json.dumps(manifest).encode(), "drivers/my.sys": b"MZ", **members})
    return path


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    with Bundle.open(write(tmp_path / "b.zip")) as bundle:
        assert bundle.manifest == MANIFEST


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(format=99), "has format 99, this harness reads 1"),
        (lambda m: m.update(format="1"), "has no format"),
        (lambda m: m.update(surprise=1), "unknown key"),
        (lambda m: m.pop("target"), "target: is missing"),
        (lambda m: m["failure"].update(outcome="MAYBE"), "outcome: must be one of"),
        (
            lambda m: m.update(calls=[{"kind": "program", "member": "programs/1.cbor"}]),
            "lacks programs/1.cbor",
        ),
        (lambda m: m.update(dropped=True), "dropped: must be a whole number"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(tmp_path: Path, change: Change, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Bundle.open(write(tmp_path / "b.zip", change))
    assert said in str(caught.value)
    assert "b.zip" in str(caught.value)
    if "format" not in said and "lacks" not in said:
        assert "it was written by harness '0.1.0'" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"kind": "install", "service": "other"}, "call 0, install: 'other' is a driver"),
        ({"kind": "install", "service": "my", "member": "drivers/other.sys"}, "does not hold"),
        ({"kind": "request", "device": r"\\.\RegProbe", "code": ADD_FILTER, "reply": "nothing"}, "hex"),
        ({"kind": "request", "device": r"\\.\RegProbe", "code": ADD_FILTER, "member": "data/short"}, "bytes"),
        ({"kind": "program", "member": "data/short"}, "call 0, program: CBOR"),
    ],
)
def test_calls_that_make_no_sense_are_a_clear_error(
    tmp_path: Path, call: dict[str, object], said: str
) -> None:
    members = {"data/short": b"\xff", "drivers/other.sys": b"MZ"}
    file = write(tmp_path / "b.zip", lambda manifest: manifest.update(calls=[call]), **members)
    with Bundle.open(file) as bundle, pytest.raises(UsageError) as caught:
        scenario_of(bundle)
    assert said in str(caught.value)
    assert "b.zip" in str(caught.value)


def test_an_image_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    with Bundle.open(write(tmp_path / "b.zip")) as bundle, pytest.raises(UsageError, match="digest differs"):
        bundle.image(bundle.manifest.drivers[0])


def test_other_files_are_no_bundles(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no bundle"):
        Bundle.open(tmp_path / "nowhere.zip")
    with pytest.raises(UsageError, match=r"has no member 'bundle\.json'"):
        Bundle.open(make_zip(tmp_path / "other.zip", ("a", b"x")))
    (tmp_path / "text.zip").write_bytes(b"not a zip")
    with pytest.raises(UsageError, match="no zip file"):
        Bundle.open(tmp_path / "text.zip")
    with pytest.raises(UsageError, match="is not JSON"):
        Bundle.open(make_zip(tmp_path / "bad.zip", ("bundle.json", b"[" * 100_000)))
