"""What goes wrong between the harness and a guest's runner."""

from __future__ import annotations

from harness.errors import InfrastructureError

__all__ = ["ChannelClosedError", "ChannelError", "ChannelTimeoutError", "RunnerError"]


class ChannelError(InfrastructureError):
    """A channel failed, or the guest said something that can't be."""


class ChannelTimeoutError(ChannelError):
    """No answer within the time the caller gave."""


class ChannelClosedError(ChannelError):
    """The channel was closed, by the harness or by the guest; open another one."""


class RunnerError(ChannelError):
    """The runner refused a request or the guest's system said no: a REGRUN_FAILED reply.

    `code` is a `harness.channel.frames.RunnerErrorCode`, or the plain number of one this harness does not
    know. `status` is an NTSTATUS and `win32` a Win32 error, both unsigned, None where there is none. `reason`
    is what the runner said, without the channel it came by.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int,
        status: int | None = None,
        win32: int | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason or message
        self.code = code
        self.status = status
        self.win32 = win32
