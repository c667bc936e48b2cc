"""A bugcheck as every guest reports it: stop code, four parameters, driver, stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

__all__ = ["BUGCHECK_NAMES", "Bugcheck", "Frame"]

#: Names from the "Bug Check Code Reference" of the Windows debugger documentation: what a driver can cause,
#: and what a system says that a filter kept from its registry.
BUGCHECK_NAMES: Final[dict[int, str]] = {
    0x01: "APC_INDEX_MISMATCH",
    0x05: "INVALID_PROCESS_ATTACH_ATTEMPT",
    0x06: "INVALID_PROCESS_DETACH_ATTEMPT",
    0x08: "IRQL_NOT_DISPATCH_LEVEL",
    0x09: "IRQL_NOT_GREATER_OR_EQUAL",
    0x0A: "IRQL_NOT_LESS_OR_EQUAL",
    0x0D: "MUTEX_LEVEL_NUMBER_VIOLATION",
    0x0F: "SPIN_LOCK_ALREADY_OWNED",
    0x10: "SPIN_LOCK_NOT_OWNED",
    0x18: "REFERENCE_BY_POINTER",
    0x19: "BAD_POOL_HEADER",
    0x1A: "MEMORY_MANAGEMENT",
    0x1E: "KMODE_EXCEPTION_NOT_HANDLED",
    0x20: "KERNEL_APC_PENDING_DURING_EXIT",
    0x24: "NTFS_FILE_SYSTEM",
    0x2B: "PANIC_STACK_SWITCH",
    0x34: "CACHE_MANAGER",
    0x35: "NO_MORE_IRP_STACK_LOCATIONS",
    0x3B: "SYSTEM_SERVICE_EXCEPTION",
    0x44: "MULTIPLE_IRP_COMPLETE_REQUESTS",
    0x4A: "IRQL_GT_ZERO_AT_SYSTEM_SERVICE",
    0x4C: "FATAL_UNHANDLED_HARD_ERROR",
    0x4E: "PFN_LIST_CORRUPT",
    0x50: "PAGE_FAULT_IN_NONPAGED_AREA",
    0x51: "REGISTRY_ERROR",
    0x6B: "PROCESS1_INITIALIZATION_FAILED",
    0x74: "BAD_SYSTEM_CONFIG_INFO",
    0x76: "PROCESS_HAS_LOCKED_PAGES",
    0x77: "KERNEL_STACK_INPAGE_ERROR",
    0x7A: "KERNEL_DATA_INPAGE_ERROR",
    0x7B: "INACCESSIBLE_BOOT_DEVICE",
    0x7E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
    0x7F: "UNEXPECTED_KERNEL_MODE_TRAP",
    0x80: "NMI_HARDWARE_FAILURE",
    0x8E: "KERNEL_MODE_EXCEPTION_NOT_HANDLED",
    0x93: "INVALID_KERNEL_HANDLE",
    0x96: "INVALID_WORK_QUEUE_ITEM",
    0xBE: "ATTEMPTED_WRITE_TO_READONLY_MEMORY",
    0xC1: "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION",
    0xC2: "BAD_POOL_CALLER",
    0xC4: "DRIVER_VERIFIER_DETECTED_VIOLATION",
    0xC5: "DRIVER_CORRUPTED_EXPOOL",
    0xC6: "DRIVER_CAUGHT_MODIFYING_FREED_POOL",
    0xC7: "TIMER_OR_DPC_INVALID",
    0xC8: "IRQL_UNEXPECTED_VALUE",
    0xC9: "DRIVER_VERIFIER_IOMANAGER_VIOLATION",
    0xCB: "DRIVER_LEFT_LOCKED_PAGES_IN_PROCESS",
    0xCC: "PAGE_FAULT_IN_FREED_SPECIAL_POOL",
    0xCD: "PAGE_FAULT_BEYOND_END_OF_ALLOCATION",
    0xCE: "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS",
    0xD0: "DRIVER_CORRUPTED_MMPOOL",
    0xD1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
    0xD3: "DRIVER_PORTION_MUST_BE_NONPAGED",
    0xD4: "SYSTEM_SCAN_AT_RAISED_IRQL_CAUGHT_IMPROPER_DRIVER_UNLOAD",
    0xD5: "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL",
    0xD6: "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION",
    0xDA: "SYSTEM_PTE_MISUSE",
    0xDE: "POOL_CORRUPTION_IN_FILE_AREA",
    0xE2: "MANUALLY_INITIATED_CRASH",
    0xE3: "RESOURCE_NOT_OWNED",
    0xE4: "WORKER_INVALID",
    0xE9: "ACTIVE_EX_WORKER_THREAD_TERMINATION",
    0xEF: "CRITICAL_PROCESS_DIED",
    0xF4: "CRITICAL_OBJECT_TERMINATION",
    0xF7: "DRIVER_OVERRAN_STACK_BUFFER",
    0xFC: "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
    0x101: "CLOCK_WATCHDOG_TIMEOUT",
    0x109: "CRITICAL_STRUCTURE_CORRUPTION",
    0x133: "DPC_WATCHDOG_VIOLATION",
    0x135: "REGISTRY_FILTER_DRIVER_EXCEPTION",
    0x139: "KERNEL_SECURITY_CHECK_FAILURE",
    0x13A: "KERNEL_MODE_HEAP_CORRUPTION",
    0x157: "KERNEL_THREAD_PRIORITY_FLOOR_VIOLATION",
    0x162: "KERNEL_AUTO_BOOST_INVALID_LOCK_RELEASE",
    0x192: "KERNEL_AUTO_BOOST_LOCK_ACQUISITION_WITH_RAISED_IRQL",
    0x1AA: "EXCEPTION_ON_INVALID_STACK",
    0x1000007E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M",
    0x1000007F: "UNEXPECTED_KERNEL_MODE_TRAP_M",
    0x1000008E: "KERNEL_MODE_EXCEPTION_NOT_HANDLED_M",
    0xC000021A: "WINLOGON_FATAL_ERROR",
    0xDEADDEAD: "MANUALLY_INITIATED_CRASH1",
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
    """What a guest died of. `parameters` are the four of the code's reference page, in order.

    A machine does not always say which: `code` is None and `parameters` empty where that is not known, or
    where there was no bugcheck at all (a hang, a panic of another kernel); `reason` says what was seen then.
    """

    code: int | None
    parameters: tuple[int, int, int, int] | tuple[()]
    driver: str = ""
    reason: str = ""
    stack: tuple[Frame, ...] = field(default=())

    @classmethod
    def unknown(cls, reason: str, *, driver: str = "") -> Self:
        """Something that gave no code."""
        return cls(None, (), driver=driver, reason=reason)

    @property
    def name(self) -> str:
        return "" if self.code is None else BUGCHECK_NAMES.get(self.code, "UNKNOWN_BUGCHECK")

    def __str__(self) -> str:
        return "\n".join([self._head(), *(f"    {frame}" for frame in self.stack)])

    def _head(self) -> str:
        if self.code is None:
            return f"{self.reason} in {self.driver}" if self.driver else self.reason
        args = ", ".join(f"{p:#x}" for p in self.parameters) or "parameters not known"
        head = f"bugcheck {self.code:#x} {self.name} ({args})"
        if self.driver:
            head += f" in {self.driver}"
        if self.reason:
            head += f": {self.reason}"
        return head
