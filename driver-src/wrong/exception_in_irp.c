/*
 * Wrong: writes through NULL while it handles a device control request.
 * Caught: bugcheck 0x3B SYSTEM_SERVICE_EXCEPTION on x64, 0x8E KERNEL_MODE_EXCEPTION_NOT_HANDLED on x86.
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
    volatile ULONG *null = NULL;

    UNREFERENCED_PARAMETER(device);
    HIDE(null);
    *null = 1;
    return CompleteWith(irp, STATUS_SUCCESS);
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
