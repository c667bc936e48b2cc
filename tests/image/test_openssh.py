"""OpenSSH in an installed Windows: a release that the user gives, or the system's own where it has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.image.finding import find_recipe
from harness.image.install.discs import list_disc
from harness.image.install.dryrun import dry_run
from harness.image.install.ingredients import InstallRequest, throwaway
from harness.image.installspec import Install
from harness.image.recipe import Recipe, load_recipe


def with_ssh(folder: Path, name: str) -> Recipe:
    """A recipe of one's own that has SSH."""
    file = folder / "mine" / "recipe.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        f'based_on = "{find_recipe(name).file}"\nname = "mine"\ntitle = "Mine"\n'
        '[[channels]]\nkind = "serial"\n[[channels]]\nkind = "ssh"\nuser = "harness"\n'
    )
    return load_recipe(file)


def discs(recipe: Recipe, out: Path, request: InstallRequest | None = None) -> dict[str, bytes]:
    assert isinstance(recipe.source, Install)
    result = dry_run(recipe, recipe.source, out, request=request)
    assert result.ok
    return list_disc(out / "harness.iso")


def test_server_2025_has_its_own(tmp_path: Path) -> None:
    held = discs(with_ssh(tmp_path, "ws2025"), tmp_path / "out")
    assert b"ssh-ed25519" in held["harness/ssh/administrators_authorized_keys"]
    assert not [path for path in held if path.startswith("harness/OpenSSH/")]
    assert "openssh.ps1" in (tmp_path / "out" / "first-boot.cmd").read_text()


@pytest.mark.parametrize("name", ["win11-24h2", "ws2022"])
def test_others_need_a_release(name: str, tmp_path: Path) -> None:
    recipe = with_ssh(tmp_path, name)
    with pytest.raises(UsageError, match="give the unpacked folder"), throwaway(recipe, InstallRequest()):
        pass
    release = tmp_path / "OpenSSH-Win64"
    (release / "sub").mkdir(parents=True)
    (release / "install-sshd.ps1").write_text("# theirs")
    (release / "sub" / "sshd.exe").write_bytes(b"MZ")
    held = discs(recipe, tmp_path / "out", InstallRequest(openssh=release))
    assert held["harness/OpenSSH/sub/sshd.exe"] == b"MZ"
    assert b"PRIVATE KEY" in held["harness/ssh/ssh_host_ed25519_key"]


def test_a_release_for_a_recipe_without_ssh_is_a_mistake(tmp_path: Path) -> None:
    request = InstallRequest(openssh=tmp_path)
    with (
        pytest.raises(UsageError, match="has no channel of kind ssh"),
        throwaway(find_recipe("ws2022"), request),
    ):
        pass
