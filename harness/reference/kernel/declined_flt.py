"""What the filter manager does for file operations, of which this guest has none to filter.

A minifilter gets here from its operation callbacks, which are never called, or with a volume or an instance,
which it is never given. Signatures: fltkernel.h. See `harness.reference.kernel.declined`.
"""

from __future__ import annotations

from typing import Final

from harness.reference.kernel.declined import decline

__all__: list[str] = []

_OPERATIONS: Final = """
status FltGetFileNameInformation ptr ulong ptr
status FltGetFileNameInformationUnsafe ptr ptr ulong ptr
status FltParseFileNameInformation ptr
status FltParseFileName ptr ptr ptr ptr
void FltReleaseFileNameInformation ptr
void FltReferenceFileNameInformation ptr
status FltGetDestinationFileNameInformation ptr ptr handle ptr ulong ulong ptr
status FltGetTunneledName ptr ptr ptr
status FltCheckAndGrowNameControl ptr ushort
status FltPurgeFileNameInformationCache ptr ptr
none FltDoCompletionProcessingWhenSafe ptr ptr ptr ulong ptr ptr
status FltLockUserBuffer ptr
status FltDecodeParameters ptr ptr ptr ptr ptr
void FltSetCallbackDataDirty ptr
void FltClearCallbackDataDirty ptr
none FltIsCallbackDataDirty ptr
none FltIsIoCanceled ptr
none FltIsOperationSynchronous ptr
none FltIs32bitProcess ptr ptr
none FltGetSwappedBufferMdlAddress ptr
none FltGetNewSystemBufferAddress ptr
void FltRetainSwappedBufferMdlAddress ptr
void FltCompletePendedPreOperation ptr ulong ptr
void FltCompletePendedPostOperation ptr
void FltPerformSynchronousIo ptr
status FltPerformAsynchronousIo ptr ptr ptr
void FltReissueSynchronousIo ptr ptr
status FltAllocateCallbackData ptr ptr ptr
void FltReuseCallbackData ptr
void FltFreeCallbackData ptr
status FltSetCancelCompletion ptr ptr
status FltClearCancelCompletion ptr
status FltRequestOperationStatusCallback ptr ptr ptr
none FltAllocateDeferredIoWorkItem
void FltFreeDeferredIoWorkItem ptr
status FltQueueDeferredIoWorkItem ptr ptr ptr ulong ptr
status FltCbdqInitialize ptr ptr ptr ptr ptr ptr ptr ptr
status FltCbdqInsertIo ptr ptr ptr ptr
none FltCbdqRemoveIo ptr ptr
none FltCbdqRemoveNextIo ptr ptr
void FltCbdqEnable ptr
void FltCbdqDisable ptr
status FltGetRequestorSessionId ptr ptr
none FltGetRequestorProcessIdEx ptr
status FltGetEcpListFromCallbackData ptr ptr ptr
status FltFindExtraCreateParameter ptr ptr ptr ptr ptr
status FltGetNextExtraCreateParameter ptr ptr ptr ptr ptr ptr
none FltIsEcpFromUserMode ptr ptr
status FltAllocateExtraCreateParameterList ptr ulong ptr
void FltFreeExtraCreateParameterList ptr ptr
"""

_CONTEXTS: Final = """
status FltAllocateContext ptr ushort size ulong ptr
void FltReferenceContext ptr
void FltReleaseContext ptr
void FltDeleteContext ptr
status FltGetStreamContext ptr ptr ptr
status FltSetStreamContext ptr ptr ulong ptr ptr
status FltDeleteStreamContext ptr ptr ptr
status FltGetStreamHandleContext ptr ptr ptr
status FltSetStreamHandleContext ptr ptr ulong ptr ptr
status FltDeleteStreamHandleContext ptr ptr ptr
status FltGetFileContext ptr ptr ptr
status FltSetFileContext ptr ptr ulong ptr ptr
status FltDeleteFileContext ptr ptr ptr
status FltGetInstanceContext ptr ptr
status FltSetInstanceContext ptr ulong ptr ptr
status FltDeleteInstanceContext ptr ptr
status FltGetVolumeContext ptr ptr ptr
status FltSetVolumeContext ptr ulong ptr ptr
status FltDeleteVolumeContext ptr ptr ptr
status FltGetTransactionContext ptr ptr ptr
status FltSetTransactionContext ptr ptr ulong ptr ptr
status FltDeleteTransactionContext ptr ptr ptr
status FltEnlistInTransaction ptr ptr ptr ulong
void FltGetContexts ptr ushort ptr
void FltReleaseContexts ptr
none FltSupportsFileContexts ptr
none FltSupportsFileContextsEx ptr ptr
none FltSupportsStreamContexts ptr
none FltSupportsStreamHandleContexts ptr
"""

_FILES: Final = """
status FltReadFile ptr ptr ptr ulong ptr ulong ptr ptr ptr
status FltWriteFile ptr ptr ptr ulong ptr ulong ptr ptr ptr
status FltQueryInformationFile ptr ptr ptr ulong ulong ptr
status FltSetInformationFile ptr ptr ptr ulong ulong
status FltQueryVolumeInformation ptr ptr ptr ulong ulong
status FltQueryVolumeInformationFile ptr ptr ptr ulong ulong ptr
status FltQuerySecurityObject ptr ptr ulong ptr ulong ptr
status FltSetSecurityObject ptr ptr ulong ptr
status FltQueryDirectoryFile ptr ptr ptr ulong ulong uchar ptr uchar ptr
status FltQueryEaFile ptr ptr ptr ulong uchar ptr ulong ptr uchar ptr
status FltSetEaFile ptr ptr ptr ulong
status FltFsControlFile ptr ptr ulong ptr ulong ptr ulong ptr
status FltDeviceIoControlFile ptr ptr ulong ptr ulong ptr ulong ptr
status FltFlushBuffers ptr ptr
void FltCancelFileOpen ptr ptr
status FltIsDirectory ptr ptr ptr
status FltTagFile ptr ptr ulong ptr ptr ushort
status FltUntagFile ptr ptr ulong ptr
none FltAllocatePoolAlignedWithTag ptr ulong size ulong
void FltFreePoolAlignedWithTag ptr ptr ulong
"""

_VOLUMES: Final = """
status FltGetVolumeName ptr ptr ptr
status FltGetVolumeFromName ptr ptr ptr
status FltGetVolumeFromFileObject ptr ptr ptr
status FltGetVolumeFromInstance ptr ptr
status FltGetVolumeFromDeviceObject ptr ptr ptr
status FltGetVolumeProperties ptr ptr ulong ptr
status FltGetVolumeGuidName ptr ptr ptr
status FltGetVolumeInstanceFromName ptr ptr ptr ptr
status FltGetVolumeInformation ptr ulong ptr ulong ptr
status FltEnumerateVolumes ptr ptr ulong ptr
status FltEnumerateInstances ptr ptr ptr ulong ptr
status FltEnumerateFilters ptr ulong ptr
status FltEnumerateVolumeInformation ptr ulong ulong ptr ulong ptr
status FltGetFilterFromInstance ptr ptr
status FltGetFilterFromName ptr ptr
status FltGetFilterInformation ptr ulong ptr ulong ptr
status FltGetInstanceInformation ptr ulong ptr ulong ptr
status FltGetDiskDeviceObject ptr ptr
status FltGetDeviceObject ptr ptr
status FltGetFileSystemType ptr ptr
status FltIsVolumeWritable ptr ptr
status FltAttachVolume ptr ptr ptr ptr
status FltAttachVolumeAtAltitude ptr ptr ptr ptr ptr
status FltDetachVolume ptr ptr ptr
status FltLoadFilter ptr
status FltUnloadFilter ptr
"""

_LATER: Final = """
status FltReadFileEx ptr ptr ptr ulong ptr ulong ptr ptr ptr ptr ptr
status FltWriteFileEx ptr ptr ptr ulong ptr ulong ptr ptr ptr ptr ptr
status FltFlushBuffers2 ptr ptr ulong ptr
status FltQueryDirectoryFileEx ptr ptr ptr ulong ulong ulong ptr ptr
status FltQueryInformationByName ptr ptr ptr ptr ptr ulong ulong ptr
status FltSetVolumeInformation ptr ptr ptr ulong ulong
status FltQueryQuotaInformationFile ptr ptr ptr ulong uchar ptr ulong ptr ptr
status FltOpenVolume ptr ptr ptr
status FltIsVolumeSnapshot ptr ptr
status FltGetTopInstance ptr ptr
status FltGetBottomInstance ptr ptr
status FltGetUpperInstance ptr ptr
status FltGetLowerInstance ptr ptr
status FltEnumerateFilterInformation ulong ulong ptr ulong ptr
status FltEnumerateInstanceInformationByFilter ptr ulong ulong ptr ulong ptr
status FltEnumerateInstanceInformationByVolume ptr ulong ulong ptr ulong ptr
status FltEnumerateInstanceInformationByDeviceObject ptr ulong ulong ptr ulong ptr
status FltGetContextsEx ptr ushort size ptr
void FltReleaseContextsEx size ptr
status FltRegisterForDataScan ptr
status FltCreateSectionForDataScan ptr ptr ptr ulong ptr ptr ulong ulong ulong ptr ptr ptr
status FltCloseSectionForDataScan ptr
status FltGetSectionContext ptr ptr ptr
none FltCancelIo ptr
none FltGetIrpName uchar
none FltCurrentBatchOplock ptr
none FltCurrentOplock ptr
none FltCurrentOplockH ptr
void FltInitializeOplock ptr
void FltUninitializeOplock ptr
none FltOplockIsFastIoPossible ptr
none FltCheckOplock ptr ptr ptr ptr ptr
none FltCheckOplockEx ptr ptr ulong ptr ptr ptr
none FltOplockFsctrl ptr ptr ulong
none FltAllocateFileLock ptr ptr
void FltFreeFileLock ptr
void FltInitializeFileLock ptr
void FltUninitializeFileLock ptr
status FltAllocateExtraCreateParameter ptr ptr ulong ulong ptr ulong ptr
void FltFreeExtraCreateParameter ptr ptr
status FltInsertExtraCreateParameter ptr ptr ptr
status FltRemoveExtraCreateParameter ptr ptr ptr ptr ptr
status FltSetEcpListIntoCallbackData ptr ptr ptr
none FltIsEcpAcknowledged ptr ptr
status FltCommitComplete ptr ptr ptr
status FltPrepareComplete ptr ptr ptr
status FltPrePrepareComplete ptr ptr ptr
status FltRollbackComplete ptr ptr ptr
status FltRollbackEnlistment ptr ptr ptr
status FltApplyPriorityInfoThread ptr ptr ptr
none FltGetIoPriorityHint ptr
none FltGetIoPriorityHintFromCallbackData ptr
none FltGetIoPriorityHintFromFileObject ptr
none FltGetIoPriorityHintFromThread ptr
status FltSetIoPriorityHintIntoCallbackData ptr ulong
status FltSetIoPriorityHintIntoFileObject ptr ulong
status FltSetIoPriorityHintIntoThread ptr ulong
status FltGetActivityIdCallbackData ptr ptr
status FltSetActivityIdCallbackData ptr ptr
status FltPropagateActivityIdToThread ptr ptr ptr
"""

_MODULE: Final = ("fltmgr.sys",)
decline(_OPERATIONS, why="no file operation is filtered here", modules=_MODULE)
decline(_CONTEXTS, why="no file operation is filtered here", modules=_MODULE)
decline(_FILES, why="no file operation is filtered here", modules=_MODULE)
decline(_VOLUMES, why="no volume is filtered here", modules=_MODULE)
decline(_LATER, why="no file operation is filtered here", modules=_MODULE, since=(6, 0))
