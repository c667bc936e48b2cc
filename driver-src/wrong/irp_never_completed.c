/*
 * Wrong: a device control request is neither completed nor pending.
 * Caught: as a hang of the request (or bugcheck 0xC9 DRIVER_VERIFIER_IOMANAGER_VIOLATION).
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(notify_class);
    UNREFERENCED_PARAMETER(information);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    UNREFERENCED_PARAMETER(irp);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status = WrongStart(driver, Callback);

    UNREFERENCED_PARAMETER(service);
    if (NT_SUCCESS(status)) {
        driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    }
    return status;
}
