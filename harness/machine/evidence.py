"""What shows why a machine failed: screen, memory, logs, description, collected into a folder with an index.

Each piece is had by itself: one that fails is written down as missing, and the others are still collected.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from harness.errors import GuestCrashed, GuestHung, HarnessError, InfrastructureError
from harness.guest.bugcheck import Bugcheck
from harness.machine.describe.spec import Disk, MachineSpec
from harness.machine.disk.dump import DumpError, contradiction, read_dump
from harness.machine.disk.dump_disk import fetch_dump

__all__ = ["INDEX", "MAX_LOG", "Evident", "Piece", "collect"]

INDEX: Final = "index.json"
#: `DumpKind.WINDOWS` of `harness.machine.hypervisor.machine`, which needs libvirt.
WINDOWS_DUMP: Final = "win-dmp"
#: Bytes kept of a log: its end.
MAX_LOG: Final = 16 << 20
_DUMP_SECONDS: Final = 300.0
_MEBIBYTE: Final = 1 << 20
#: What a guest's own dump may have beyond its memory.
_OWN_DUMP_MIB: Final = 64


class Evident(Protocol):
    """What is asked of a `hypervisor.machine.Machine`, whether it runs, stands or is gone."""

    spec: MachineSpec
    qemu_log: Path

    @property
    def name(self) -> str: ...
    @property
    def xml(self) -> str: ...
    @property
    def running(self) -> bool: ...
    @property
    def events(self) -> tuple[object, ...]: ...
    def suspend(self) -> None: ...
    def screenshot(self, path: Path) -> Path: ...
    def memory_dump(self, path: Path, *, timeout: float) -> object: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of evidence, or why it is missing. `size` in bytes, `seconds` it took to get."""

    name: str
    what: str
    size: int = 0
    seconds: float = 0.0
    missing: str = ""


def collect(
    machine: Evident,
    folder: Path,
    error: BaseException | None,
    *,
    environment: Mapping[str, Any] | None = None,
    memory_mib: int = 0,
) -> tuple[Piece, ...]:
    """Collect everything into `folder`, which exists; returns what is there and what is missing.

    The machine is paused first, so that all pieces show the same moment; it stays paused. `environment` is
    what the guest said about itself. `memory_mib` allows a memory dump of a guest with at most that much
    memory; 0 takes none. Raises nothing: the failure that evidence is for must not be hidden by another.
    """
    not_paused = _pause(machine)
    pieces = [_piece(folder, name, what, get) for name, what, get in _wanted(machine, environment)]
    dumped: dict[str, Any] = {}
    if memory_mib:
        pieces.append(_memory(machine, folder, memory_mib, dumped))
        if not dumped and len(_written(machine)) > 1 and not isinstance(error, GuestHung):
            pieces.append(_own_dump(machine, folder, memory_mib, dumped))
    told = error.bugcheck if isinstance(error, GuestCrashed) else None
    index = {
        "machine": machine.name,
        "error": "" if error is None else f"{type(error).__name__}: {error}",
        "not_paused": not_paused,
        "dump": _dump_facts(dumped, told),
        "pieces": [asdict(piece) for piece in pieces],
    }
    _piece(folder, INDEX, "", lambda to: _write(to, json.dumps(index, indent=1).encode("ascii")))
    return tuple(pieces)


def _pause(machine: Evident) -> str:
    """Why the machine could not be paused; empty when it stands."""
    try:
        if machine.running:
            machine.suspend()
    except HarnessError as trouble:
        return _said(trouble)
    return ""


def _wanted(
    machine: Evident, environment: Mapping[str, Any] | None
) -> list[tuple[str, str, Callable[[Path], object]]]:
    logs = sorted(path for path in machine.spec.folder.glob("*.log") if path != machine.spec.debug_log)
    return [
        ("screen.png", "what the display showed", machine.screenshot),
        ("debug.log", "the end of the debug port's output", lambda to: _copy(machine.spec.debug_log, to)),
        *((log.name, "the end of a log", lambda to, log=log: _copy(log, to)) for log in logs),
        ("qemu.log", "QEMU's own output", lambda to: _copy(machine.qemu_log, to)),
        ("domain.xml", "the machine as libvirt ran it", lambda to: _write(to, machine.xml.encode())),
        ("events.txt", "what libvirt and QEMU reported", lambda to: _write(to, _events(machine))),
        (
            "environment.json",
            "what the guest said about itself",
            lambda to: _write(to, json.dumps(dict(environment or {}), indent=1, default=str).encode()),
        ),
    ]


def _piece(folder: Path, name: str, what: str, get: Callable[[Path], object]) -> Piece:
    path = folder / name
    begin = time.monotonic()
    try:
        get(path)
        path.chmod(0o600)  # QEMU and libvirt write some of them, as they please
        size = path.stat().st_size
    except Exception as trouble:  # whatever goes wrong, the other pieces and the failure itself matter more
        path.unlink(missing_ok=True)
        return Piece(name, what, missing=_said(trouble))
    return Piece(name, what, size, round(time.monotonic() - begin, 3))


def _said(trouble: BaseException) -> str:
    return f"{type(trouble).__name__}: {trouble}"[:2000]


def _dump_facts(dumped: dict[str, Any], told: Bugcheck | None) -> dict[str, Any]:
    """What a dump in Windows' format says for itself, and where that is not what was reported."""
    facts = dumped.get("facts")
    if facts is None:
        return dumped
    return {**asdict(facts), "differs": "" if told is None else contradiction(facts.bugcheck, told)}


def _memory(machine: Evident, folder: Path, memory_mib: int, dumped: dict[str, Any]) -> Piece:
    """Dump the memory; what can be read of a dump in Windows' format goes into `dumped`."""
    what = "the guest's memory, compressed"
    has = machine.spec.hardware.memory_mib
    if has > memory_mib:
        return Piece("memory", what, missing=f"the guest has {has} MiB, a dump may have {memory_mib}")
    free = shutil.disk_usage(folder).free // _MEBIBYTE
    if free < 2 * has:  # the dump, and its compressed form beside it
        return Piece("memory", what, missing=f"{2 * has} MiB needed for a dump, {free} are free in {folder}")
    raw = folder / "memory.raw"
    kinds: list[str] = []

    def dump(to: Path) -> None:
        try:
            kinds.append(str(machine.memory_dump(raw, timeout=_DUMP_SECONDS)))
            raw.chmod(0o600)
            if kinds == [WINDOWS_DUMP]:
                dumped.update(_read(raw))
            _pack(raw, to)
        finally:
            raw.unlink(missing_ok=True)

    piece = _piece(folder, "memory.gz", what, dump)
    if piece.missing:
        return piece
    name = f"memory.{kinds[0]}.gz"
    (folder / piece.name).rename(folder / name)
    return Piece(name, what, piece.size, piece.seconds)


def _written(machine: Evident) -> list[Disk]:
    """The disks the guest writes to, the last one first: that is where images have their dumps."""
    return [disk for disk in reversed(machine.spec.disks) if not disk.read_only]


def _own_dump(machine: Evident, folder: Path, memory_mib: int, dumped: dict[str, Any]) -> Piece:
    """The dump that Windows wrote itself, off its disks."""
    raw = folder / "own.raw"

    def fetch(to: Path) -> None:
        try:
            if not fetch_dump(_written(machine), raw, limit=memory_mib + _OWN_DUMP_MIB << 20):
                raise InfrastructureError("there is none on the guest's disks; it may not have been finished")
            dumped.update(_read(raw))
            _pack(raw, to)
        finally:
            raw.unlink(missing_ok=True)

    return _piece(folder, "memory.own-dmp.gz", "the crash dump that the guest wrote, compressed", fetch)


def _pack(raw: Path, to: Path) -> None:
    with raw.open("rb") as source, _create(to) as target, gzip.open(target, "wb", 1) as packed:
        shutil.copyfileobj(source, packed, _MEBIBYTE)


def _read(raw: Path) -> dict[str, Any]:
    try:
        return {"facts": read_dump(raw)}
    except DumpError as trouble:
        return {"trouble": str(trouble)}


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, _create(target) as out:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - MAX_LOG))
        out.write(file.read(MAX_LOG))


def _events(machine: Evident) -> bytes:
    return "".join(f"{event}\n" for event in machine.events).encode("utf-8", "backslashreplace")


def _write(path: Path, data: bytes) -> None:
    with _create(path) as file:
        file.write(data)


def _create(path: Path) -> Any:
    """A new file for its owner alone: memory and logs hold whatever the guest held."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
