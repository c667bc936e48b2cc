"""A bundle: everything a failure needs to happen again, in one zip.

    bundle.json          the manifest: test, target, guest, failure, claim, calls in order
    programs/0007.cbor   a program as the guest got it, numbered by its call; 0007.result.cbor what came back
    drivers/NAME.sys     images of the drivers that were loaded, with .debug, .pdb or .map where there are any
    data/DIGEST          files and requests
    evidence/NAME        trace, comparison and whatever else the run kept of the failure
    machine.xml          the machine's domain
    machine/NAME         where it was asked for, the machine's disks, memory, UEFI variables and TPM state

It comes from anywhere: reading it trusts nothing (`harness.repro.archive`), and what it holds is run only
inside guests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from harness.cleanup import Closing
from harness.errors import UsageError
from harness.machine.keep.store import Environment as Conditions
from harness.repro.archive import Archive
from harness.repro.claim import Claim
from harness.repro.failure import Failure
from harness.repro.journal import CallKind
from harness.strict import plain, read_table

__all__ = [
    "FORMAT",
    "Bundle",
    "CallKind",
    "CallRecord",
    "DriverRecord",
    "GuestRecord",
    "MachineFile",
    "MachineFileKind",
    "Manifest",
    "TestRecord",
    "encode_manifest",
]

#: Changes when an older harness would read a bundle wrongly.
FORMAT: Final = 1
_MANIFEST: Final = "bundle.json"
_MAX_MANIFEST: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call. Which fields count depends on `kind`; `member` is where the zip has its bytes."""

    kind: CallKind
    member: str = ""
    device: str = ""
    code: int = 0
    output: int = 0
    held: int = -1
    status: int | None = None
    reply: str = ""  # hexadecimal
    path: str = ""
    argv: tuple[str, ...] = ()
    timeout: float = 60.0
    length: int = 0
    service: str = ""


@dataclass(frozen=True, slots=True)
class DriverRecord:
    """A driver that was loaded: `member` is its image, `symbols` members beside it.

    `own` is the driver under test, given with --driver. `parameters` are numbers, texts, or bytes as
    {"hex": ...}.
    """

    service: str
    sha256: str
    member: str
    symbols: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    own: bool = False
    probe: bool = False


@dataclass(frozen=True, slots=True)
class TestRecord:
    """The test: its node id (`node` with the target in it, `name` without), file and digest of the file.

    `root` is the folder pytest ran in and `file` is relative to it. `earlier` ran before on the same guest.
    """

    __test__ = False  # not a test class, whatever its name says

    node: str
    name: str
    root: str = ""
    file: str = ""
    sha256: str = ""
    seed: str = ""
    isolation: str = "module"
    earlier: tuple[str, ...] = ()
    #: Plugins that were named on the command line.
    plugins: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    driver_parameters: tuple[str, ...] = ()
    channel: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestRecord:
    """What the guest was. `template` is its image's digest, `domain` the member with the machine's XML."""

    kind: str
    version: str
    arch: str
    axes: tuple[str, ...] = ()
    template: str = ""
    channel: str = ""
    accelerator: str = ""
    qemu: str = ""
    libvirt: str = ""
    command_line: tuple[str, ...] = ()
    domain: str = ""
    #: What must be the same where `MachineFileKind.STATE` is to be loaded.
    conditions: Conditions | None = None
    #: Whether its RAM was a file, as that of clones is; where the state is loaded it has to be one too.
    ram_file: bool = False


class MachineFileKind(StrEnum):
    DISK = "disk"  # a qcow2 overlay
    ELF = "elf"  # memory
    WINDOWS = "win-dmp"  # memory, for Windows' debuggers
    VARIABLES = "variables"  # of UEFI firmware, raw
    TPM = "tpm"  # swtpm's state of a TPM 2.0
    STATE = "state"  # the whole machine as QEMU migrates it: memory, processors, devices


@dataclass(frozen=True, slots=True)
class MachineFile:
    """A file of the machine as it stood when the test had failed; `size` in bytes.

    Of a disk, `disk` counts those the guest could write to, and `layer` tells what lies on what: 0 is what
    this machine wrote, 1 what its template had written before, and below the last of them is the disk of the
    image whose digest is `GuestRecord.template`. `backing` is what lay below, as folder and file.
    """

    kind: MachineFileKind
    member: str
    size: int
    sha256: str
    disk: int = 0
    layer: int = 0
    backing: str = ""
    backing_format: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """bundle.json. `claim` is missing where the failure can't be put as one; `no_claim` says why."""

    format: int
    harness: str
    created: str
    target: str
    test: TestRecord
    guest: GuestRecord
    failure: Failure
    claim: Claim | None = None
    no_claim: str = ""
    #: The test's root key, which programs and rules name.
    test_root: str = ""
    calls: tuple[CallRecord, ...] = ()
    #: Calls that were too many or too large to keep: then the test can only be run again as a whole.
    dropped: int = 0
    drivers: tuple[DriverRecord, ...] = ()
    attestation: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    machine: tuple[MachineFile, ...] = ()
    #: Why files of the machine are missing that were asked for.
    no_machine: str = ""

    @property
    def own_driver(self) -> DriverRecord | None:
        """The driver under test."""
        return next((driver for driver in self.drivers if driver.own), None)


class Bundle(Closing):
    """An opened bundle: the manifest, and the members it names. A context manager."""

    def __init__(self, file: Path, manifest: Manifest, archive: Archive) -> None:
        self.file = file
        self.manifest = manifest
        self._archive = archive

    @classmethod
    def open(cls, file: Path) -> Self:
        """Raises `UsageError` for what is no bundle of this format, naming what is wrong."""
        if not file.is_file():
            raise UsageError(f"there is no bundle {file}; a run keeps its own in results/<run>/bundles/")
        archive = Archive(file)
        try:
            return cls(file, _read_manifest(file, archive), archive)
        except BaseException:
            archive.close()
            raise

    def read(self, member: str) -> bytes:
        """The bytes of a member."""
        return self._archive.read(member)

    def copy(self, member: str, to: Path, *, limit: int) -> str:
        """Write a member of at most `limit` bytes over the file `to`; returns its SHA-256."""
        return self._archive.copy(member, to, limit=limit)

    def image(self, driver: DriverRecord) -> bytes:
        """A driver's image; it must be the one that was recorded."""
        data = self.read(driver.member)
        if hashlib.sha256(data).hexdigest() != driver.sha256:
            raise UsageError(f"{self.file}: {driver.member} is not the driver it was: its digest differs")
        return data

    def close(self) -> None:
        self._archive.close()


def _read_manifest(file: Path, archive: Archive) -> Manifest:
    data = archive.read(_MANIFEST, limit=_MAX_MANIFEST)
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: {_MANIFEST} is not JSON: {error}") from None
    found = raw.get("format") if isinstance(raw, dict) else None
    if type(found) is not int:
        raise UsageError(f"{file} is no bundle: {_MANIFEST} has no format")
    writer = f"it was written by harness {str(raw.get('harness'))[:40]!a}"
    if found != FORMAT:
        raise UsageError(f"{file} has format {found}, this harness reads {FORMAT}; {writer}")
    try:
        manifest = read_table(Manifest, raw, file)
    except UsageError as error:
        raise UsageError(f"{error}\n{writer}: another version may know more than this one") from None
    missing = [name for name in _members(manifest) if name not in archive.names]
    if missing:
        raise UsageError(f"{file} lacks {missing[0]}, which its manifest names; it is damaged")
    return manifest


def _members(manifest: Manifest) -> list[str]:
    named = [call.member for call in manifest.calls]
    for driver in manifest.drivers:
        named += [driver.member, *driver.symbols]
    named += [manifest.guest.domain, *manifest.evidence, *(file.member for file in manifest.machine)]
    return [name for name in named if name]


def encode_manifest(manifest: Manifest) -> dict[str, bytes]:
    """The manifest as the member it is."""
    return {_MANIFEST: (json.dumps(plain(manifest), indent=1) + "\n").encode("utf-8", "backslashreplace")}
