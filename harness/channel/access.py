"""How to reach a guest over the network: where, as whom, and by what it is recognised.

Plain data, as a recipe or a configuration says it; `harness.channel.opening` opens it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from harness.errors import UsageError

__all__ = ["RUNNER_PATH", "RemoteShell", "SshAccess", "WinRmAccess", "normal_sha256"]

#: Where the runner lives in a guest.
RUNNER_PATH: Final = r"C:\harness\regrun.exe"


class RemoteShell(StrEnum):
    """What an SSH server hands a command line to."""

    CMD = "cmd"  # OpenSSH on Windows: cmd.exe /c
    POSIX = "posix"  # a Linux guest that runs Windows programs with Wine


@dataclass(frozen=True, slots=True)
class SshAccess:
    """An SSH server. Exactly one of `key_file` and `password_file`, readable by its owner alone.

    `host_key` is the server's key as OpenSSH writes it, ``ssh-ed25519 AAAA...``, or its fingerprint,
    ``SHA256:...``; no other key is accepted. `files` is the folder in which the SFTP server has the drives as
    ``c:``: the root for OpenSSH on Windows, a prefix's ``dosdevices`` for Wine. `launcher` stands before
    every command of the guest (``wine``).
    """

    host: str
    user: str
    host_key: str
    port: int = 22
    key_file: Path | None = None
    password_file: Path | None = None
    shell: RemoteShell = RemoteShell.CMD
    files: str = "/"
    launcher: tuple[str, ...] = ()
    runner: str = RUNNER_PATH

    def __post_init__(self) -> None:
        _check_place(self.host, self.port, self.user)
        if (self.key_file is None) is (self.password_file is None):
            raise UsageError("SSH access takes either a key file or a password file")
        if not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?|[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( .*)?", self.host_key):
            raise UsageError(
                f"{self.host_key[:80]!r} is no host key; give the line of ssh-keyscan without the host "
                "(ssh-ed25519 AAAA...), or the fingerprint of ssh-keygen -l (SHA256:...)"
            )


@dataclass(frozen=True, slots=True)
class WinRmAccess:
    """A WinRM service. Without `certificate` it is HTTP with every message encrypted (NTLM), with it HTTPS.

    `certificate` is the SHA-256 of the server's certificate in hex, colons allowed; the system's authorities
    are not asked.
    """

    host: str
    user: str
    password_file: Path
    port: int | None = None  # None: 5985 for HTTP, 5986 for HTTPS
    certificate: str | None = None
    runner: str = RUNNER_PATH

    def __post_init__(self) -> None:
        _check_place(self.host, self.port if self.port is not None else 1, self.user)
        if self.certificate is not None:
            normal_sha256(self.certificate)

    @property
    def endpoint(self) -> str:
        """The URL of the service."""
        scheme, usual = ("http", 5985) if self.certificate is None else ("https", 5986)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{usual if self.port is None else self.port}/wsman"


def normal_sha256(text: str) -> str:
    """A SHA-256 in lower-case hex without colons. Raises `UsageError`."""
    plain = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise UsageError(
            f"{text[:100]!r} is no SHA-256 of a certificate; openssl x509 -noout -fingerprint -sha256 prints "
            "one"
        )
    return plain


def _check_place(host: str, port: int, user: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host) or not 0 < port < 0x10000 or not user:
        raise UsageError(f"{user!r} at {host!r}, port {port}: no such place can be reached")
