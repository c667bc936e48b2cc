/*
 * Wrong: a callback that never ends.
 * Caught: as a hang by the watch-dog, with the loop on the stack.
 */
#include "wrong.h"

static volatile ULONG forever = 1;

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        while (forever) {
            YieldProcessor();
        }
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
