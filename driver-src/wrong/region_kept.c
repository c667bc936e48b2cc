/*
 * Wrong: a critical region is entered and never left.
 * Caught: bugcheck 0x01 APC_INDEX_MISMATCH when the registry call returns to user mode.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        KeEnterCriticalRegion();
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
