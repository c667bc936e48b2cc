"""Installs for real: QEMU, a medium that asks for a key, an answer disc, a disk that is written, restarts.

The medium is the tests' own (tests/image/tinysetup); everything else is what installs Windows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.driver import find_toolchain
from harness.errors import ToolMissingError, UsageError
from harness.image.install.window import look, take_screenshot
from harness.image.store import ImageStore
from harness.image.tools import find_tool
from harness.image.virtio import DRIVERS
from harness.machine.describe.firmware import find_firmware
from harness.machine.describe.spec import Firmware, Hardware
from harness.machine.keep.processes import of_folders
from tests.image import tinysetup
from tests.image.discs import virtio_disc
from tests.image.recipes import INSTALL, reactos_install, uefi_install, write_install
from tests.image.signed_loaders import signed_loaders

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    try:
        for name in ("qemu-system-x86_64", "qemu-img", "gcc"):
            find_tool(name)
        find_toolchain("x86")
    except ToolMissingError as error:
        pytest.skip(str(error))
    return tinysetup.build(tmp_path_factory.mktemp("tinysetup"))


class Bench:
    """A place to install in: recipe, medium, cache, and a short folder for sockets."""

    def __init__(self, folder: Path, runtime: Path, program: bytes) -> None:
        self.folder = folder
        self.runtime = runtime
        self.cache = folder / "cache"
        self.images = self.cache / "images"
        self._program = program
        write_install(folder / "recipes", INSTALL.replace("debug_com = 1", 'debug_com = 1\npanic = ["isa"]'))

    def medium(self, wishes: str = "", **changes: Any) -> Path:
        return tinysetup.medium(self.folder / "medium.iso", self._program, wishes=wishes, **changes)

    def start(self, medium: Path, **options: float) -> subprocess.Popen[str]:
        argv = [self.folder / "recipes", medium, self.cache, self.runtime]
        given = [f"{key}={value}" for key, value in options.items()]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.image.tiny_install", *map(str, argv), *given],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell's background jobs ignore SIGINT, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def install(self, medium: Path, **options: float) -> dict[str, Any]:
        with self.start(medium, **options) as process:
            output, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors
        found = json.loads(output)
        assert isinstance(found, dict)
        assert found["left"] == []
        return found

    def leftovers(self) -> list[str]:
        """What an install that did not end well must not leave: images, half ones, secrets on discs."""
        images = {path.parent for path in self.images.glob("*/image.json")}
        return sorted(
            str(path.relative_to(self.images))
            for path in self.images.rglob("*")
            if path.name.startswith(".making-") or path.suffix in (".iso", ".img") or path in images
        )


@pytest.fixture
def bench(tmp_path: Path, program: bytes) -> Iterator[Bench]:
    runtime = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))  # short: sockets are below it
    yield Bench(tmp_path, runtime, program)
    assert of_folders((runtime, tmp_path)) == ()
    shutil.rmtree(runtime)


def disk_text(disk: str, offset: int, length: int = 16) -> bytes:
    raw = Path(disk).parent.parent / "look.raw"
    subprocess.run([find_tool("qemu-img"), "convert", "-O", "raw", disk, str(raw)], check=True)
    with raw.open("rb") as file:
        file.seek(offset)
        found = file.read(length)
    raw.unlink()
    return found


def test_a_medium_becomes_a_sealed_image_once(bench: Bench) -> None:
    medium = bench.medium()
    first = bench.install(medium)
    assert "error" not in first
    (facts,) = first["facts"]
    assert facts["stages"] == [
        "windows-setup",
        "specialize",
        "first-logon",
        "files",
        "crash-settings",
        "ready",
    ]
    assert (facts["missed"], facts["product_key"]) == (["power"], "none")
    assert (facts["version"], facts["ubr"]) == ("6.1.7601", 24214)
    assert facts["medium"]["label"] == "TINY_SETUP"
    system, dumps = first["disks"]
    # What the setup read on the answer disc and wrote to the disk; what the first boot wrote to the other.
    assert disk_text(system, 100 * 512).startswith(b"REGFILTER\0")
    assert disk_text(dumps, 0) == b"D" * 16
    folder = Path(system).parent
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".seal") == [
        "disk.qcow2",
        "dumps.qcow2",
        "image.json",
    ]
    assert stat.S_IMODE(Path(system).stat().st_mode) == 0o400
    assert (first["asked"], first["switched"]) == (["disk.qcow2"], [])
    again = bench.install(medium)
    assert (again["digest"], again["seen"], again["asked"]) == (first["digest"], [], [])


def test_what_was_installed_is_asked_sealed_and_made_a_template_of(bench: Bench) -> None:
    """All the way: its runner answers at the first start, and clones of its template are what it promised."""
    found = bench.install(bench.medium(), ask=1, clone=1)
    assert "error" not in found
    (facts,) = found["facts"]
    assert (facts["version"], facts["ubr"], facts["product"]) == ("6.1.7601", 24214, "Tiny")
    # Its third start: the first was setup's, the second that of the first boot. The one that was asked counts
    # for nothing: it was on an overlay.
    assert found["clones"] == ["6.1.7601 BOOT3"] * 2


def test_a_guest_with_that_axis_was_hibernated_and_resumed(bench: Bench) -> None:
    """Its machine ended in S4, and the next one goes on with the same boot: that after its restart."""
    found = bench.install(bench.medium(), clone=1, hibernate=1)
    assert "error" not in found
    assert found["clones"] == ["6.1.7601 BOOT4"] * 2


def test_a_guest_that_starts_anew_instead_was_not_hibernated(bench: Bench) -> None:
    found = bench.install(bench.medium("forget"), clone=1, hibernate=1)
    says = "did not resume, it started anew: boot BOOT4 (1 s up) before it hibernated, BOOT5"
    assert says in found["error"]


def test_what_was_installed_and_is_another_system_is_no_image(bench: Bench) -> None:
    other = {**tinysetup.ENVIRONMENT["os"], "build": 7600}
    found = bench.install(bench.medium(environment={"os": other, "secure_boot": True}), ask=1)
    assert "version: the recipe says 6.1.7601, the guest 6.1.7600" in found["error"]
    assert "Secure Boot: the recipe says off, the guest on" in found["error"]
    assert found["facts"] == []
    assert list(bench.images.glob(".*")) == []  # it would be another one again


def test_uefi_firmware_and_a_tpm(bench: Bench) -> None:
    """The firmware passes the empty disk over, its medium's prompt is answered, and later the disk wins.

    Firmware writes on the stages' port as well, and leaves its last line without an end.
    """
    try:
        for name in ("swtpm", "mformat"):
            find_tool(name)
        find_firmware(Hardware(firmware=Firmware.UEFI))
    except ToolMissingError as error:
        pytest.skip(str(error))
    write_install(bench.folder / "recipes", uefi_install())
    found = bench.install(tinysetup.uefi_medium(bench.folder / "medium.iso"))
    assert "error" not in found
    (facts,) = found["facts"]
    assert facts["stages"] == ["windows-setup", "specialize", "first-logon", "ready"]
    assert found["disk_bus"] == "sata"
    folder = Path(found["disks"][0]).parent
    files = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.suffix != ".seal"}
    assert files == {"disk.qcow2", "dumps.qcow2", "image.json", "tpm", "variables.fd"}
    assert list((folder / "tpm").glob("tpm2*"))
    # With a virtio-win disc it is another image, installed to a virtio disk.
    virtio_disc(bench.folder / "virtio-win.iso", ["w10"])
    other = bench.install(bench.folder / "medium.iso")
    assert "error" not in other
    assert other["disk_bus"] == "virtio"
    assert other["facts"][0]["virtio"] == list(DRIVERS)
    assert other["facts"][1] == facts


def test_a_rebuilt_medium_starts_and_brings_its_answers(bench: Bench) -> None:
    """What makes the medium bootable outlives that the answer file is put into it, as it does for ReactOS."""
    write_install(bench.folder / "recipes", reactos_install())
    found = bench.install(bench.medium("own", reactos=True))
    assert "error" not in found
    (facts,) = found["facts"]
    assert facts["stages"][-1] == "ready"
    assert disk_text(found["disks"][0], 100 * 512).startswith(b"REGFILTER\0")


@pytest.fixture
def secure_bench(bench: Bench) -> Bench:
    try:
        for name in ("swtpm", "mformat"):
            find_tool(name)
        find_firmware(Hardware(firmware=Firmware.UEFI_SECURE))
    except ToolMissingError as error:
        pytest.skip(str(error))
    write_install(bench.folder / "recipes", uefi_install(secure=True))
    return bench


def test_secure_boot_refuses_a_medium_that_nobody_signed(secure_bench: Bench) -> None:
    """It says so at once; without that the firmware would go on to the network, and to a shell."""
    found = secure_bench.install(tinysetup.uefi_medium(secure_bench.folder / "medium.iso"))
    assert found["outcome"] == "was refused"
    assert "no key that it trusts has signed" in found["error"]
    assert "Access Denied" in (Path(found["evidence"]) / "debug.log").read_text(errors="replace")
    assert (found["asked"], secure_bench.leftovers()) == ([], [])


def test_secure_boot_starts_a_medium_that_is_signed(secure_bench: Bench) -> None:
    """On firmware with Microsoft's keys, and with its variables kept for the template."""
    shim, grub = signed_loaders(secure_bench.folder / "packages")
    medium = tinysetup.signed_uefi_medium(secure_bench.folder / "medium.iso", shim, grub)
    found = secure_bench.install(medium)
    assert "error" not in found
    (facts,) = found["facts"]
    assert facts["stages"] == ["windows-setup", "ready"]
    assert (Path(found["disks"][0]).parent / "variables.fd").stat().st_size > 0
    # Windows refuses test signing as long as Secure Boot is on: once it is off, and before it is asked.
    assert (found["switched"], found["asked"]) == (["disk.qcow2 on uefi"], ["disk.qcow2"])


def test_test_signing_is_switched_on_for_good_in_a_start_of_its_own(bench: Bench) -> None:
    found = bench.install(bench.medium(), switch=1, clone=1)
    assert "error" not in found
    # Setup's start, that of the first boot, this one: on the disk itself. The one that asks is on an overlay.
    assert found["clones"] == ["6.1.7601 BOOT4"] * 2


def test_test_signing_that_is_refused_is_no_image(bench: Bench) -> None:
    found = bench.install(bench.medium(exit_code=5), switch=1)
    assert "'bcdedit.exe /set {current} testsigning on' ended with 5: 0x1" in found["error"]
    assert "the same command goes on from it" in found["error"]
    assert (found["facts"], bench.leftovers()) == ([], [])


def test_another_medium_is_another_image(bench: Bench) -> None:
    first = bench.install(bench.medium())
    second = bench.install(bench.medium("nothing"))
    assert "error" not in second
    assert first["disks"] != second["disks"]
    assert len(second["facts"]) == 2


@pytest.mark.parametrize(
    ("wishes", "options", "outcome", "says"),
    [
        ("stall", {"specialize": 12}, "stalled", "after stage specialize"),
        ("fail", {}, "failed", "steps of the first boot did not work: dump-disk"),
        ("early", {}, "ended", "ended in stage first-logon"),
        ("loop", {}, "looped", "restarts again and again"),
        ("panic", {}, "crashed", "the guest panicked"),
        ("other", {}, "installs another system", "found Windows 6.1.7600 on its disk, wanted 6.1.7601"),
        ("", {"prompt": 0, "first": 15}, "stalled", "the screen shows whether the medium started"),
    ],
    ids=[
        "stall",
        "failed step",
        "switched off early",
        "restart loop",
        "crash",
        "other release",
        "prompt missed",
    ],
)
def test_an_install_that_goes_wrong_shows_why(
    bench: Bench, wishes: str, options: dict[str, float], outcome: str, says: str
) -> None:
    found = bench.install(bench.medium(wishes), **options)
    assert found["outcome"] == outcome
    assert says in found["error"]
    assert found["asked"] == []
    assert bench.leftovers() == []
    evidence = Path(found["evidence"])
    assert str(evidence) in found["error"]
    index = json.loads((evidence / "index.json").read_text())
    pieces = {piece["name"]: piece for piece in index["pieces"]}
    assert not pieces["debug.log"]["missing"]
    assert outcome != "stalled" or "the screen: text of 720x400" in found["error"]
    pictures = [evidence / name for name in ("screen.png", "last-screen.png") if (evidence / name).exists()]
    assert pictures
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert stat.S_IMODE(evidence.stat().st_mode) == 0o700


def test_a_setup_whose_disk_starts_nothing_is_not_started_again(bench: Bench) -> None:
    """The CD comes up once more, asks for its key, and gets none."""
    found = bench.install(bench.medium("nodisk"), long=15)
    assert (found["outcome"], found["seen"]) == ("stalled", ["starting", "windows-setup"])


def test_what_was_installed_and_does_not_answer_is_no_image(bench: Bench) -> None:
    write_install(bench.folder / "recipes", INSTALL.replace("boot_seconds = 60", "boot_seconds = 5"))
    medium = bench.medium("mute")
    found = bench.install(medium, ask=1)
    assert "was installed, but its runner can't be asked: it did not answer in time" in found["error"]
    assert found["facts"] == []
    assert bench.leftovers() == []
    evidence = bench.images / "failed" / "tiny"
    assert str(evidence) in found["error"]
    assert (evidence / "screen.png").read_bytes().startswith(b"\x89PNG")
    assert "the same command goes on from it" in found["error"]
    # Setup is not run again: the disk is started, and this time it answers.
    again = bench.install(medium)
    assert (again["seen"], again["asked"]) == ([], ["disk.qcow2"])
    (facts,) = again["facts"]
    assert facts["stages"][-1] == "ready"
    assert list(bench.images.glob(".*")) == []


def test_a_disk_that_was_kept_is_not_used_where_that_is_not_wanted(bench: Bench) -> None:
    write_install(bench.folder / "recipes", INSTALL.replace("boot_seconds = 60", "boot_seconds = 5"))
    medium = bench.medium("mute")
    assert "is kept" in bench.install(medium, ask=1)["error"]
    (kept,) = bench.images.glob(".installed-tiny-*")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert "windows-setup" in bench.install(medium, fresh=1)["seen"]
    assert list(bench.images.glob(".*")) == []


def test_the_wrong_medium_is_refused_before_anything_starts(bench: Bench) -> None:
    found = bench.install(bench.medium(build_number=9600))
    assert "found Windows build 9600" in found["error"]
    assert "wanted Windows build 7601" in found["error"]
    assert found["seen"] == []
    assert bench.leftovers() == []


def test_a_build_that_was_killed_leaves_nothing_and_the_next_one_succeeds(bench: Bench) -> None:
    medium = bench.medium("stall")
    with bench.start(medium) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip() == "stage specialize":
                break
        else:
            pytest.fail("it did not come as far as that")
        os.kill(process.pid, signal.SIGKILL)
        process.stderr.read()  # until its end: QEMU and the guard had it too
    found = bench.install(bench.medium())
    assert "error" not in found
    assert len(found["facts"]) == 1
    assert [path for path in bench.images.iterdir() if path.name.startswith(".making-")] == []


def test_a_build_that_was_killed_at_the_first_start_goes_on_from_there(bench: Bench) -> None:
    medium = bench.medium("mute")
    with bench.start(medium, ask=1) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("first start"):
                break
        else:
            pytest.fail("it did not come as far as that")
        os.kill(process.pid, signal.SIGKILL)
        process.stderr.read()
    found = bench.install(medium)
    assert "error" not in found
    assert (found["seen"], len(found["facts"])) == ([], 1)
    assert list(bench.images.glob(".*")) == []


def test_an_install_can_be_looked_at_and_interrupted(bench: Bench) -> None:
    store = ImageStore(bench.images)
    with pytest.raises(UsageError, match="not being installed at this moment"):
        look(store, "tiny")
    with bench.start(bench.medium("stall")) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip() == "stage specialize":
                break
        picture = take_screenshot(store, "tiny", bench.folder / "screen.png", timeout=300)
        assert picture.read_bytes().startswith(b"\x89PNG")
        seen = look(store, "tiny")
        assert (seen.stage, seen.expected, seen.failed) == ("specialize", 60, ())
        assert re.search(r"screen: \w+ of \d+x\d+, unchanged for \d min", str(seen))
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=300)
    assert process.returncode != 0
    assert bench.leftovers() == []
    with pytest.raises(UsageError, match="not being installed at this moment"):
        take_screenshot(store, "tiny", bench.folder / "screen.png")
