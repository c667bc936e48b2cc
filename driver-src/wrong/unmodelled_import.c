/*
 * Wrong for the reference guest only: imports routines that no registry filter needs.
 * Caught: the load fails and names them both.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        FsRtlUninitializeFileLock(NULL);
        FsRtlNotifyUninitializeSync(NULL);
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
