/*
 * Wrong: writes to a kernel address that is not mapped.
 * Caught: bugcheck 0x50 PAGE_FAULT_IN_NONPAGED_AREA with that address as parameter 1.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        volatile ULONG *wild = (volatile ULONG *)(LONG_PTR)(LONG)0xF0F0F0F0;

        HIDE(wild);
        *wild = 1;
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
