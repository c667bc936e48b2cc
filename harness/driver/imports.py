"""Kernel routines that came after Windows XP, with the version that brought each.

An image that claims to load on an older system must not import these statically: the loader of that
system would refuse it. Sources: "Minimum supported client" of each routine's page in the driver reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["IMPORT_SINCE", "newer_imports"]

_WS03: Final = (5, 2)
_VISTA: Final = (6, 0)
_WIN7: Final = (6, 1)
_WIN8: Final = (6, 2)
_WIN10: Final = (10, 0)

_BY_VERSION: Final[dict[tuple[int, int], tuple[str, ...]]] = {
    _WS03: (
        "KeAcquireGuardedMutex",
        "KeAcquireSpinLockForDpc",
        "KeInitializeGuardedMutex",
        "KeReleaseGuardedMutex",
        "KeReleaseSpinLockForDpc",
        "KeTryToAcquireGuardedMutex",
        "ObIsKernelHandle",
        "PsGetCurrentProcessSessionId",
    ),
    _VISTA: (
        "CmCallbackGetKeyObjectID",
        "CmGetBoundTransaction",
        "CmGetCallbackVersion",
        "CmRegisterCallbackEx",
        "CmSetCallbackObjectContext",
        "EtwRegister",
        "EtwUnregister",
        "EtwWrite",
        "ExEnterCriticalRegionAndAcquireResourceExclusive",
        "ExReleaseResourceAndLeaveCriticalRegion",
        "IoGetDevicePropertyData",
        "IoGetRequestorProcessId",
        "ObRegisterCallbacks",
        "ObUnRegisterCallbacks",
        "PsSetCreateProcessNotifyRoutineEx",
        "RtlIsNtDdiVersionAvailable",
        "RtlRunOnceBeginInitialize",
        "RtlRunOnceComplete",
        "RtlRunOnceExecuteOnce",
        "RtlRunOnceInitialize",
        "TmCommitComplete",
        "TmEnableCallbacks",
        "TmRollbackComplete",
        "TmTransactionObjectType",
        "ZwCommitTransaction",
        "ZwCreateEnlistment",
        "ZwCreateKeyTransacted",
        "ZwCreateResourceManager",
        "ZwCreateTransaction",
        "ZwCreateTransactionManager",
        "ZwOpenKeyTransacted",
        "ZwRenameKey",
        "ZwRollbackTransaction",
    ),
    _WIN7: (
        "KeQueryActiveProcessorCountEx",
        "KeQueryActiveGroupCount",
        "ObOpenObjectByPointerWithTag",
        "ObReferenceObjectByHandleWithTag",
        "ObfDereferenceObjectWithTag",
        "ZwOpenKeyEx",
        "ZwOpenKeyTransactedEx",
        "ZwNotifyChangeKey",
    ),
    _WIN8: (
        "CmCallbackGetKeyObjectIDEx",
        "CmCallbackReleaseKeyObjectIDEx",
        "KeQuerySystemTimePrecise",
        "KeQueryInterruptTimePrecise",
        "MmMapIoSpaceEx",
        "MmMapViewInSystemSpaceEx",
        "PsQueryTotalCycleTimeProcess",
        "SeGetCachedSigningLevel",
    ),
    _WIN10: (
        "ExAllocatePool2",
        "ExAllocatePool3",
        "ExFreePool2",
        "PsSetCreateProcessNotifyRoutineEx2",
        "PsSetLoadImageNotifyRoutineEx",
    ),
}

#: Routine name to the (major, minor) version that has it first.
IMPORT_SINCE: Final = {name: version for version, names in _BY_VERSION.items() for name in names}


def newer_imports(names: Iterable[str], version: tuple[int, int]) -> tuple[str, ...]:
    """Those of `names` that a system of `version` does not export, sorted."""
    return tuple(sorted(name for name in names if IMPORT_SINCE.get(name, (0, 0)) > version))
