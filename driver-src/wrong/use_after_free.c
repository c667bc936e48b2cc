/*
 * Wrong: a block of pool is written after it was freed.
 * Caught: bugcheck 0xCC PAGE_FAULT_IN_FREED_SPECIAL_POOL at the write.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        volatile ULONG *block = ExAllocatePoolWithTag(NonPagedPool, 64, WRONG_TAG);

        if (block != NULL) {
            ExFreePoolWithTag((PVOID)block, WRONG_TAG);
            HIDE(block);
            *block = 1;
        }
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
