"""Open the channel that a recipe or a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from harness.channel.access import SshAccess, WinRmAccess
from harness.channel.base import Channel
from harness.channel.serial import SerialChannel
from harness.errors import ToolMissingError

__all__ = ["open_channel"]


@overload
def open_channel(access: Path, *, timeout: float = 60.0) -> SerialChannel: ...


@overload
def open_channel(access: SshAccess | WinRmAccess, *, timeout: float = 60.0) -> Channel: ...


def open_channel(access: Path | SshAccess | WinRmAccess, *, timeout: float = 60.0) -> Channel:
    """The channel that `access` describes: a path is a serial port's socket.

    `timeout` bounds the connecting, in seconds. Raises `ChannelError`, `UsageError` for a secret that others
    can read, and `ToolMissingError` when the package behind a channel isn't installed.
    """
    if isinstance(access, Path):
        return SerialChannel.connect(access, timeout=timeout)
    try:
        if isinstance(access, SshAccess):
            from harness.channel.ssh import SshChannel

            return SshChannel.connect(access, timeout=timeout)
        from harness.channel.winrm import WinRmChannel

        return WinRmChannel.connect(access, timeout=timeout)
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"this channel needs the package {error.name}; run: pip install 'regfilter-harness[machines]'"
        ) from error
