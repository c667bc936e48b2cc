"""A guest that needs no emulator, to test the plugin alone with. Imported by inner pytest runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from harness.errors import GuestCrashed, GuestHung, InfrastructureError
from harness.guest.base import Capability, ExecResult, Guest, GuestInfo
from harness.guest.bugcheck import Bugcheck, Frame
from harness.targets import Target

STACK = (
    Frame(0x1000, "wrong.sys", 0x10, "Callback", 4, "wrong.c:12"),
    Frame(0x2000, "nt", 0x20, "CmpCall", 8),
)


class FakeGuest(Guest):
    """Counts how many were booted; running the command ``crash``, ``hang`` or ``infra`` does that."""

    booted: ClassVar = 0

    def __init__(self, target: Target) -> None:
        FakeGuest.booted += 1
        self.number = FakeGuest.booted
        self._dead: GuestCrashed | None = None
        self._files: dict[str, bytes] = {}
        self._info = GuestInfo(
            target.name,
            target.kind,
            target.version,
            target.arch,
            capabilities=frozenset({Capability.APP_HIVES}),
        )

    @property
    def info(self) -> GuestInfo:
        return self._info

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, folder: str | None = None) -> ExecResult:
        match argv[0]:
            case "crash":
                self._dead = GuestCrashed(Bugcheck(0x50, (1, 2, 3, 4), "wrong.sys", "wild write", STACK))
            case "hang":
                self._dead = GuestHung(Bugcheck(0x133, (0, 0, 0, 0), "wrong.sys"))
            case "infra":
                raise InfrastructureError("the disk of the host is full")
        if self._dead is not None:
            raise self._dead
        return ExecResult(0, b"", b"")

    def put(self, path: str, data: bytes) -> None:
        self._files[path] = data

    def get(self, path: str) -> bytes:
        return self._files[path]

    def debug_output(self) -> list[str]:
        return []

    def close(self) -> None:
        self._files.clear()

    def _unused(self, *arguments: Any, **options: Any) -> Any:
        raise AssertionError("these tests load no driver and run no program")

    install_driver = start_driver = stop_driver = remove_driver = _unused
    ioctl = read_device = write_device = run = _unused
