"""Recipes: what is read, and that every mistake is named with file, key and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.image.finding import find_recipe, find_recipes
from harness.image.recipe import Adopt, DebianBuild, load_recipe
from harness.machine.describe.spec import ChannelPort, DiskBus, DiskFormat
from harness.strict import ConfigError
from tests.image.recipes import ADOPTED, write_recipe


def test_the_project_builds_a_stand_in() -> None:
    recipe = find_recipe("stand-in")
    assert isinstance(recipe.source, DebianBuild)
    assert recipe.guest_ports == (22,)
    assert set(recipe.limits) >= {"callbacks", "app-hives", "transactions"}


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    assert recipe.source == Adopt(disk=tmp_path / "old" / "disk.raw", format=DiskFormat.RAW)
    assert recipe.hardware.disk_bus is DiskBus.IDE
    assert recipe.hardware.channel is ChannelPort.COM2
    assert recipe.version.triple == "5.2.3790"


MISTAKES = {
    "unknown key": ("arch =", "arhc =", r"arhc: unknown key; did you mean arch\? \(allowed: adopt, arch, "),
    "unknown key in a table": ("cpu =", "cpus =", r"hardware\.cpus: unknown key; did you mean cpu\?"),
    "missing key": ('title = "An old machine"\n', "", r"title: is missing; it is a text"),
    "a text for a number": (
        "memory_mib = 512",
        'memory_mib = "512"',
        r"hardware\.memory_mib: must be a whole",
    ),
    "a truth for a number": (
        "memory_mib = 512",
        "memory_mib = true",
        r"hardware\.memory_mib: must be a whole",
    ),
    "too little memory": ("memory_mib = 512", "memory_mib = 1", r"hardware\.memory_mib: must be from 32 to"),
    "no such bus": ('"ide"', '"scsi"', r"hardware\.disk_bus: must be one of ide, sata, virtio, not 'scsi'"),
    "the host's processor": ('"pentium3"', '"host"', r"hardware\.cpu: 'host' must be a fixed QEMU model"),
    "a processor with a comma for QEMU": ('"pentium3"', '"a,,b"', r"hardware\.cpu"),
    "one port for two": (
        "debug_com = 1",
        "debug_com = 2",
        r"hardware\.debug_com: com2 is the runner's already",
    ),
    "no such kind": ('kind = "windows"', 'kind = "dos"', r"kind: must be one of reference, stand-in"),
    "the reference guest": (
        'kind = "windows"',
        'kind = "reference"',
        r"kind: the reference guest is no machine",
    ),
    "no version": ('"5.2.3790"', '"XP"', r"version: 'XP' is not a Windows version"),
    "another folder": ('name = "old"', 'name = "new"', r"name: is 'new', and the folder is 'old'"),
    "a name of two words": ('name = "old"', 'name = "my pc"', r"name: 'my pc' must be small letters"),
    "no disk there": ('"disk.raw"', '"gone.raw"', r"adopt\.disk: .*gone\.raw: there is no such file"),
    "no source": (
        ADOPTED[ADOPTED.index("[adopt]") :],
        "",
        r"build, install, adopt: a recipe has exactly one",
    ),
    "two sources": (
        "[adopt]",
        '[build]\nbuilder = "debian-wine"\n[adopt]',
        r"build, install, adopt: a recipe has exactly",
    ),
    "nothing adopted": ('disk = "disk.raw"\nformat = "raw"', "", r"adopt: must name a disk, a cd, or both"),
    "an unknown limit": (
        "[adopt]",
        '[limits]\nfoo = "x"\n[adopt]',
        r"limits\.foo: unknown \(allowed: callbacks",
    ),
    "a limit without a reason": (
        "[adopt]",
        '[limits]\ntransactions = " "\n[adopt]',
        r"limits\.transactions: must be a text that says why",
    ),
    "SSH without a card": (
        "[adopt]",
        '[[channels]]\nkind = "ssh"\nuser = "me"\n[adopt]',
        r"channels\[0\]: ssh needs a network card",
    ),
    "a serial channel with a user": (
        "[adopt]",
        '[[channels]]\nkind = "serial"\nuser = "me"\n[adopt]',
        r"channels\[0\]: serial takes nothing else",
    ),
    "a payload below nowhere": (
        'format = "raw"',
        'format = "raw"\npayload = { folder = "rt" }',
        r"adopt\.payload\.folder: 'rt' must be a short DOS folder",
    ),
    "a payload's command in another folder": (
        'format = "raw"',
        'format = "raw"\npayload = { command_file = "../x.cmd" }',
        r"adopt\.payload\.command_file",
    ),
    "not TOML": ("[adopt]", "[adopt", r"not TOML: .*line 15"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, mistake: str) -> None:
    right, wrong, message = MISTAKES[mistake]
    assert ADOPTED.count(right) == 1
    file = write_recipe(tmp_path)
    load_recipe(file)
    file.write_text(ADOPTED.replace(right, wrong))
    with pytest.raises(ConfigError, match=message) as raised:
        load_recipe(file)
    assert str(raised.value).startswith(f"{file}: ")


SSH = """
[[channels]]
kind = "ssh"
user = "me"
key_file = "key"
host_key = "SHA256:x"
"""


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    text = ADOPTED.replace("debug_com = 1", 'debug_com = 1\nnic = "rtl8139"').replace(
        "[adopt]", f"{SSH}\n[adopt]"
    )
    file = write_recipe(tmp_path, text)
    key = file.parent / "key"
    key.write_text("secret")
    key.chmod(0o600)
    access = load_recipe(file).access("ssh")
    assert access is not None
    assert access.key_file == key
    assert access.guest_port == 22
    key.chmod(0o644)
    with pytest.raises(
        ConfigError, match=rf"channels\[0\]\.key_file: others can read it; chmod 600 {re.escape(str(key))}"
    ):
        load_recipe(file)


def test_ssh_wants_the_servers_key_pinned(tmp_path: Path) -> None:
    text = ADOPTED.replace("debug_com = 1", 'debug_com = 1\nnic = "rtl8139"')
    text = text.replace("[adopt]", SSH.replace('host_key = "SHA256:x"\n', "") + "\n[adopt]")
    file = write_recipe(tmp_path, text)
    (file.parent / "key").touch(mode=0o600)
    with pytest.raises(ConfigError, match=r"channels\[0\]\.host_key: is missing"):
        load_recipe(file)


def test_folders_named_first_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recipe(tmp_path / "a", ADOPTED.replace("An old machine", "first"))
    write_recipe(tmp_path / "b", ADOPTED.replace("An old machine", "second"))
    write_recipe(tmp_path / "b", name="other")
    monkeypatch.setenv("HARNESS_RECIPES", f"{tmp_path / 'b'}")
    found = find_recipes([tmp_path / "a"])
    assert found["old"].title == "first"
    assert {"old", "other", "stand-in"} <= set(found)
    assert find_recipe("old").title == "second"


def test_a_folder_may_be_one_recipe(tmp_path: Path) -> None:
    file = write_recipe(tmp_path)
    assert find_recipe("old", [file.parent]).file == file


def test_an_unknown_name_says_what_there_is(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    with pytest.raises(UsageError, match=r"no recipe 'stand-ni'; did you mean stand-in\?"):
        find_recipe("stand-ni")
    with pytest.raises(UsageError, match=r"there are: .*old, .*stand-in"):
        find_recipe("zzz", [tmp_path])


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of recipes there"):
        find_recipes([tmp_path / "gone"])


def test_a_bad_recipe_hides_no_other(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    write_recipe(tmp_path, "nonsense = [", name="bad")
    assert find_recipe("old", [tmp_path]).name == "old"
    with pytest.raises(ConfigError, match=r"bad/recipe\.toml: not TOML"):
        find_recipe("bad", [tmp_path])


def test_finding_recipes_needs_no_libvirt() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from harness.image.finding import find_recipes; find_recipes(); "
        "bad = {'libvirt', 'paramiko', 'winrm', 'cryptography'} & set(sys.modules); "
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
