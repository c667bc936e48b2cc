"""Operations of a program and answers of a callback, short enough for a line of a test."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from filtering_world import Callback

from harness.guest import Arch
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.notify import NotifyClass
from harness.registry.status import NTSTATUS
from harness.registry.version import (
    MODELLED,
    WindowsVersion,
    architectures,
)
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation

ROOT = "\\REGISTRY\\MACHINE\\Software\\FilterTest"
BYPASS = NTSTATUS.CALLBACK_BYPASS
EVERYWHERE = [(version, Arch(arch)) for version in MODELLED for arch in architectures(version)]


def op(opcode: Opcode, **fields: object) -> Operation:
    return Operation(opcode=opcode, **fields)  # type: ignore[arg-type]


def create(out: int = 0, name: str = ROOT, **fields: object) -> Operation:
    return op(Opcode.CREATE_KEY, out=out, name=name, **{"access": KEY_ALL_ACCESS, **fields})


def open_(out: int = 0, name: str = ROOT, **fields: object) -> Operation:
    return op(Opcode.OPEN_KEY, out=out, name=name, **{"access": KEY_ALL_ACCESS, **fields})


def set_value(handle: int = 0, name: str = "v", data: bytes = b"x\0", **fields: object) -> Operation:
    return op(Opcode.SET_VALUE, handle=handle, value_name=name, type=1, data=data, **fields)


def query(handle: int = 0, name: str = "v", length: int = 64) -> Operation:
    return op(Opcode.QUERY_VALUE, handle=handle, value_name=name, info_class=2, length=length)


def close(handle: int = 0) -> Operation:
    return op(Opcode.CLOSE, handle=handle)


def at(*classes: NotifyClass, do: Callback) -> Callback:
    """A callback that acts on some classes and passes the others."""
    return lambda note: do(note) if note.notify_class in classes else 0


def returns(status: int) -> Callback:
    return lambda note: status


def altitude(version: WindowsVersion, text: str) -> str | None:
    return text if version.has_layering else None
