/*
 * Wrong: a loop over a block of pool runs one element too far.
 * Caught: bugcheck 0xD6 DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION (or 0xC1) at the write.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        volatile ULONG *block = ExAllocatePoolWithTag(NonPagedPool, 16 * sizeof(ULONG), WRONG_TAG);
        ULONG index;

        if (block != NULL) {
            for (index = 0; index <= 16; index++) {
                block[index] = index;
            }
            ExFreePoolWithTag((PVOID)block, WRONG_TAG);
        }
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
