"""Adopting what the user has: the recipe that is written loads again, the original is never touched."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.cli.output import short_path
from harness.errors import ToolMissingError, UsageError
from harness.guest.base import Arch, GuestKind
from harness.image.adopt import Adoption, adopt, detect_format, usual_hardware, usual_limits
from harness.image.images import ensure_image
from harness.image.payload import payload_files, port_name
from harness.image.recipe import Access, AccessKind, Adopt, Payload, load_recipe
from harness.image.store import ImageStore
from harness.image.tools import find_tool
from harness.machine.describe.firmware import find_firmware
from harness.machine.describe.spec import (
    ChannelPort,
    DiskBus,
    DiskFormat,
    Firmware,
    Hardware,
    Nic,
    PanicModel,
    SealedImage,
)
from harness.strict import ConfigError
from tests.image.fat16 import read_fat16

RUNNER = b"MZ runner"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A runner that needs no compiler."""
    monkeypatch.setattr("harness.driver.program.runner_image", lambda arch: RUNNER + str(arch).encode())
    return RUNNER + b"x86"


@pytest.fixture(autouse=True)
def needs_tools() -> None:
    for tool in ("qemu-img", "mformat"):
        try:
            find_tool(tool)
        except ToolMissingError as error:
            pytest.skip(str(error))


@pytest.fixture
def cd(tmp_path: Path) -> Path:
    path = tmp_path / "live.iso"
    path.write_bytes(b"\0" * 0x8000 + b"\1CD001")
    return path


def adoption(source: Adopt, **changes: Any) -> Adoption:
    base = Adoption(
        name="ros",
        kind=GuestKind.REACTOS,
        version="5.2.3790",
        arch=Arch.X86,
        hardware=usual_hardware(GuestKind.REACTOS),
        source=source,
        channels=(Access(AccessKind.SERIAL),),
        limits=usual_limits(GuestKind.REACTOS),
    )
    return replace(base, **changes)


def test_what_is_written_is_what_was_said(tmp_path: Path, cd: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    driver = tmp_path / 'my "best" driver.sys'
    driver.write_bytes(b"MZ")
    hardware = Hardware(
        machine="q35",
        cpu="max,-smap",
        processors=2,
        memory_mib=2048,
        firmware=Firmware.UEFI_SECURE,
        tpm=True,
        disk_bus=DiskBus.SATA,
        nic=Nic.E1000E,
        channel=ChannelPort.VIRTIO,
        debug_com=2,
        panic=(PanicModel.HYPERV, PanicModel.ISA),
        hyperv=True,
        clock="localtime",
    )
    said = adoption(
        Adopt(cd=cd, payload=Payload(folder="\\a\\b", command_file="go.bat", drivers=(driver,), size_mib=80)),
        hardware=hardware,
        title='A "quoted" \\ title',
        channels=(
            Access(AccessKind.SERIAL),
            Access(AccessKind.SSH, user="me", port=2222, key_file=key, host_key="SHA256:abc"),
        ),
    )
    recipe = adopt(said, tmp_path / "recipes")
    assert recipe == load_recipe(tmp_path / "recipes" / "ros" / "recipe.toml")
    assert recipe.hardware == said.hardware
    assert recipe.source == said.source
    assert recipe.channels == said.channels
    assert recipe.limits == said.limits
    assert recipe.title == said.title
    assert recipe.guest_ports == (2222,)


def test_nothing_stays_of_a_recipe_that_is_refused(tmp_path: Path, cd: Path) -> None:
    bad = adoption(Adopt(cd=cd), hardware=Hardware(memory_mib=1))
    with pytest.raises(ConfigError, match=r"hardware\.memory_mib"):
        adopt(bad, tmp_path / "recipes")
    assert not (tmp_path / "recipes" / "ros").exists()


def test_a_recipe_is_not_overwritten_unless_asked(tmp_path: Path, cd: Path) -> None:
    adopt(adoption(Adopt(cd=cd)), tmp_path)
    with pytest.raises(UsageError, match="--replace"):
        adopt(adoption(Adopt(cd=cd), title="second"), tmp_path)
    assert adopt(adoption(Adopt(cd=cd), title="second"), tmp_path, replace=True).title == "second"
    # One that is refused leaves the one before.
    with pytest.raises(ConfigError):
        adopt(adoption(Adopt(cd=cd), version="none"), tmp_path, replace=True)
    assert load_recipe(tmp_path / "ros" / "recipe.toml").title == "second"


def make_disk(path: Path, *options: str) -> Path:
    subprocess.run([find_tool("qemu-img"), "create", "-q", *options, str(path), "10M"], check=True)
    return path


@pytest.mark.parametrize("format", list(DiskFormat))
def test_formats_are_found_out(tmp_path: Path, format: DiskFormat) -> None:
    disk = make_disk(tmp_path / "disk", "-f", format.value)
    assert detect_format(disk) is format
    recipe = adopt(adoption(Adopt(disk=disk, format=format)), tmp_path / "recipes")
    image = ensure_image(recipe, store=ImageStore(tmp_path / "images"))
    if format is not DiskFormat.VHDX:
        assert [(one.path, one.format) for one in image.disks] == [(disk, format)]


def test_a_vhdx_is_converted_once_for_libvirt(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(b"what the guest has on it" + bytes((1 << 20) - 24))
    disk = tmp_path / "disk.vhdx"
    qemu_img = find_tool("qemu-img")
    subprocess.run([qemu_img, "convert", "-f", "raw", "-O", "vhdx", raw, disk], check=True)
    before = disk.read_bytes()
    recipe = adopt(adoption(Adopt(disk=disk, format=DiskFormat.VHDX)), tmp_path / "recipes")
    store = ImageStore(tmp_path / "images")
    (converted,) = ensure_image(recipe, store=store).disks
    assert converted.format is DiskFormat.QCOW2
    subprocess.run([qemu_img, "compare", "-f", "vhdx", "-F", "qcow2", disk, converted.path], check=True)
    assert disk.read_bytes() == before
    made = converted.path.stat().st_mtime_ns
    assert ensure_image(recipe, store=store).disks == (converted,)
    assert converted.path.stat().st_mtime_ns == made
    assert converted.path.stat().st_mode & 0o777 == 0o400


def test_an_adopted_uefi_system_has_variables_to_start_from(tmp_path: Path) -> None:
    """Its own where they are named, the host's fresh ones otherwise."""
    disk = make_disk(tmp_path / "disk", "-f", "qcow2")
    hardware = Hardware(firmware=Firmware.UEFI)
    try:
        firmware = find_firmware(hardware)
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert firmware is not None
    store = ImageStore(tmp_path / "images")

    def image(**changes: Any) -> SealedImage:
        source = Adopt(disk=disk, **changes)
        recipe = adopt(adoption(source, hardware=hardware), tmp_path / "recipes", replace=True)
        return ensure_image(recipe, store=store)

    fresh = image()
    assert fresh.firmware_variables == firmware.variables
    own = tmp_path / "OVMF_VARS.fd"
    own.write_bytes(bytes(firmware.variables.stat().st_size))
    assert image(firmware_variables=own).firmware_variables == own
    assert image(firmware_variables=own).digest != fresh.digest
    own.write_bytes(bytes(1000))
    with pytest.raises(UsageError, match="another firmware's"):
        image(firmware_variables=own)
    with pytest.raises(ConfigError, match="a BIOS has none"):
        adopt(adoption(Adopt(disk=disk, firmware_variables=own)), tmp_path / "bios")


def test_a_disk_with_a_backing_file_is_refused(tmp_path: Path) -> None:
    make_disk(tmp_path / "base", "-f", "qcow2")
    disk = make_disk(tmp_path / "top", "-f", "qcow2", "-F", "qcow2", "-b", str(tmp_path / "base"))
    with pytest.raises(UsageError, match=r"needs .*base.*qemu-img convert"):
        adopt(adoption(Adopt(disk=disk)), tmp_path / "recipes")
    assert not (tmp_path / "recipes").exists()


def test_a_backing_file_added_later_is_refused_too(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "top", "-f", "qcow2")
    recipe = adopt(adoption(Adopt(disk=disk)), tmp_path / "recipes")
    make_disk(tmp_path / "base", "-f", "qcow2")
    subprocess.run(
        [find_tool("qemu-img"), "rebase", "-u", "-F", "qcow2", "-b", "/etc/hostname", str(disk)], check=True
    )
    with pytest.raises(UsageError, match="/etc/hostname"):
        ensure_image(recipe, store=ImageStore(tmp_path / "images"))


def test_the_disk_of_another_format_is_refused(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", "-f", "raw")
    with pytest.raises(UsageError, match="can't be read as vhdx"):
        adopt(adoption(Adopt(disk=disk, format=DiskFormat.VHDX)), tmp_path / "recipes")


def test_a_live_cd_boots_with_its_payload_as_first_disk(tmp_path: Path, cd: Path, runner: bytes) -> None:
    driver = tmp_path / "filter.sys"
    driver.write_bytes(b"MZ driver")
    recipe = adopt(adoption(Adopt(cd=cd, payload=Payload(drivers=(driver,)))), tmp_path / "recipes")
    image = ensure_image(recipe, store=ImageStore(tmp_path / "images"))
    assert image.boot_from_cd
    assert [removable.path for removable in image.removable] == [cd]
    (payload,) = image.disks
    assert (payload.target, payload.format, payload.read_only) == (0, DiskFormat.RAW, False)
    files = read_fat16(payload.path.read_bytes()[63 * 512 :])
    assert files["rt/regrun.exe"] == runner
    assert files["rt/filter.sys"] == b"MZ driver"
    assert b'regrun.exe" --port \\\\.\\COM2\r\n' in files["rt/start.cmd"]
    assert b"--install --port \\\\.\\COM2\r\n" in files["rt/install.cmd"]


def test_an_installed_disk_comes_before_its_payload(tmp_path: Path, runner: bytes) -> None:
    disk = make_disk(tmp_path / "disk", "-f", "qcow2")
    before = disk.read_bytes()
    recipe = adopt(adoption(Adopt(disk=disk, payload=Payload())), tmp_path / "recipes")
    image = ensure_image(recipe, store=ImageStore(tmp_path / "images"))
    assert not image.boot_from_cd
    assert [one.target for one in image.disks] == [0, 1]
    assert image.disks[0].path == disk
    assert disk.read_bytes() == before


def test_the_image_is_another_when_anything_it_is_made_of_is(
    tmp_path: Path, cd: Path, runner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ImageStore(tmp_path / "images")

    def digest(**changes: Any) -> str:
        recipe = adopt(adoption(Adopt(cd=cd, payload=Payload()), **changes), tmp_path, replace=True)
        return ensure_image(recipe, store=store).digest

    first = digest()
    assert digest() == first
    assert digest(title="words change nothing") == first
    seen = {first, digest(hardware=replace(usual_hardware(GuestKind.REACTOS), memory_mib=1024))}
    cd.write_bytes(cd.read_bytes() + b"more")
    seen.add(digest())
    monkeypatch.setattr("harness.driver.program.runner_image", lambda arch: b"another runner")
    seen.add(digest())
    assert len(seen) == 4


def test_a_port_is_named_as_the_guest_names_it() -> None:
    assert port_name(ChannelPort.COM2) == r"\\.\COM2"
    assert port_name(ChannelPort.VIRTIO) == r"\\.\Global\org.regfilter.runner.0"
    start = payload_files(Payload(), ChannelPort.COM1, runner=b"")["rt/start.cmd"]
    assert b"--port \\\\.\\COM1" in start


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Call the command as the entry point does; gives (exit code, stdout, stderr)."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", "image", *arguments])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        return int(exit.value.code or 0), out, err

    return call


def test_the_command_adopts_a_live_cd(tmp_path: Path, cd: Path, runner: bytes, harness: Any) -> None:
    recipes = tmp_path / "machines"
    options = ["--cd", str(cd), "--kind", "reactos", "--version", "5.2.3790", "--arch", "x86"]
    code, out, err = harness("adopt", "ros", "--recipes", str(recipes), *options)
    assert code == 0, err
    assert r"must run C:\rt\start.cmd at boot" in out
    assert f"harness run --target vm:ros --recipes {short_path(recipes)}" in out
    hardware = load_recipe(recipes / "ros" / "recipe.toml").hardware
    assert (hardware.machine, hardware.cpu, hardware.processors) == ("pc", "pentium3", 1)
    assert (hardware.channel, hardware.debug_com, hardware.nic) == (ChannelPort.COM2, 1, Nic.NONE)

    code, out, _ = harness("list", "--recipes", str(recipes), "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["ros"]["state"] == "adopted"
    assert "layering" in rows["ros"]["limits"]
    assert rows["stand-in"]["state"] in {"ready", "not built"}
    assert harness("verify", "ros", "--recipes", str(recipes))[0] == 0


def test_the_command_adopts_a_disk_with_everything_named(tmp_path: Path, runner: bytes, harness: Any) -> None:
    disk = make_disk(tmp_path / "xp.img", "-f", "raw")
    code, out, err = harness(
        *("adopt", "xp", "--recipes", str(tmp_path / "m"), "--disk", str(disk), "--kind", "windows"),
        *(
            "--version",
            "5.1.2600",
            "--arch",
            "x86",
            "--machine",
            "pc",
            "--cpu",
            "pentium3",
            "--memory",
            "256",
        ),
        *("--bus", "ide", "--channel", "com2", "--debug-com", "1", "--limit", "transactions=XP has none"),
    )
    assert code == 0, err
    assert r"run \rt\install.cmd from that drive" in out
    recipe = load_recipe(tmp_path / "m" / "xp" / "recipe.toml")
    assert recipe.source == Adopt(disk=disk, format=DiskFormat.RAW, payload=Payload())
    assert recipe.limits == {"transactions": "XP has none"}
    assert recipe.hardware.memory_mib == 256


def test_the_command_adopts_a_machine_with_winrm(tmp_path: Path, runner: bytes, harness: Any) -> None:
    disk = make_disk(tmp_path / "server.img", "-f", "raw")
    password = tmp_path / "password"
    password.touch(mode=0o600)
    code, _, err = harness(
        *("adopt", "server", "--recipes", str(tmp_path / "m"), "--disk", str(disk), "--kind", "windows"),
        *("--version", "10.0.20348", "--winrm", "harness", "--password-file", str(password)),
        *("--certificate", "aa" * 32, "--no-payload"),
    )
    assert code == 0, err
    recipe = load_recipe(tmp_path / "m" / "server" / "recipe.toml")
    assert recipe.channels == (
        Access(AccessKind.SERIAL),
        Access(AccessKind.WINRM, user="harness", password_file=password, certificate="aa" * 32),
    )
    assert recipe.guest_ports == (5986,)
    assert recipe.hardware.nic is Nic.E1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--disk FILE or --cd FILE"),
        (["--cd", "gone.iso"], r"gone.iso: there is no such file"),
        (["--disk", "gone.img"], r"gone.img: can't be read"),
        (["--cd", "CD", "--limit", "words"], "write it like app-hives="),
        (["--cd", "CD", "--debug-com", "2"], "com2 is the runner's already"),
        (["--cd", "CD", "--ssh", "me", "--key", "KEY"], "channels[1].host_key: is missing"),
        (["--cd", "CD", "--winrm", "me"], "channels[1]: must name a password_file"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, cd: Path, harness: Any, options: list[str], message: str
) -> None:
    (tmp_path / "key").touch(mode=0o600)
    named = [{"CD": str(cd), "KEY": str(tmp_path / "key")}.get(option, option) for option in options]
    common = ["--recipes", str(tmp_path / "m"), "--kind", "reactos", "--version", "5.2.3790", "--arch", "x86"]
    code, _, err = harness("adopt", "ros", *common, *named)
    assert code == 2
    assert message in err
    assert not (tmp_path / "m" / "ros").exists()


def test_what_is_not_built_cannot_be_verified(harness: Any) -> None:
    code, _, err = harness("verify", "stand-in")
    assert code == 2
    assert "harness image build stand-in" in err
