"""A bugcheck as every guest reports it: stop code, four parameters, driver, stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["BUGCHECK_NAMES", "Bugcheck", "Frame"]

#: Names from the "Bug Check Code Reference" of the Windows debugger documentation.
BUGCHECK_NAMES: Final[dict[int, str]] = {
    0x0A: "IRQL_NOT_LESS_OR_EQUAL",
    0x0D: "MUTEX_LEVEL_NUMBER_VIOLATION",
    0x18: "REFERENCE_BY_POINTER",
    0x19: "BAD_POOL_HEADER",
    0x1E: "KMODE_EXCEPTION_NOT_HANDLED",
    0x35: "NO_MORE_IRP_STACK_LOCATIONS",
    0x3B: "SYSTEM_SERVICE_EXCEPTION",
    0x44: "MULTIPLE_IRP_COMPLETE_REQUESTS",
    0x4A: "IRQL_GT_ZERO_AT_SYSTEM_SERVICE",
    0x50: "PAGE_FAULT_IN_NONPAGED_AREA",
    0x7E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
    0x7F: "UNEXPECTED_KERNEL_MODE_TRAP",
    0x80: "NMI_HARDWARE_FAILURE",
    0x8E: "KERNEL_MODE_EXCEPTION_NOT_HANDLED",
    0x93: "INVALID_KERNEL_HANDLE",
    0xBE: "ATTEMPTED_WRITE_TO_READONLY_MEMORY",
    0xC1: "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION",
    0xC2: "BAD_POOL_CALLER",
    0xC4: "DRIVER_VERIFIER_DETECTED_VIOLATION",
    0xC5: "DRIVER_CORRUPTED_EXPOOL",
    0xC9: "DRIVER_VERIFIER_IOMANAGER_VIOLATION",
    0xCC: "PAGE_FAULT_IN_FREED_SPECIAL_POOL",
    0xCE: "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS",
    0xD1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
    0xD6: "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION",
    0xE2: "MANUALLY_INITIATED_CRASH",
    0xF7: "DRIVER_OVERRAN_STACK_BUFFER",
    0xFC: "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
    0x133: "DPC_WATCHDOG_VIOLATION",
    0x135: "REGISTRY_FILTER_DRIVER_EXCEPTION",
    0x139: "KERNEL_SECURITY_CHECK_FAILURE",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stack: address in the guest and, where known, module, function and source line."""

    address: int
    module: str = ""
    offset: int = 0
    function: str = ""
    displacement: int = 0
    source: str = ""

    def __str__(self) -> str:
        if self.function:
            place = f"{self.module}!{self.function}+{self.displacement:#x}"
        elif self.module:
            place = f"{self.module}+{self.offset:#x}"
        else:
            place = f"{self.address:#x}"
        return f"{place} [{self.source}]" if self.source else place


@dataclass(frozen=True, slots=True)
class Bugcheck:
    """What a guest died of. `parameters` are the four of the code's reference page, in order."""

    code: int
    parameters: tuple[int, int, int, int]
    driver: str = ""
    reason: str = ""
    stack: tuple[Frame, ...] = field(default=())

    @property
    def name(self) -> str:
        return BUGCHECK_NAMES.get(self.code, "UNKNOWN_BUGCHECK")

    def __str__(self) -> str:
        args = ", ".join(f"{p:#x}" for p in self.parameters)
        head = f"bugcheck {self.code:#x} {self.name} ({args})"
        if self.driver:
            head += f" in {self.driver}"
        if self.reason:
            head += f": {self.reason}"
        return "\n".join([head, *(f"    {frame}" for frame in self.stack)])
