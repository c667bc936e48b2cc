/*
 * Wrong: a block of pool is freed twice.
 * Caught: bugcheck 0xC2 BAD_POOL_CALLER at the second free.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        PVOID block = ExAllocatePoolWithTag(NonPagedPool, 64, WRONG_TAG);

        if (block != NULL) {
            ExFreePoolWithTag(block, WRONG_TAG);
            HIDE(block);
            ExFreePoolWithTag(block, WRONG_TAG);
        }
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
