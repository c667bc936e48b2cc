/*
 * Wrong: recursion without an end.
 * Caught: bugcheck 0x7F UNEXPECTED_KERNEL_MODE_TRAP, parameter 1 = 8 (double fault), at the end of the stack.
 */
#include "wrong.h"

static volatile ULONG forever = 1;

static __attribute__((noinline)) ULONG Deeper(ULONG depth)
{
    volatile UCHAR frame[256];

    frame[depth % sizeof(frame)] = (UCHAR)depth;
    if (forever) {
        depth += Deeper(depth + 1);
    }
    return depth + frame[0];
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        return Deeper(1) == 0 ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS;
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
