/*
 * Every way a driver gets at the buffers of a request: the four methods of device control, and read and
 * write with direct buffers. No callback.
 *
 * harness: with ../probe/seh_copy
 */
#include <ntifs.h>

#define CODE(n, method) CTL_CODE(FILE_DEVICE_UNKNOWN, 0x900 + (n), method, FILE_ANY_ACCESS)
#define IOCTL_BUFFERED CODE(0, METHOD_BUFFERED)     /* output: the input with every byte plus one */
#define IOCTL_IN_DIRECT CODE(1, METHOD_IN_DIRECT)   /* Information: sum of the bytes of the direct buffer */
#define IOCTL_OUT_DIRECT CODE(2, METHOD_OUT_DIRECT) /* direct buffer: filled with the first input byte */
#define IOCTL_NEITHER CODE(3, METHOD_NEITHER)       /* output: the input reversed */
#define MAX_NEITHER 256
#define STORE_SIZE 512

DRIVER_INITIALIZE DriverEntry;
NTSTATUS __cdecl seh_copy(PVOID destination, const VOID *source, SIZE_T length);

static UCHAR store[STORE_SIZE];
static ULONG stored;

static NTSTATUS Complete(PIRP irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static PUCHAR Direct(PIRP irp)
{
    return irp->MdlAddress != NULL ? MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority) : NULL;
}

static NTSTATUS NTAPI OpenClose(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    return Complete(irp, STATUS_SUCCESS, 0);
}

/* Both pointers are the requester's own: nothing was checked or copied by the I/O manager. */
static NTSTATUS Neither(PIO_STACK_LOCATION stack, PIRP irp, ULONG_PTR *information)
{
    UCHAR bytes[MAX_NEITHER];
    ULONG length = stack->Parameters.DeviceIoControl.InputBufferLength, index;
    NTSTATUS status;

    if (length > sizeof(bytes) || stack->Parameters.DeviceIoControl.OutputBufferLength < length) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    status = seh_copy(bytes, stack->Parameters.DeviceIoControl.Type3InputBuffer, length);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    for (index = 0; index < length / 2; index++) {
        UCHAR byte = bytes[index];

        bytes[index] = bytes[length - 1 - index];
        bytes[length - 1 - index] = byte;
    }
    status = seh_copy(irp->UserBuffer, bytes, length);
    *information = NT_SUCCESS(status) ? length : 0;
    return status;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG input = stack->Parameters.DeviceIoControl.InputBufferLength, index;
    ULONG output = stack->Parameters.DeviceIoControl.OutputBufferLength;
    PUCHAR system = irp->AssociatedIrp.SystemBuffer, direct = NULL;
    ULONG_PTR information = 0;
    NTSTATUS status = STATUS_SUCCESS;

    UNREFERENCED_PARAMETER(device);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_BUFFERED:
        for (index = 0; index < input && index < output; index++) {
            system[index]++;
        }
        information = index;
        break;
    case IOCTL_IN_DIRECT:
        direct = Direct(irp);
        if (direct == NULL) {
            status = STATUS_INVALID_PARAMETER;
            break;
        }
        for (index = 0; index < output; index++) {
            information += direct[index];
        }
        break;
    case IOCTL_OUT_DIRECT:
        direct = Direct(irp);
        if (direct == NULL || input == 0) {
            status = STATUS_INVALID_PARAMETER;
            break;
        }
        for (index = 0; index < output; index++) {
            direct[index] = system[0];
        }
        information = output;
        break;
    case IOCTL_NEITHER:
        status = Neither(stack, irp, &information);
        break;
    default:
        status = STATUS_INVALID_DEVICE_REQUEST;
    }
    return Complete(irp, status, information);
}

static NTSTATUS NTAPI Read(PDEVICE_OBJECT device, PIRP irp)
{
    ULONG length = IoGetCurrentIrpStackLocation(irp)->Parameters.Read.Length;
    PUCHAR buffer = Direct(irp);

    UNREFERENCED_PARAMETER(device);
    if (length != 0 && buffer == NULL) {
        return Complete(irp, STATUS_INVALID_PARAMETER, 0);
    }
    if (length > stored) {
        length = stored;
    }
    RtlCopyMemory(buffer, store, length);
    return Complete(irp, length != 0 ? STATUS_SUCCESS : STATUS_END_OF_FILE, length);
}

static NTSTATUS NTAPI Write(PDEVICE_OBJECT device, PIRP irp)
{
    ULONG length = IoGetCurrentIrpStackLocation(irp)->Parameters.Write.Length;
    PUCHAR buffer = Direct(irp);

    UNREFERENCED_PARAMETER(device);
    if (length > sizeof(store) || (length != 0 && buffer == NULL)) {
        return Complete(irp, STATUS_INVALID_PARAMETER, 0);
    }
    RtlCopyMemory(store, buffer, length);
    stored = length;
    return Complete(irp, STATUS_SUCCESS, length);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNICODE_STRING link;

    RtlInitUnicodeString(&link, L"\\DosDevices\\RegTraits");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(driver->DeviceObject);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING name, link;
    PDEVICE_OBJECT device;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    RtlInitUnicodeString(&name, L"\\Device\\RegTraits");
    RtlInitUnicodeString(&link, L"\\DosDevices\\RegTraits");
    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = IoCreateSymbolicLink(&link, &name);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = OpenClose;
    driver->MajorFunction[IRP_MJ_CLEANUP] = OpenClose;
    driver->MajorFunction[IRP_MJ_CLOSE] = OpenClose;
    driver->MajorFunction[IRP_MJ_READ] = Read;
    driver->MajorFunction[IRP_MJ_WRITE] = Write;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    driver->DriverUnload = Unload;
    device->Flags |= DO_DIRECT_IO;
    device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}
