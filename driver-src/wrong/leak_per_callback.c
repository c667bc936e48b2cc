/*
 * Wrong: a copy of the value name is allocated in every trigger and forgotten.
 * Caught: at unload, bugcheck 0xC4 with parameter 1 = 0x62; how much leaked grows with the triggers.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        PVOID copy = ExAllocatePoolWithTag(NonPagedPool, 64, WRONG_TAG);

        if (copy != NULL) {
            RtlZeroMemory(copy, 64);
            HIDE(copy);
        }
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
