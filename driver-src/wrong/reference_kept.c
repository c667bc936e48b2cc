/*
 * Wrong: every trigger references the key object and never drops the reference, so that the key stays open.
 * Caught: by the leak gate after the module.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    const REG_SET_VALUE_KEY_INFORMATION *set = information;

    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        ObReferenceObject(set->Object);
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
