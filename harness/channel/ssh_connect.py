"""Connect to an SSH server: its key is pinned, and nothing of the user's own SSH set-up is used."""

from __future__ import annotations

import base64
import hashlib
import logging
from typing import Any, Final

import paramiko

from harness.channel.access import SshAccess
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelError, ChannelTimeoutError
from harness.channel.secret import check_secret_file, read_secret
from harness.errors import UsageError

__all__ = ["connect_ssh", "fingerprint"]

# Paramiko logs tracebacks of what becomes an error here; without a handler Python would print them.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

#: A key's type says "ssh-rsa" whatever hash it signs with; SHA-1 is not offered.
_RSA: Final = ("rsa-sha2-512", "rsa-sha2-256")


def fingerprint(key: bytes) -> str:
    """A public key's fingerprint as ``ssh-keygen -l`` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


class _PinnedKey(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko has no types
    """Accepts one key. Asked for every key: the client knows none by itself."""

    def __init__(self, access: SshAccess) -> None:
        self._access = access
        self._wanted, self.kind = _pinned(access.host_key)

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        found = fingerprint(key.asbytes())
        if found != self._wanted:
            raise ChannelError(
                f"the SSH server at {self._access.host}:{self._access.port} has the key {found} "
                f"({key.get_name()}), pinned is {self._wanted}; it is another machine, or its image was "
                "rebuilt and the pinned key must follow"
            )

    def transport(self, *args: Any, **named: Any) -> paramiko.Transport:
        """A transport that asks for the pinned key's type, where that is known."""
        transport = paramiko.Transport(*args, **named)
        if self.kind is not None:
            transport.get_security_options().key_types = _RSA if self.kind == "ssh-rsa" else (self.kind,)
        return transport


def connect_ssh(access: SshAccess, deadline: Deadline) -> paramiko.SSHClient:
    """A client that is logged in.

    Raises `ChannelError`, `ChannelTimeoutError`, and `UsageError` for a secret that can't be used.
    """
    where = f"the SSH server at {access.host}:{access.port}"
    key, password = _credentials(access)
    policy = _PinnedKey(access)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(policy)
    try:
        client.connect(
            access.host,
            access.port,
            access.user,
            password=password,
            pkey=key,
            allow_agent=False,
            look_for_keys=False,
            timeout=deadline.left,
            banner_timeout=deadline.left,
            auth_timeout=deadline.left,
            channel_timeout=deadline.left,
            transport_factory=policy.transport,
        )
    except BaseException as error:
        client.close()
        if not isinstance(error, paramiko.SSHException | OSError | EOFError):
            raise
        if isinstance(error, TimeoutError) or deadline.passed:
            raise ChannelTimeoutError(
                f"{where} did not log {access.user} in within {deadline.seconds:g} s; is it up?"
            ) from None
        if isinstance(error, paramiko.AuthenticationException):
            raise ChannelError(
                f"{where} refuses {access.user}: {error}; check user, key and password"
            ) from None
        raise ChannelError(f"{where} can't be reached: {error or type(error).__name__}; is it up?") from None
    return client


def _credentials(access: SshAccess) -> tuple[paramiko.PKey | None, str | None]:
    if access.password_file is not None:
        return None, read_secret(access.password_file)
    assert access.key_file is not None  # SshAccess has exactly one of both
    check_secret_file(access.key_file)
    try:
        return paramiko.PKey.from_path(access.key_file), None
    except (paramiko.SSHException, ValueError, TypeError, OSError, paramiko.pkey.UnknownKeyType) as error:
        raise UsageError(f"{access.key_file} is no private key without a passphrase: {error}") from None


def _pinned(text: str) -> tuple[str, str | None]:
    """The fingerprint to accept, and the key's type when it is known."""
    if text.startswith("SHA256:"):
        return text.rstrip("="), None
    kind, encoded = text.split(" ")[:2]
    try:
        return fingerprint(base64.b64decode(encoded, validate=True)), kind
    except ValueError:
        raise UsageError(f"the host key {text[:80]!r} is not what ssh-keyscan prints") from None
