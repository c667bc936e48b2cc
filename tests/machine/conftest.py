"""A host and a tiny guest for the tests of machines. QEMU is real, under TCG; nothing is left behind.

- `host`: a `Host` with libvirt's embedded driver, one per test process, because libvirt allows one.
- `tiny`: makes the description of a machine that boots the tiny guest (tinyguest/tiny.c says what it can do).
- `tinyguest.TinyLine(spec.channel_socket)`: asks it; waits until it is up.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.machine.describe.spec import Disk, DiskBus, DiskFormat, MachineSpec, SealedImage
from harness.machine.keep.places import Places
from tests.machine.tinyguest import build, tiny_boot, tiny_hardware

if TYPE_CHECKING:
    from harness.machine.hypervisor.host import Host
    from harness.machine.keep.session import Session

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the sockets below it; pytest's own are too long."""
    folder = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def host(short_folder: Path) -> Iterator[Host]:
    from harness.machine.hypervisor.host import Host

    with Host.open(root=short_folder / "lv") as host:
        yield host


@pytest.fixture(scope="session")
def tiny_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(short_folder: Path, tiny_kernel: Path) -> Iterator[Callable[..., MachineSpec]]:
    """``tiny(hardware=tiny_hardware(...), forwards=...)``: a `MachineSpec` with its own name and folder."""
    folders: list[Path] = []

    def make(**changes: Any) -> MachineSpec:
        number = next(_numbers)
        folder = short_folder / f"m{number}"
        folders.append(folder)
        hardware = changes.pop("hardware", tiny_hardware())
        spec = MachineSpec(
            name=f"tiny-{os.getpid()}-{number}",
            hardware=hardware,
            folder=folder,
            boot=tiny_boot(tiny_kernel, hardware),
        )
        return replace(spec, **changes)

    yield make
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def places(short_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """The harness's folders, for these tests alone."""
    memory = Path(tempfile.mkdtemp(prefix="rf-", dir="/dev/shm")) if Path("/dev/shm").is_dir() else None
    yield Places(cache=tmp_path_factory.mktemp("cache"), runtime=short_folder / "run", memory=memory)
    if memory is not None:
        shutil.rmtree(memory)


@pytest.fixture(scope="module")
def machine_session(places: Places) -> Iterator[Session]:
    """This process's session; when a module leaves it, none of its machines may be left."""
    from harness.machine.keep.processes import of_folders
    from harness.machine.keep.session import Session

    with Session.open(places) as session:
        yield session
        assert of_folders((session.folder, session.disk)) == ()


@pytest.fixture(scope="session")
def tiny_image(tiny_kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SealedImage]:
    """``tiny_image("name")``: a sealed image of the tiny guest, with a disk of a megabyte."""
    disk = tmp_path_factory.mktemp("image") / "disk.raw"
    disk.write_bytes(b"sealed".ljust(1 << 20, b"\0"))

    def make(name: str, **changes: Any) -> SealedImage:
        hardware = changes.pop("hardware", None) or tiny_hardware(disk_bus=DiskBus.IDE)
        image = SealedImage(
            name=name,
            digest=hashlib.sha256(name.encode()).hexdigest(),
            hardware=hardware,
            disks=(Disk(disk, DiskFormat.RAW),),
            boot=tiny_boot(tiny_kernel, hardware),
            boot_seconds=60,
        )
        return replace(image, **changes)

    return make
