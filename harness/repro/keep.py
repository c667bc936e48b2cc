"""Making a bundle of a failed test: the journal, the failure and what it ran on, written as one file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from harness.guest.base import DriverParameters
from harness.repro.archive import write_archive
from harness.repro.bundle import (
    FORMAT,
    CallRecord,
    DriverRecord,
    GuestRecord,
    MachineFile,
    Manifest,
    TestRecord,
    encode_manifest,
)
from harness.repro.claim import Claim
from harness.repro.failure import Failure
from harness.repro.journal import Call, Installed, Journal, Put, Ran, Requested, Wrote

__all__ = ["FOLDER", "Circumstances", "write_bundle"]

#: Where a run keeps its bundles.
FOLDER: Final = "bundles"
_SYMBOLS: Final = (".debug", ".pdb", ".map")
_MAX_SYMBOLS: Final = 64 * 1024 * 1024
_MAX_EVIDENCE: Final = 16 * 1024 * 1024
#: Fields of a record that a call may have under the same name, with the same content.
_RECORDED: Final = {each.name for each in fields(CallRecord)} - {"kind", "member", "reply"}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a bundle says of a failure beside the journal."""

    target: str
    test: TestRecord
    guest: GuestRecord
    failure: Failure
    harness: str = ""
    claim: Claim | None = None
    no_claim: str = ""
    test_root: str = ""
    own_driver: Path | None = None
    attestation: Mapping[str, Any] = field(default_factory=dict)
    #: Files whose content goes along, by the member's name.
    evidence: Mapping[str, Path] = field(default_factory=dict)
    domain: str = ""
    #: The machine's disks and memory, whole, and why any are missing.
    machine: tuple[tuple[MachineFile, Path], ...] = ()
    no_machine: str = ""


class _Writer:
    """Turns calls into records and members."""

    def __init__(self, about: Circumstances) -> None:
        self.members: dict[str, bytes | Path] = {}
        self.drivers: dict[tuple[str, str], DriverRecord] = {}
        self._about = about

    def record(self, index: int, call: Call) -> CallRecord:
        """The record of a call; fields that both have go over as they are."""
        member = ""
        match call:
            case Ran():
                member = self._program(index, call)
            case Installed():
                member = self._driver(call)
            case Requested() | Put() | Wrote():
                member = self._data(call.data)
            case _:
                pass
        plain = {name: getattr(call, name) for name in _RECORDED & {each.name for each in fields(call)}}
        if isinstance(call, Requested):
            plain["reply"] = call.reply.hex()
        return CallRecord(call.kind, member, **plain)

    def _program(self, index: int, call: Ran) -> str:
        from harness.workload.codec import encode_program

        name = f"programs/{index:04}.cbor"
        self.members[name] = encode_program(call.program)
        if call.result is not None:
            self.members[f"programs/{index:04}.result.cbor"] = call.result.encode()
        return name

    def _data(self, data: bytes) -> str:
        if not data:
            return ""
        name = f"data/{hashlib.sha256(data).hexdigest()[:32]}"
        self.members[name] = data
        return name

    def _driver(self, call: Installed) -> str:
        from harness.driver.symbols import find_symbols

        digest = hashlib.sha256(call.image).hexdigest()
        key = call.service.lower(), digest
        if key not in self.drivers:
            name = f"drivers/{digest[:12]}/{_safe(call.service)}"
            self.members[f"{name}.sys"] = call.image
            own = self._about.own_driver
            is_own = own is not None and _digest(own) == digest
            beside = [own.with_suffix(suffix) for suffix in _SYMBOLS] if is_own and own is not None else []
            found = find_symbols(call.image)
            symbols = []
            for path in dict.fromkeys([*beside, *([found] if found is not None else [])]):
                member = f"{name}{path.suffix or '.debug'}"
                if member not in self.members and _fits(path, _MAX_SYMBOLS):
                    self.members[member] = path
                    symbols.append(member)
            self.drivers[key] = DriverRecord(
                call.service,
                digest,
                f"{name}.sys",
                tuple(symbols),
                _plain_parameters(call.parameters),
                own=is_own,
                probe=call.service == "regprobe",
            )
        return self.drivers[key].member


def write_bundle(folder: Path, name: str, journal: Journal, about: Circumstances) -> str:
    """Write ``bundles/NAME.zip`` below a run's folder; returns its name relative to that folder.

    `name` may be any text, and no bundle is ever overwritten.
    """
    writer = _Writer(about)
    calls = tuple(writer.record(index, call) for index, call in enumerate(journal.calls))
    guest = about.guest
    if about.domain:
        writer.members["machine.xml"] = about.domain.encode()
        guest = replace(guest, domain="machine.xml")
    evidence = {f"evidence/{_safe(each)}": path for each, path in about.evidence.items()}
    evidence = {member: path for member, path in evidence.items() if _fits(path, _MAX_EVIDENCE)}
    manifest = Manifest(
        format=FORMAT,
        harness=about.harness,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=about.target,
        test=replace(about.test, earlier=tuple(journal.earlier)),
        guest=guest,
        failure=about.failure,
        claim=about.claim,
        no_claim=about.no_claim,
        test_root=about.test_root,
        calls=calls,
        dropped=journal.dropped,
        drivers=tuple(writer.drivers.values()),
        attestation=about.attestation,
        evidence=tuple(evidence),
        machine=tuple(file for file, _ in about.machine),
        no_machine=about.no_machine,
    )
    place = _free_place(folder / FOLDER, name)
    machine = {file.member: path for file, path in about.machine}
    write_archive(place, {**encode_manifest(manifest), **writer.members, **evidence, **machine})
    return f"{FOLDER}/{place.name}"


def _free_place(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    safe = _safe(name)
    for number in range(1, 10_000):
        place = folder / (f"{safe}.zip" if number == 1 else f"{number}-{safe}.zip")
        try:  # claims the name among processes that write into one run
            place.touch(exist_ok=False)
        except FileExistsError:
            continue
        return place
    return folder / f"{safe}-{datetime.now(UTC):%H%M%S%f}.zip"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", name).strip("._")[-120:] or "failure"


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _fits(path: Path, limit: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size <= limit
    except OSError:
        return False


def _plain_parameters(parameters: DriverParameters | None) -> dict[str, Any]:
    return {
        name: {"hex": value.hex()} if isinstance(value, bytes) else value
        for name, value in (parameters or {}).items()
    }
