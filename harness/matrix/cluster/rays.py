"""Ray, as far as it is needed: joined with a token, quiet, and on loopback where that was asked for."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InfrastructureError, ToolMissingError, UsageError

__all__ = [
    "ClusterHost",
    "alive_hosts",
    "connected",
    "environment_for",
    "make_token",
    "parse_address",
    "require_ray",
    "token_file",
]

_PATIENCE: Final = 5.0
#: What names of the harness's own resources begin with: `harness.matrix.cluster.offer`.
_THINGS: Final = ("harness:", "image:", "drilled:")
#: "token" is Ray's only authentication, off unless asked for; the harness asks for it.
_MODE: Final = "RAY_AUTH_MODE"
_TOKEN_FILE: Final = "RAY_AUTH_TOKEN_PATH"
_TOKEN: Final = "RAY_AUTH_TOKEN"
#: With 0 Ray keeps a loopback address. By default it takes another of the host's and listens on all of them.
_SPREAD: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@dataclass(frozen=True, slots=True)
class ClusterHost:
    """A host of the cluster that is alive. `resources` are totals, by Ray's names; memory in bytes."""

    name: str
    resources: Mapping[str, float]

    @property
    def cores(self) -> int:
        return int(self.resources.get("CPU", 0))

    @property
    def memory_mib(self) -> int:
        return int(self.resources.get("memory", 0)) >> 20

    @property
    def things(self) -> tuple[str, ...]:
        """What it offers besides: the harness, images, drills."""
        return tuple(sorted(name for name in self.resources if name.startswith(_THINGS)))

    def lacks(self, needs: Mapping[str, float]) -> tuple[str, ...]:
        return tuple(name for name, amount in needs.items() if self.resources.get(name, 0) < amount)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "10.0.0.1:6379". Raises `UsageError`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{text!r} is no address of a cluster; write it like 10.0.0.1:6379")
    return host, int(port)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_file() -> Path:
    """Where the token is: Ray's own place unless the environment names another."""
    named = os.environ.get(_TOKEN_FILE)
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def make_token() -> Path:
    """The file with the cluster's token, made if there is none; whoever can read it rules the cluster."""
    file = token_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as content:
            content.write(secrets.token_hex(32))
    return file


def require_ray() -> None:
    """Raise `ToolMissingError` where Ray isn't installed."""
    if importlib.util.find_spec("ray") is None:
        raise ToolMissingError("a cluster needs Ray: pip install 'regfilter-harness[cluster]'")


def environment_for(host: str) -> dict[str, str]:
    """What Ray is to find in its environment to serve, or to join, a cluster at `host`.

    Raises `UsageError` where no token is: without one anybody who reaches a port runs what they like.
    """
    found = {_MODE: os.environ.get(_MODE, "token"), "RAY_USAGE_STATS_ENABLED": "0"}
    if found[_MODE] == "token" and not os.environ.get(_TOKEN) and not token_file().is_file():
        raise UsageError(
            f"no token for the cluster: {token_file()} isn't there; copy it from the head, where "
            "`harness cluster head` makes it, with mode 0600"
        )
    if is_loopback(host):
        found[_SPREAD] = "0"
    return found


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray's module, connected to the cluster at `address` for the time of the block.

    Raises `InfrastructureError` where nothing answers, and where the cluster refuses the token.
    """
    host, port = parse_address(address)
    # Ray itself would try for many minutes.
    try:
        socket.create_connection((host, port), _PATIENCE).close()
    except OSError as error:
        raise InfrastructureError(
            f"no cluster answers at {address}: {error.strerror or error}; `harness cluster head` starts one"
        ) from error
    os.environ.update(environment_for(host))
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"a cluster needs {error.name}: pip install 'regfilter-harness[cluster]'"
        ) from error
    own = {"_node_ip_address": "127.0.0.1"} if is_loopback(host) else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", configure_logging=False, **own)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise InfrastructureError(
            f"the cluster at {address} can't be joined: {error}; token and version of Ray have to be the same"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def alive_hosts(ray: Any) -> tuple[ClusterHost, ...]:
    return tuple(
        ClusterHost(str(node["NodeName"]), dict(node["Resources"])) for node in ray.nodes() if node["Alive"]
    )
