/*
 * A driver that is controlled by read and write with buffered I/O: a written line becomes its state, a read
 * gives it back. It counts set-value notifications at an altitude of its own.
 *
 * harness: since 6.0
 */
#include <ntifs.h>

#define STATE_SIZE 64

DRIVER_INITIALIZE DriverEntry;

static LARGE_INTEGER cookie;
static FAST_MUTEX lock;
static UCHAR state[STATE_SIZE];
static ULONG state_length;
static volatile LONG sets;

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(information);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)notify_class == RegNtPreSetValueKey) {
        InterlockedIncrement(&sets);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Dispatch(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    PVOID buffer = irp->AssociatedIrp.SystemBuffer;
    NTSTATUS status = STATUS_SUCCESS;
    ULONG length = 0;

    UNREFERENCED_PARAMETER(device);
    ExAcquireFastMutex(&lock);
    if (stack->MajorFunction == IRP_MJ_WRITE) {
        length = stack->Parameters.Write.Length;
        if (length > sizeof(state)) {
            status = STATUS_BUFFER_OVERFLOW;
            length = 0;
        } else {
            RtlCopyMemory(state, buffer, length);
            state_length = length;
        }
    } else if (stack->MajorFunction == IRP_MJ_READ) {
        length = stack->Parameters.Read.Length < state_length ? stack->Parameters.Read.Length : state_length;
        RtlCopyMemory(buffer, state, length);
    }
    ExReleaseFastMutex(&lock);
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = length;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNICODE_STRING link;

    CmUnRegisterCallback(cookie);
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "buffered: %ld values set\n", sets);
    RtlInitUnicodeString(&link, L"\\DosDevices\\RegBuffered");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(driver->DeviceObject);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING name, link, altitude;
    PDEVICE_OBJECT device;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    ExInitializeFastMutex(&lock);
    RtlInitUnicodeString(&name, L"\\Device\\RegBuffered");
    RtlInitUnicodeString(&link, L"\\DosDevices\\RegBuffered");
    RtlInitUnicodeString(&altitude, L"385100.5");
    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = IoCreateSymbolicLink(&link, &name);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &cookie, NULL);
        if (!NT_SUCCESS(status)) {
            IoDeleteSymbolicLink(&link);
        }
    }
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = Dispatch;
    driver->MajorFunction[IRP_MJ_CLEANUP] = Dispatch;
    driver->MajorFunction[IRP_MJ_CLOSE] = Dispatch;
    driver->MajorFunction[IRP_MJ_READ] = Dispatch;
    driver->MajorFunction[IRP_MJ_WRITE] = Dispatch;
    driver->DriverUnload = Unload;
    device->Flags |= DO_BUFFERED_IO;
    device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}
