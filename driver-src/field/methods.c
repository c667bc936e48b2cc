/*
 * Buffers of requests in every way there is, probed, locked and mapped; and an event that belongs to the
 * requester.
 *
 * harness: with guarded
 */
#include "field.h"

#define TAG 'teMF'
#define IOCTL_UPPER FIELD_IOCTL(0, METHOD_NEITHER)      /* ANSI text in, the same in capitals out; probed */
#define IOCTL_SUM FIELD_IOCTL(1, METHOD_IN_DIRECT)      /* output in the system buffer's place: see Sum */
#define IOCTL_FILL FIELD_IOCTL(2, METHOD_OUT_DIRECT)    /* the direct buffer filled with the first input byte */
#define IOCTL_LOCK FIELD_IOCTL(3, METHOD_NEITHER)       /* output incremented through an MDL of its own */
#define IOCTL_PROBE FIELD_IOCTL(4, METHOD_BUFFERED)     /* input: address, length; status of ProbeForWrite */
#define IOCTL_MAKE_EVENT FIELD_IOCTL(5, METHOD_BUFFERED) /* output: a handle of the requester, as 64 bits */
#define IOCTL_SET_EVENT FIELD_IOCTL(6, METHOD_BUFFERED) /* input: the handle; output: ULONG, previous state */
#define IOCTL_CLOSE FIELD_IOCTL(7, METHOD_BUFFERED)     /* input: the handle */

typedef struct _RANGE {
    PVOID input, output;
    ULONG length;
} RANGE;

static NTSTATUS NTAPI Upper(PVOID context)
{
    RANGE *range = context;
    PUCHAR from = range->input, to = range->output;
    ULONG index;

    ProbeForRead(range->input, range->length, sizeof(UCHAR));
    ProbeForWrite(range->output, range->length, sizeof(UCHAR));
    for (index = 0; index < range->length; index++) {
        to[index] = from[index] >= 'a' && from[index] <= 'z' ? from[index] - 32 : from[index];
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Probe(PVOID context)
{
    RANGE *range = context;

    ProbeForWrite(range->output, range->length, sizeof(ULONG));
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Lock(PVOID context)
{
    MmProbeAndLockPages(context, UserMode, IoModifyAccess);
    return STATUS_SUCCESS;
}

static NTSTATUS LockAndCount(PVOID buffer, ULONG length)
{
    PMDL mdl = IoAllocateMdl(buffer, length, FALSE, FALSE, NULL);
    PUCHAR mapped;
    NTSTATUS status;
    ULONG index;

    if (mdl == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    status = guarded_call(Lock, mdl);
    if (NT_SUCCESS(status)) {
        mapped = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority);
        if (mapped == NULL) {
            status = STATUS_INSUFFICIENT_RESOURCES;
        } else {
            for (index = 0; index < MmGetMdlByteCount(mdl); index++) {
                mapped[index]++;
            }
        }
        MmUnlockPages(mdl);
    }
    IoFreeMdl(mdl);
    return status;
}

static NTSTATUS SetUserEvent(HANDLE handle, PULONG previous)
{
    PKEVENT event;
    NTSTATUS status = ObReferenceObjectByHandle(handle, EVENT_MODIFY_STATE, OBJECT_TYPE_OF(ExEventObjectType), UserMode, (PVOID *)&event, NULL);

    if (NT_SUCCESS(status)) {
        *previous = KeSetEvent(event, IO_NO_INCREMENT, FALSE);
        ObDereferenceObject(event);
    }
    return status;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength, index, sum = 0;
    ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    PULONG64 system = irp->AssociatedIrp.SystemBuffer;
    NTSTATUS status = STATUS_SUCCESS;
    ULONG_PTR information = 0;
    OBJECT_ATTRIBUTES attributes;
    HANDLE handle;
    PUCHAR direct;
    RANGE range;

    UNREFERENCED_PARAMETER(device);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_UPPER:
        range.input = stack->Parameters.DeviceIoControl.Type3InputBuffer;
        range.output = irp->UserBuffer;
        range.length = in;
        status = out < in ? STATUS_BUFFER_TOO_SMALL : guarded_call(Upper, &range);
        information = NT_SUCCESS(status) ? in : 0;
        break;
    case IOCTL_SUM:
    case IOCTL_FILL:
        direct = irp->MdlAddress != NULL ? MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority) : NULL;
        if (direct == NULL || in == 0) {
            status = STATUS_INVALID_PARAMETER;
            break;
        }
        if (stack->Parameters.DeviceIoControl.IoControlCode == IOCTL_FILL) {
            RtlFillMemory(direct, out, *(PUCHAR)system);
            information = out;
            break;
        }
        for (index = 0; index < MmGetMdlByteCount(irp->MdlAddress); index++) {
            sum += direct[index];
        }
        information = sum; /* more a result than a count, as some drivers do */
        break;
    case IOCTL_LOCK:
        status = irp->UserBuffer == NULL || out == 0 ? STATUS_INVALID_PARAMETER : LockAndCount(irp->UserBuffer, out);
        information = NT_SUCCESS(status) ? out : 0;
        break;
    case IOCTL_PROBE:
        range.output = (PVOID)(ULONG_PTR)system[0];
        range.length = (ULONG)system[1];
        status = in < 16 ? STATUS_INVALID_PARAMETER : guarded_call(Probe, &range);
        break;
    case IOCTL_MAKE_EVENT:
        InitializeObjectAttributes(&attributes, NULL, 0, NULL, NULL);
        status = out < 8 ? STATUS_BUFFER_TOO_SMALL : ZwCreateEvent(&handle, EVENT_ALL_ACCESS, &attributes, NotificationEvent, FALSE);
        if (NT_SUCCESS(status)) {
            *system = (ULONG_PTR)handle;
            information = 8;
        }
        break;
    case IOCTL_SET_EVENT:
        status = in < 8 || out < 4 ? STATUS_BUFFER_TOO_SMALL : SetUserEvent((HANDLE)(ULONG_PTR)*system, (PULONG)system);
        information = NT_SUCCESS(status) ? 4 : 0;
        break;
    case IOCTL_CLOSE:
        status = in < 8 ? STATUS_BUFFER_TOO_SMALL : ZwClose((HANDLE)(ULONG_PTR)*system);
        break;
    default:
        status = STATUS_INVALID_DEVICE_REQUEST;
        break;
    }
    return FieldComplete(irp, status, information);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    FieldDelete(driver, L"\\DosDevices\\FieldMethods");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNREFERENCED_PARAMETER(service);
    return FieldCreate(driver, L"\\Device\\FieldMethods", L"\\DosDevices\\FieldMethods", DO_DIRECT_IO, Control, Unload);
}
