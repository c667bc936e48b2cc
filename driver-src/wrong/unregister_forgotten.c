/*
 * Wrong: unloads without CmUnRegisterCallback; the next notification would run unmapped code.
 * Caught: at unload, bugcheck 0xC4 or 0xCE (the driver left something behind).
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(notify_class);
    UNREFERENCED_PARAMETER(information);
    return STATUS_SUCCESS;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    WrongDeleteDevice(driver);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status = WrongStart(driver, Callback);

    UNREFERENCED_PARAMETER(service);
    if (NT_SUCCESS(status)) {
        driver->DriverUnload = Unload;
    }
    return status;
}
