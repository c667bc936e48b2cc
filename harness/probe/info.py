"""What the probe says about its guest and about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from harness.errors import InfrastructureError
from harness.probe.enums import Routine
from harness.registry.version import WindowsVersion

__all__ = ["ProbeInfo", "ProbeStatistics"]


@dataclass(frozen=True, slots=True)
class ProbeInfo:
    """REGPROBE_INFO_REPLY."""

    abi_version: int
    version: WindowsVersion
    #: CmGetCallbackVersion; (0, 0) where the routine does not exist.
    callback_version: tuple[int, int]
    routines: Routine
    pointer_size: int
    max_filters: int
    ring_slots: int
    #: Performance counter ticks per second, and its value when asked.
    time_frequency: int
    time: int

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Self:
        """From the unpacked reply. Raises `InfrastructureError` for an impossible pointer size."""
        if reply["pointer_size"] not in (4, 8):
            raise InfrastructureError(f"the probe says pointers have {reply['pointer_size']} bytes")
        return cls(
            abi_version=reply["abi_version"],
            version=WindowsVersion(
                reply["os_major"], reply["os_minor"], reply["os_build"], reply["os_service_pack"]
            ),
            callback_version=(reply["callback_major"], reply["callback_minor"]),
            routines=Routine(reply["routines"]),
            pointer_size=reply["pointer_size"],
            max_filters=reply["max_filters"],
            ring_slots=reply["ring_slots"],
            time_frequency=reply["time_frequency"],
            time=reply["time"],
        )

    @property
    def pointer_mask(self) -> int:
        """All bits a pointer of the guest has."""
        return (1 << 8 * self.pointer_size) - 1

    @property
    def has_register_callback_ex(self) -> bool:
        """Altitudes exist; the other routines are in `routines`."""
        return Routine.REGISTER_CALLBACK_EX in self.routines


@dataclass(frozen=True, slots=True)
class ProbeStatistics:
    """REGPROBE_STATISTICS_REPLY."""

    recorded: int
    dropped: int
    #: Protected reads that faulted.
    faults: int
    #: Object contexts set and not yet cleaned up.
    live_contexts: int
    #: Outstanding pool.
    pool_allocations: int
    pool_bytes: int
    filters: int
    rules: int
    ring_slots: int
    #: Callbacks running at that moment.
    in_flight: int
