/*
 * Wrong: writes through NULL inside the callback.
 * Caught: bugcheck 0x135 REGISTRY_FILTER_DRIVER_EXCEPTION from Windows 7 on; Vista swallows it (B-NOT-39).
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        volatile ULONG *null = NULL;

        HIDE(null);
        *null = 1;
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
