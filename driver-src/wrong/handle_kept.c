/*
 * Wrong: every trigger opens the key in the callback, and the handle is never closed.
 * Caught: by the leak gate after the module; no check of Driver Verifier looks at handles of the system process.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    const REG_SET_VALUE_KEY_INFORMATION *set = information;
    HANDLE key;

    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        ObOpenObjectByPointer(set->Object, OBJ_KERNEL_HANDLE, NULL, KEY_READ, NULL, KernelMode, &key);
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
