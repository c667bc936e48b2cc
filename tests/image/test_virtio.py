"""Drivers of a virtio-win disc: the system's are found, checked, given to setup, and the hardware changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import UsageError
from harness.guest.base import Arch
from harness.image.digest import install_key
from harness.image.finding import find_recipe
from harness.image.install.discs import list_disc
from harness.image.install.dryrun import dry_run
from harness.image.install.ingredients import InstallRequest, throwaway
from harness.image.install.installed import DRIVERS_FACT, RECIPE_FACT, find_installed, installed_image
from harness.image.install.medium import stand_in_medium
from harness.image.install.plan import plan_install
from harness.image.installspec import Install
from harness.image.media import MediaError
from harness.image.recipe import Recipe
from harness.image.store import ImageStore
from harness.image.virtio import DRIVERS, find_drivers, with_virtio
from harness.machine.describe.spec import ChannelPort, DiskBus, Hardware, Nic, PanicModel
from harness.registry.version import WindowsVersion
from tests.image.discs import disc, virtio_disc, virtio_files
from tests.image.recipes import installs

ALL = ("2k8", "2k8R2", "w7", "2k12R2", "w8.1", "2k16", "w10", "2k19", "2k22", "w11", "2k25")


def server(recipe: Recipe) -> bool:
    assert isinstance(recipe.source, Install)
    return recipe.source.media.is_server


FOLDERS = {
    "winvista-sp2": "2k8/amd64",
    "winvista-sp2-x86": "2k8/x86",
    "win7-sp1": "w7/amd64",
    "win7-sp1-x86": "w7/x86",
    "ws2008r2-sp1": "2k8R2/amd64",
    "win81": "w8.1/amd64",
    "ws2012r2": "2k12R2/amd64",
    "win10-1507": "w10/amd64",
    "win10-1607": "w10/amd64",
    "win10-1809": "w10/amd64",
    "win10-21h2": "w10/amd64",
    "win10-22h2": "w10/amd64",
    "win11-21h2": "w11/amd64",
    "win11-22h2": "w11/amd64",
    "win11-23h2": "w11/amd64",
    "win11-24h2": "w11/amd64",
    "win11-25h2": "w11/amd64",
    "ws2016": "2k16/amd64",
    "ws2019": "2k19/amd64",
    "ws2022": "2k22/amd64",
    "ws2025": "2k25/amd64",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disc with everything for every system."""
    folders = [f"{name}/{system}/{arch}" for name in DRIVERS for system in ALL for arch in ("amd64", "x86")]
    return disc(tmp_path_factory.mktemp("virtio") / "virtio-win.iso", virtio_files(*folders))


def test_each_system_gets_its_own(whole: Path) -> None:
    nt6 = {recipe.name: recipe for recipe in installs() if recipe.version.major >= 6}
    found = {
        name: find_drivers(whole, recipe.version, recipe.arch, server=server(recipe))
        for name, recipe in nt6.items()
    }
    assert {name: drivers.found[0].folder for name, drivers in found.items()} == {
        name: f"viostor/{folder}" for name, folder in FOLDERS.items()
    }
    assert {drivers.names for drivers in found.values()} == {tuple(DRIVERS)}


def test_an_older_disc_has_what_its_successor_can_use(tmp_path: Path) -> None:
    old = virtio_disc(tmp_path / "old.iso", ["w10", "2k19"])
    for name, folder in {"win11-24h2": "w10", "ws2022": "2k19", "ws2025": "2k19"}.items():
        recipe = find_recipe(name)
        drivers = find_drivers(old, recipe.version, recipe.arch, server=server(recipe))
        assert drivers.found[0].folder == f"viostor/{folder}/amd64"


WIN11 = WindowsVersion.parse("10.0.26100")
STORAGE = virtio_files("viostor/w11/amd64")


def without(*endings: str) -> dict[str, bytes]:
    return {name: data for name, data in STORAGE.items() if not name.endswith(endings)}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"setup.exe": b""}, r"no drivers for this system: found setup\.exe; wanted .* viostor/w11/amd64 or"),
        (virtio_files("viostor/w11/x86"), r"found viostor; wanted a virtio-win disc with"),
        (without(".inf"), r"viostor/w11/amd64 on the virtio-win disc: found .*; wanted viostor\.inf"),
        (without(".cat"), r"its catalogue viostor\.cat is not there"),
        (without(".sys"), r"wanted a \.sys"),
        ({**STORAGE, "viostor/w11/amd64/viostor.inf": b"[Version]"}, "no INF with DriverVer"),
        ({**STORAGE, "viostor/w11/amd64/viostor.sys": b"MZ"}, r"viostor\.sys on .* is no driver"),
        (virtio_files("viostor/w11/amd64", machine=0x14C), r"for another processor \(0x14c\)"),
        ({f"viostor/w11/amd64/{n}": b"" for n in range(40)}, "has 40 files, which no driver has"),
    ],
)
def test_what_is_wrong_with_a_disc_is_said(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    with pytest.raises(MediaError, match=says):
        find_drivers(disc(tmp_path / "v.iso", files), WIN11, Arch.X64, server=False)


def test_what_the_disc_has_not_is_named_and_not_used(tmp_path: Path) -> None:
    some = disc(tmp_path / "v.iso", virtio_files("viostor/w11/amd64", "pvpanic/w10/amd64"))
    drivers = find_drivers(some, WIN11, Arch.X64, server=False)
    assert drivers.names == ("viostor", "pvpanic")
    assert drivers.missing == ("NetKVM", "vioserial", "fwcfg")
    assert str(drivers).startswith("TEST: viostor/w11/amd64 (01/02/2025 100.17.0.0), pvpanic/w10/amd64")
    assert "it has no NetKVM, vioserial, fwcfg for this system" in str(drivers)
    plain = Hardware(disk_bus=DiskBus.SATA, nic=Nic.E1000E, panic=(PanicModel.HYPERV,))
    changed = with_virtio(plain, drivers.names)
    assert (changed.disk_bus, changed.nic) == (DiskBus.VIRTIO, Nic.E1000E)
    assert changed.panic == (PanicModel.HYPERV, PanicModel.ISA)
    assert with_virtio(plain, ()) == plain


@pytest.mark.parametrize("name", FOLDERS)
def test_setup_gets_the_drivers_and_the_hardware_for_them(name: str, whole: Path, tmp_path: Path) -> None:
    recipe = find_recipe(name)
    assert isinstance(recipe.source, Install)
    out = tmp_path / "out"
    result = dry_run(recipe, recipe.source, out, request=InstallRequest(virtio_win=whole))
    assert [check for check in result.checks if not check.ok] == []
    answer = (out / "autounattend.xml").read_text()
    pass_pe = answer[: answer.index("</settings>")]
    assert pass_pe.count("<Path>D:\\drivers</Path>") == 1
    assert pass_pe.index("PnpCustomizationsWinPE") < pass_pe.index("<DiskConfiguration>")
    held = list_disc(out / "harness.iso")
    assert held["drivers/viostor/viostor.cat"] == f"viostor/{FOLDERS[name]}".encode()
    assert not [path for path in held if path.endswith(".pdb")]
    assert "sc config pvpanic start= boot" in (out / "first-boot.cmd").read_text()
    for machine in ("install.xml", "template.xml"):
        xml = (out / machine).read_text()
        assert 'dev="vda" bus="virtio"' in xml
        assert 'dev="vdb" bus="virtio"' in xml
        assert "virtio-net-pci" in xml
        assert '<panic model="isa"' in xml
    report = json.loads((out / "report.json").read_text())
    assert f"viostor/{FOLDERS[name]} (" in report["drivers"]


def test_without_the_disc_nothing_of_it_is_used(tmp_path: Path) -> None:
    recipe = find_recipe("win11-24h2")
    assert isinstance(recipe.source, Install)
    dry_run(recipe, recipe.source, tmp_path / "out")
    assert "DriverPaths" not in (tmp_path / "out" / "autounattend.xml").read_text()
    assert "virtio" not in (tmp_path / "out" / "install.xml").read_text()


@pytest.mark.parametrize("name", ["winxp-sp3", "ws2003r2-x64"])
def test_systems_before_vista_are_told_why_not(name: str, whole: Path, tmp_path: Path) -> None:
    recipe = find_recipe(name)
    with (
        pytest.raises(UsageError, match=r"txtsetup\.oem"),
        throwaway(recipe, InstallRequest(virtio_win=whole)),
    ):
        pass


def test_the_command_takes_the_disc_and_reactos_does_not(whole: Path, tmp_path: Path) -> None:
    arguments = ["--dry-run", "--out", str(tmp_path / "out"), "--virtio-win", str(whole)]
    done = CliRunner().invoke(app, ["image", "build", "ws2022", *arguments])
    assert done.exit_code == 0, done.output
    assert "sound  virtio drivers" in done.output
    done = CliRunner().invoke(app, ["image", "build", "reactos-0.4.15", *arguments])
    assert "is no Windows that is installed" in str(done.exception)


@pytest.mark.parametrize(
    ("changes", "driver"),
    [
        ({"disk_bus": DiskBus.VIRTIO}, "viostor"),
        ({"nic": Nic.VIRTIO}, "NetKVM"),
        ({"channel": ChannelPort.VIRTIO}, "vioserial"),
    ],
)
def test_a_recipe_with_virtio_devices_needs_the_disc(
    changes: dict[str, object], driver: str, whole: Path
) -> None:
    recipe = find_recipe("win10-22h2")
    recipe = replace(recipe, hardware=replace(recipe.hardware, **changes))  # type: ignore[arg-type]
    assert isinstance(recipe.source, Install)
    with (
        throwaway(recipe, InstallRequest()) as given,
        pytest.raises(UsageError, match=f"has {driver} for it"),
    ):
        plan_install(recipe, recipe.source, stand_in_medium(), given)
    with throwaway(recipe, InstallRequest(virtio_win=whole)) as given:
        plan_install(recipe, recipe.source, stand_in_medium(), given)


def test_an_image_keeps_the_hardware_it_was_installed_on(tmp_path: Path) -> None:
    """The recipe is the same; which drivers an image has is a fact of the image."""
    recipe = find_recipe("win10-22h2")
    assert isinstance(recipe.source, Install)
    store = ImageStore(tmp_path)
    written = install_key(recipe, recipe.source)

    def made(key: str, drivers: list[str]) -> Hardware:
        def fill(into: Path) -> dict[str, object]:
            for name in ("disk.qcow2", "dumps.qcow2", "variables.fd"):
                (into / name).touch()
            return {RECIPE_FACT: written, DRIVERS_FACT: drivers}

        store.ensure(recipe.name, key * 64, fill)
        assert isinstance(recipe.source, Install)
        found = find_installed(recipe, recipe.source, store)
        assert found is not None
        return installed_image(recipe, found).hardware

    assert made("a", []) == recipe.hardware
    assert made("b", list(DRIVERS)).disk_bus is DiskBus.VIRTIO
