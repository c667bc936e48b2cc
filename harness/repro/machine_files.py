"""The machine a test failed on, disks, UEFI variables, TPM, memory: into its bundle, and out of it again.

Memory goes in twice where there is room: as a dump, which debuggers read, and in the state that QEMU saves of
a machine, which another QEMU goes on from.

The machine is paused and its files are read as they stand: QEMU writes back what it holds of them when it
pauses (`bdrv_flush_all` in its `vm_stop`). Neither way is a file ever in this process's memory as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError, InfrastructureError, UsageError
from harness.machine.disk.nonvolatile import TPM_FILE, nonvolatile_files
from harness.machine.disk.qcow2 import read_header
from harness.repro.bundle import Bundle, MachineFile, MachineFileKind

if TYPE_CHECKING:
    from harness.guest.base import Guest
    from harness.machine.guest import MachineGuest
    from harness.machine.hypervisor.machine import Machine

__all__ = [
    "ALL_KINDS",
    "MAX_LAYERS",
    "MAX_MACHINE",
    "MachineState",
    "check_room",
    "extract_machine",
    "file_name",
    "machine_state",
    "why_no_machine",
]

#: Bytes of all the files together, before they are compressed.
MAX_MACHINE: Final = 16 << 30
#: Files that can lie below a clone's disk: its template's, and images' made from images.
MAX_LAYERS: Final = 16
_DUMP_SECONDS: Final = 300.0
_STATE_SECONDS: Final = 600.0
#: Room for what a state holds beside RAM: devices, video memory.
_DEVICES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class MachineState:
    """The files, where they are now, and why any are missing; empty when none are."""

    files: tuple[tuple[MachineFile, Path], ...] = ()
    missing: str = ""


# -- into a bundle -------------------------------------------------------------------------------------------


@contextmanager
def machine_state(guest: Guest, room: Path) -> Iterator[MachineState]:
    """Pause the machine of `guest`, which stays paused, and have its files for as long as the block lasts.

    They have to fit into the folder `room` as they are. Raises nothing: what can't be had is told.
    """
    machine_guest: MachineGuest = guest  # type: ignore[assignment]
    machine = machine_guest.machine
    found = _Found(room, machine.spec.disk_folder)
    missing = []
    machine_guest.watch.stop()  # pausing is ours
    try:
        for what, collect in _PARTS:
            try:
                if machine.running:
                    machine.suspend()
                collect(machine, found)
            except (HarnessError, OSError) as trouble:
                missing.append(f"{what}: {trouble}")
        yield MachineState(tuple(found.files), "; ".join(missing))
    finally:
        found.clear()


class _Found:
    """Files for a bundle in the folder `room`, as long as they fit; some are made for it in `temporary`."""

    def __init__(self, room: Path, temporary: Path) -> None:
        self.files: list[tuple[MachineFile, Path]] = []
        self._room = room
        self._temporary = temporary
        self._made: list[Path] = []

    def make(self, name: str, size: int) -> Path:
        """Where a file of up to `size` bytes may be made, which goes when the bundle is written.

        Raises `InfrastructureError` where there is no room for it there.
        """
        from harness.machine.keep.places import require_space

        require_space(self._temporary, size, f"a machine's {name}")
        self._made.append(self._temporary / f"bundle.{name}")
        return self._made[-1]

    def clear(self) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)

    def add(self, path: Path, kind: MachineFileKind, name: str, **facts: Any) -> None:
        size = path.stat().st_size
        self.check(size)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.files.append((MachineFile(kind, f"machine/{name}", size, digest, **facts), path))

    def check(self, size: int) -> None:
        """Raise `InfrastructureError` where there is no room for so many bytes more."""
        from harness.machine.keep.places import require_space

        total = size + sum(file.size for file, _ in self.files)
        if total > MAX_MACHINE:
            raise InfrastructureError(
                f"with {size >> 20} MiB more there would be {total >> 20} MiB of disks and memory; "
                f"a bundle has room for {MAX_MACHINE >> 20} MiB"
            )
        require_space(self._room, total, "a machine's disks and memory in a bundle")


def _disks(machine: Machine, found: _Found) -> None:
    """What the clone wrote, then what was written below that, as far down as the image's own disks."""
    for number, disk in enumerate(disk for disk in machine.spec.disks if not disk.read_only):
        path = disk.path
        for layer in range(MAX_LAYERS):
            header = read_header(path)
            if header is None or header.backing_file is None:
                break  # stands alone: the image's, which its digest names
            found.add(
                path,
                MachineFileKind.DISK,
                f"disk{number}.{layer}.qcow2",
                disk=number,
                layer=layer,
                backing="/".join(Path(header.backing_file).parts[-2:]),
                backing_format=header.backing_format or "",
            )
            path = path.parent / header.backing_file


def _memory(machine: Machine, found: _Found) -> None:
    size = machine.spec.hardware.memory_mib << 20
    found.check(size)
    dump = found.make("memory", size)
    kind = MachineFileKind(machine.memory_dump(dump, timeout=_DUMP_SECONDS).value)
    dump.chmod(0o600)
    found.add(dump, kind, f"memory.{kind}")


def _state(machine: Machine, found: _Found) -> None:
    """The last part: from then on the machine is one that has moved away."""
    from harness.machine.hypervisor.migration import keep_ram, save_state

    state = found.make("state", (machine.spec.hardware.memory_mib << 20) + _DEVICES)
    keep_ram(machine)
    save_state(machine, state, timeout=_STATE_SECONDS)
    found.add(state, MachineFileKind.STATE, "state")


def _nonvolatile(machine: Machine, found: _Found) -> None:
    """What the firmware and the TPM keep; the machine's disks are no use without where they expect them."""
    files = nonvolatile_files(machine.spec)
    if files.variables is not None:
        found.add(files.variables, MachineFileKind.VARIABLES, "variables")
    for path in files.tpm:
        found.add(path, MachineFileKind.TPM, path.name)


_PARTS: Final = (
    ("disks", _disks),
    ("UEFI variables and TPM", _nonvolatile),
    ("memory", _memory),
    ("the state to resume it from", _state),
)


# -- out of a bundle -----------------------------------------------------------------------------------------


def file_name(file: MachineFile) -> str:
    """What a file is called when it is extracted, by what it is: ``disk0.qcow2``, ``memory.elf``.

    swtpm knows its files by their names: ``tpm/tpm2-00.permall``. Raises `UsageError` for another name.
    """
    match file.kind:
        case MachineFileKind.DISK if file.layer == 0:
            return f"disk{file.disk}.qcow2"
        case MachineFileKind.DISK:
            return f"disk{file.disk}-below{file.layer}.qcow2"
        case MachineFileKind.VARIABLES:
            return "variables.fd"
        case MachineFileKind.TPM:
            name = file.member.rpartition("/")[2]
            if not TPM_FILE.fullmatch(name):
                raise UsageError(f"{name[:80]!r} is no name of a TPM's state; the bundle is damaged")
            return f"tpm/{name}"
        case MachineFileKind.WINDOWS:
            return "memory.dmp"
        case MachineFileKind.ELF:
            return "memory.elf"
        case MachineFileKind.STATE:
            return "state"


#: All there are.
ALL_KINDS: Final = frozenset(MachineFileKind)


def extract_machine(
    bundle: Bundle, folder: Path, kinds: frozenset[MachineFileKind] = ALL_KINDS
) -> tuple[Path, ...]:
    """Write the machine's files into `folder`, which is made if need be; returns them in their order.

    Only those of `kinds`. No file is overwritten, and zeros take no room. Raises `UsageError` for a bundle
    without them, and for one whose files are not what its manifest says; what was written is taken away then.
    """
    if not bundle.manifest.machine:
        raise UsageError(f"{bundle.file} holds no files of a machine: {why_no_machine(bundle)}")
    check_room(bundle, folder, kinds)
    files = [file for file in bundle.manifest.machine if file.kind in kinds]
    names = [file_name(file) for file in files]
    if len(set(names)) < len(names):
        raise UsageError(f"{bundle.file}: its manifest names a file of the machine twice; it is damaged")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    try:
        for file, name in zip(files, names, strict=True):
            _extract(bundle, file, folder / name, written)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return tuple(written)


def check_room(bundle: Bundle, folder: Path, kinds: frozenset[MachineFileKind] = ALL_KINDS) -> None:
    """Raise `UsageError` for more than is ever read, `InfrastructureError` for more than fits `folder`."""
    from harness.machine.keep.places import require_space

    sizes = [file.size for file in bundle.manifest.machine if file.kind in kinds]
    total = sum(sizes)
    if total > MAX_MACHINE or any(size < 0 for size in sizes):
        raise UsageError(f"{bundle.file}: {total} bytes of disks and memory; at most {MAX_MACHINE} are read")
    require_space(folder, total, "what the bundle holds of the machine")


def why_no_machine(bundle: Bundle) -> str:
    """Why files of the machine are missing in a bundle, as far as it says."""
    return bundle.manifest.no_machine or "pytest was not given --bundle-machine when it failed"


def _extract(bundle: Bundle, file: MachineFile, path: Path, written: list[Path]) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        path.touch(0o600, exist_ok=False)
    except FileExistsError:
        raise UsageError(f"{path} is there already; give --extract another folder") from None
    written.append(path)
    if bundle.copy(file.member, path, limit=file.size) != file.sha256:
        raise UsageError(f"{bundle.file}: {file.member} is not what it was: its digest differs")
    if file.kind is MachineFileKind.DISK:
        header = read_header(path)
        if header is None or header.data_file:  # QEMU would open whatever other file it names
            raise UsageError(f"{bundle.file}: {file.member} is no overlay that stands on a disk alone")
