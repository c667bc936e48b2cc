/*
 * Wrong: writes to its own read-only section.
 * Caught: bugcheck 0xBE ATTEMPTED_WRITE_TO_READONLY_MEMORY.
 */
#include "wrong.h"

static const ULONG constant = 1;

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        volatile ULONG *target = (volatile ULONG *)&constant;

        HIDE(target);
        *target = 2;
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
