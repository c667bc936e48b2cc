"""Tiny machines whose scripted system knows what drivers hold: what a driver leaves there, its name says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cbor2

from harness.channel.abi import constant
from harness.channel.base import Progress
from harness.channel.errors import RunnerError
from harness.channel.frames import RequestType
from harness.machine.hypervisor.machine import Machine
from harness.workload.registry import HARNESS_KEY
from tests.machine.tiny_channel import TinyChannel
from tests.plugin import tiny_machines

__all__ = ["install"]

_STOPPED, _RUNNING = 1, 4
_ACCOUNTS: Final = {RequestType.POOL_TAGS, RequestType.POOL_VERIFIED, RequestType.OPEN_KEYS}
_NO_USE: Final = dict.fromkeys(("paged_allocs", "paged_frees", "paged_bytes", "nonpaged_frees"), 0)


class LeakyChannel(TinyChannel):
    """Drivers load and unload; "pool" and "key" leave one of these behind, and with "old" the runner is."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        super().__init__(path, timeout=timeout)
        self._services: dict[str, int] = {}

    def put(
        self, path: str, source: bytes | Path, *, timeout: float = 600.0, progress: Progress | None = None
    ) -> None:
        """Files go nowhere."""

    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes:
        asked = cbor2.loads(payload) if payload else {}
        name, keys = asked.get("name", ""), self._keys(asked.get("key", ""))
        if type in _ACCOUNTS and "old" in self._services:
            raise RunnerError("no request has that type", code=constant("REGRUN_ERROR_UNKNOWN_REQUEST"))
        answers: dict[int, dict[str, Any]] = {
            RequestType.POOL_TAGS: {"tags": self._tags()},
            RequestType.POOL_VERIFIED: {"drivers": []},
            RequestType.OPEN_KEYS: {"runner": 700, "count": len(keys), "keys": keys},
            RequestType.SERVICE_CREATE: {},
            RequestType.SERVICE_DELETE: {},
            RequestType.FILE_DELETE: {},
            RequestType.SERVICE_START: {"status": 0, "win32": None, "by": "native"},
            RequestType.SERVICE_STOP: {"status": 0, "win32": None, "by": "native"},
            RequestType.SERVICE_QUERY: {"exists": True, "state": self._services.get(name, _STOPPED)},
        }
        if type in (RequestType.SERVICE_START, RequestType.SERVICE_STOP):
            self._services[name] = _RUNNING if type == RequestType.SERVICE_START else _STOPPED
        return (
            cbor2.dumps(answers[type]) if type in answers else super().request(type, payload, timeout=timeout)
        )

    def _left(self, name: str) -> bool:
        return self._services.get(name) == _STOPPED

    def _tags(self) -> list[dict[str, Any]]:
        leak = {"tag": b"Wrng", **_NO_USE, "nonpaged_allocs": 1, "nonpaged_bytes": 64}
        return [leak] if self._left("pool") else []

    def _keys(self, root: str) -> list[dict[str, Any]]:
        key = {"process": 4, "program": "System", "name": f"{HARNESS_KEY}\\app"}
        return [key] if self._left("key") and root == str(HARNESS_KEY) else []


def _channel(machine: Machine, timeout: float) -> TinyChannel:
    return LeakyChannel(machine.spec.channel_socket, timeout=timeout)


def install() -> None:
    tiny_machines.install()
    tiny_machines._channel = _channel
