/*
 * Wrong: a device control request is completed twice.
 * Caught: bugcheck 0x44 MULTIPLE_IRP_COMPLETE_REQUESTS.
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
    CompleteWith(irp, STATUS_SUCCESS);
    IoCompleteRequest(irp, IO_NO_INCREMENT);
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
