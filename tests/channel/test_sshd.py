"""The folder that sshd wants, shared by every process that tests with one."""

from __future__ import annotations

from pathlib import Path

from tests.channel.sshd import separation_folder


def test_it_stays_until_its_last_user_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "sshd"
    with separation_folder(folder):
        with separation_folder(folder):
            pass
        assert folder.is_dir()
        later = separation_folder(folder)
        later.__enter__()
    assert folder.is_dir(), "its maker has left, and it is needed still"
    later.__exit__(None, None, None)
    assert not folder.exists()


def test_the_systems_own_stays(tmp_path: Path) -> None:
    folder = tmp_path / "sshd"
    folder.mkdir(0o755)
    with separation_folder(folder):
        pass
    assert folder.is_dir()
