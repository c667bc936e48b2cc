"""What the probe answers when it refuses."""

from __future__ import annotations

from harness.errors import HarnessError
from harness.registry.status import status_name

__all__ = ["ProbeError"]


class ProbeError(HarnessError):
    """The probe or the routine it called refused a request; `status` says why (unsigned NTSTATUS)."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(f"{what}: {status_name(status)}")
        self.status = status
