/*
 * Wrong: it has no DriverUnload, and every trigger takes pool that is never given back.
 * Caught: by the leak gate after the module, which finds the driver loaded, its callback and its pool.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        PVOID copy = ExAllocatePoolWithTag(NonPagedPool, 64, WRONG_TAG);

        HIDE(copy);
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status = WrongStart(driver, Callback);

    UNREFERENCED_PARAMETER(service);
    driver->DriverUnload = NULL;
    return status;
}
