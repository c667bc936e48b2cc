/*
 * Wrong: the callback returns at DISPATCH_LEVEL, having raised the IRQL and not lowered it.
 * Caught: as a bugcheck when the callback returns.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        KIRQL old;

        KeRaiseIrql(DISPATCH_LEVEL, &old);
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
