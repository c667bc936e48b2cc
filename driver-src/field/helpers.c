/*
 * What compilers call on their own account: frames of several pages, 64-bit shifts and divisions on x86.
 *
 * harness: since 6.1
 */
#include "field.h"

#define IOCTL_WORK FIELD_IOCTL(0, METHOD_BUFFERED) /* input: two ULONG64 and a ULONG64 count; output: RESULTS */

typedef struct _RESULTS {
    ULONG64 quotient, remainder, up, down, sum;
    LONG64 signed_quotient, signed_remainder, signed_down;
} RESULTS;

static __declspec(noinline) ULONG64 Large(ULONG64 seed)
{
    volatile UCHAR frame[5000];
    ULONG64 sum = 0;
    ULONG index;

    for (index = 0; index < sizeof(frame); index++) {
        frame[index] = (UCHAR)(seed + index);
    }
    for (index = 0; index < sizeof(frame); index++) {
        sum += frame[index];
    }
    return sum;
}

static __declspec(noinline) VOID Work(volatile ULONG64 *in, RESULTS *out)
{
    ULONG64 a = in[0], b = in[1];
    ULONG count = (ULONG)in[2];

    out->quotient = a / b;
    out->remainder = a % b;
    out->signed_quotient = (LONG64)a / (LONG64)b;
    out->signed_remainder = (LONG64)a % (LONG64)b;
    out->up = a << count;
    out->down = a >> count;
    out->signed_down = (LONG64)a >> count;
    out->sum = Large(a);
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(irp);
    ULONG64 in[3];

    UNREFERENCED_PARAMETER(device);
    if (location->Parameters.DeviceIoControl.IoControlCode != IOCTL_WORK
        || location->Parameters.DeviceIoControl.InputBufferLength < sizeof(in)
        || location->Parameters.DeviceIoControl.OutputBufferLength < sizeof(RESULTS)) {
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    RtlCopyMemory(in, irp->AssociatedIrp.SystemBuffer, sizeof(in));
    Work(in, irp->AssociatedIrp.SystemBuffer);
    return FieldComplete(irp, STATUS_SUCCESS, sizeof(RESULTS));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    FieldDelete(driver, L"\\??\\FieldHelpers");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    UNREFERENCED_PARAMETER(path);
    return FieldCreate(driver, L"\\Device\\FieldHelpers", L"\\??\\FieldHelpers", 0, Control, Unload);
}
