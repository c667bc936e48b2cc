"""Files by path, and who holds them."""

import pytest

from harness.reference.cm.filesystem import FileError, FileSystem, dos_path
from harness.registry.status import NTSTATUS


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (r"c:\A\b.dat", r"C:\A\b.dat"),
        (r"\??\C:\a", r"C:\a"),
        (r"\DosDevices\C:\a", r"C:\a"),
        ("\\\\?\\C:\\a", r"C:\a"),
        (r"\SystemRoot\System32\x", r"C:\Windows\System32\x"),
        (r"\Device\HarddiskVolume1\x", r"C:\x"),
        ("C:/a//b/./../c", r"C:\a\c"),
        (r"C:\..\..\a", r"C:\a"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert dos_path(path) == expected


@pytest.mark.parametrize("path", ["", "a", "C:a", r"\\server\share\x", r"\Registry\x", "C:\\a\0", "1:\\a"])
def test_malformed_paths(path: str) -> None:
    with pytest.raises(FileError) as caught:
        dos_path(path)
    assert caught.value.status == NTSTATUS.OBJECT_PATH_SYNTAX_BAD
    assert not FileSystem().exists(path)


def test_reading_writing_deleting() -> None:
    files = FileSystem()
    files.write(r"C:\Dir\A.txt", b"1")
    assert files.read(r"\??\c:\dir\a.TXT") == b"1"
    assert files.paths() == (r"C:\Dir\A.txt",)
    files.delete(r"C:\dir\a.txt")
    assert not files.exists(r"C:\dir\a.txt")
    with pytest.raises(FileError, match="STATUS_OBJECT_NAME_NOT_FOUND"):
        files.read(r"C:\dir\a.txt")


def test_holding() -> None:
    files, owner, other = FileSystem(), object(), object()
    files.write(r"C:\a", b"1")
    files.hold(r"C:\a", owner)
    for attempt in (
        lambda: files.read(r"C:\A"),
        lambda: files.write(r"C:\a", b"2"),
        lambda: files.delete(r"C:\a"),
        lambda: files.hold(r"C:\a", other),
    ):
        with pytest.raises(FileError, match="STATUS_SHARING_VIOLATION"):
            attempt()
    files.write(r"C:\a", b"3", owner=owner)
    files.release(r"C:\a", other)
    assert files.holder(r"C:\a") is owner
    files.release(r"C:\a", owner)
    assert files.read(r"C:\a") == b"3"
