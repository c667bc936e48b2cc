"""What the model declines to do of the kernel, by what it would need. See
`harness.reference.kernel.declined`.
"""

from __future__ import annotations

from typing import Final

from harness.reference.kernel.declined import decline

__all__: list[str] = []

_APCS: Final = """
void KeInitializeApc ptr ptr ulong ptr ptr ptr uchar ptr
none KeInsertQueueApc ptr ptr ptr ulong
none KeTestAlertThread uchar
none KeAlertThread ptr uchar
"""

_SECTIONS: Final = """
status ZwCreateSection ptr ulong ptr ptr ulong ulong handle
status NtCreateSection ptr ulong ptr ptr ulong ulong handle
status ZwOpenSection ptr ulong ptr
status ZwMapViewOfSection handle handle ptr ptr size ptr ptr ulong ulong ulong
status NtMapViewOfSection handle handle ptr ptr size ptr ptr ulong ulong ulong
status ZwUnmapViewOfSection handle ptr
status NtUnmapViewOfSection handle ptr
status NtOpenSection ptr ulong ptr
status MmMapViewInSessionSpace ptr ptr ptr
status MmUnmapViewInSessionSpace ptr
status MmUnmapViewOfSection ptr ptr
status MmCreateSection ptr ulong ptr ptr ulong ulong handle ptr
status MmMapViewOfSection ptr ptr ptr ptr size ptr ptr ulong ulong ulong
status MmMapViewInSystemSpace ptr ptr ptr
status MmUnmapViewInSystemSpace ptr
status ZwQueryVirtualMemory handle ptr ulong ptr size ptr
status ZwQuerySection handle ulong ptr size ptr
none MmFlushImageSection ptr ulong
none MmDoesFileHaveUserWritableReferences ptr
none MmForceSectionClosed ptr uchar
"""

_HARDWARE: Final = """
none MmMapIoSpace ulonglong size ulong
void MmUnmapIoSpace ptr size
none MmGetVirtualForPhysical ulonglong
none MmGetPhysicalMemoryRanges
none KeRegisterNmiCallback ptr ptr
status KeDeregisterNmiCallback ptr
"""

_OTHER_PROCESSES: Final = """
status PsSuspendProcess ptr
status PsResumeProcess ptr
status PsGetContextThread ptr ptr uchar
status PsSetContextThread ptr ptr uchar
status ZwTerminateThread handle ulong
status ZwSetInformationThread handle ulong ptr ulong
status ZwAssignProcessToJobObject handle handle
status ZwCreateJobObject ptr ulong ptr
status ZwOpenJobObject ptr ulong ptr
status ZwQueryInformationJobObject handle ulong ptr ulong ptr
status ZwSetInformationJobObject handle ulong ptr ulong
status ZwTerminateJobObject handle ulong
status ZwIsProcessInJob handle handle
status PsSetLegoNotifyRoutine ptr
none ExEnumHandleTable ptr ptr ptr ptr
"""

_TOKENS: Final = """
status ZwAdjustPrivilegesToken handle uchar ptr ulong ptr ptr
status NtAdjustPrivilegesToken handle uchar ptr ulong ptr ptr
status ZwDuplicateToken handle ulong ptr uchar ulong ptr
status NtDuplicateToken handle ulong ptr uchar ulong ptr
status ZwSetInformationToken handle ulong ptr ulong
status SeFilterToken ptr ulong ptr ptr ptr ptr
status SeRegisterLogonSessionTerminatedRoutine ptr
status SeUnregisterLogonSessionTerminatedRoutine ptr
status SeMarkLogonSessionForTerminationNotification ptr
status SeReportSecurityEvent ulong ptr ptr ptr
status SeAssignSecurity ptr ptr ptr uchar ptr ptr ulong
status SeAssignSecurityEx ptr ptr ptr ptr uchar ulong ptr ptr ulong
status SeDeassignSecurity ptr
status SeSetSecurityDescriptorInfo ptr ptr ptr ptr ulong ptr
status SeQuerySecurityDescriptorInfo ptr ptr ptr ptr
"""

_DRIVERS: Final = """
status ZwLoadDriver ptr
status ZwUnloadDriver ptr
status ZwSetSystemInformation ulong ptr ulong
status IoCreateDriver ptr ptr
void IoDeleteDriver ptr
"""

_PLUG_AND_PLAY: Final = """
status IoRegisterPlugPlayNotification ulong ulong ptr ptr ptr ptr ptr
status IoUnregisterPlugPlayNotification ptr
status IoGetDeviceInterfaces ptr ptr ulong ptr
status IoRegisterDeviceInterface ptr ptr ptr ptr
status IoSetDeviceInterfaceState ptr uchar
status IoGetDeviceProperty ptr ulong ulong ptr ptr
status IoOpenDeviceRegistryKey ptr ulong ulong ptr
status IoOpenDeviceInterfaceRegistryKey ptr ulong ptr
void IoInvalidateDeviceRelations ptr ulong
status PoRequestPowerIrp ptr uchar ulong ptr ptr ptr
status IoRegisterFsRegistrationChange ptr ptr
void IoUnregisterFsRegistrationChange ptr ptr
status IoGetDiskDeviceObject ptr ptr
"""

_POWER: Final = """
status PoRegisterPowerSettingCallback ptr ptr ptr ptr ptr
status PoUnregisterPowerSettingCallback ptr
status ZwPowerInformation ulong ptr ulong ptr ulong
"""

_DIRECTORIES: Final = """
status ZwQueryDirectoryFile handle handle ptr ptr ptr ptr ulong ulong uchar ptr uchar
status NtQueryDirectoryFile handle handle ptr ptr ptr ptr ulong ulong uchar ptr uchar
status ZwQueryVolumeInformationFile handle ptr ptr ulong ulong
status NtQueryVolumeInformationFile handle ptr ptr ulong ulong
status ZwFsControlFile handle handle ptr ptr ptr ulong ptr ulong ptr ulong
status NtFsControlFile handle handle ptr ptr ptr ulong ptr ulong ptr ulong
status NtNotifyChangeDirectoryFile handle handle ptr ptr ptr ptr ulong ulong uchar
status ZwSetVolumeInformationFile handle ptr ptr ulong ulong
status IoQueryVolumeInformation ptr ulong ulong ptr ptr
status ZwLockFile handle handle ptr ptr ptr ptr ptr ulong uchar uchar
status NtLockFile handle handle ptr ptr ptr ptr ptr ulong uchar uchar
status ZwUnlockFile handle ptr ptr ptr ulong
status ZwQueryFullAttributesFile ptr ptr
status ZwQueryQuotaInformationFile handle ptr ptr ulong uchar ptr ulong ptr uchar
status ZwQueryEaFile handle ptr ptr ulong uchar ptr ulong ptr uchar
status ZwSetEaFile handle ptr ptr ulong
"""

_TIMERS_AND_PORTS: Final = """
status ZwCreateTimer ptr ulong ptr ulong
status ZwOpenTimer ptr ulong ptr
status ZwSetTimer handle ptr ptr ptr uchar long ptr
status ZwCancelTimer handle ptr
status ZwConnectPort ptr ptr ptr ptr ptr ptr ptr ptr
status ZwRequestWaitReplyPort handle ptr ptr
status ZwRequestPort handle ptr
status IoWMIOpenBlock ptr ulong ptr
status IoWMIQueryAllData ptr ptr ptr
status IoWMISetNotificationCallback ptr ptr ptr
status IoWMIWriteEvent ptr
"""

_COMPRESSION: Final = """
status RtlGetCompressionWorkSpaceSize ushort ptr ptr
status RtlCompressBuffer ushort ptr ulong ptr ulong ulong ptr ptr
status RtlDecompressBuffer ushort ptr ulong ptr ulong ptr
status RtlDecompressFragment ushort ptr ulong ptr ulong ulong ptr ptr
"""

_FILE_SYSTEMS: Final = """
status FsRtlRegisterFileSystemFilterCallbacks ptr ptr
status FsRtlInsertPerStreamContext ptr ptr
none FsRtlLookupPerStreamContextInternal ptr ptr ptr
none FsRtlRemovePerStreamContext ptr ptr ptr
none FsRtlIsPagingFile ptr
none IoIsFileOriginRemote ptr
status IoReplaceFileObjectName ptr ptr ushort
status IoEnumerateRegisteredFiltersList ptr ulong ptr
"""

decline(_APCS, why="no APC is delivered here")
decline(_SECTIONS, why="there are no section objects here")
decline(_HARDWARE, why="there is no hardware here")
decline(_OTHER_PROCESSES, why="other processes can't be handled here")
decline(_TOKENS, why="tokens are not made or changed here")
decline(_DRIVERS, why="drivers are loaded from outside here")
decline(_PLUG_AND_PLAY, why="there is no plug and play here")
decline(_TIMERS_AND_PORTS, why="there are no such objects here")
decline(_COMPRESSION, why="nothing is compressed here")
decline(_FILE_SYSTEMS, why="no file operation is filtered here")
decline(_POWER, why="there is no power management here", since=(6, 0))
decline(_DIRECTORIES, why="files are opened, read and written here, nothing else")
decline(
    """
status IoUnregisterPlugPlayNotificationEx ptr
status IoGetDevicePropertyData ptr ptr ulong ulong ulong ptr ptr ptr
none KeRegisterProcessorChangeCallback ptr ptr ulong
void KeDeregisterProcessorChangeCallback ptr
""",
    why="there is no plug and play here",
    since=(6, 1),
)
decline(
    """
status SeRegisterImageVerificationCallback ulong ulong ptr ptr ptr ptr
void SeUnregisterImageVerificationCallback ptr
status SeGetCachedSigningLevel ptr ptr ptr ptr ptr ptr
status ZwProtectVirtualMemory handle ptr ptr ulong ptr
""",
    why="images are not verified here",
    since=(10, 0),
)
