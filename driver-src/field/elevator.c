/*
 * Finds itself and the kernel in the list of loaded images, and marks its own entry so that process and object
 * callbacks are accepted without /INTEGRITYCHECK. No page allows it, and many drivers in the field do it.
 *
 * harness: since 6.1
 */
#include "field.h"

#define IOCTL_LOOK FIELD_IOCTL(0, METHOD_BUFFERED) /* output: LOOK */

typedef struct _IMAGE_ENTRY {
    LIST_ENTRY links;
    PVOID exception_table;
    ULONG exception_table_size;
    PVOID gp;
    PVOID debug;
    PVOID base, entry;
    ULONG size;
    UNICODE_STRING full, name;
    ULONG flags;
    USHORT loads;
} IMAGE_ENTRY;

typedef struct _LOOK {
    NTSTATUS before, after;
    ULONG images, self_right, kernel_found;
} LOOK;

typedef NTSTATUS(NTAPI *SET_NOTIFY_EX)(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove);

static SET_NOTIFY_EX set_notify_ex;
static LOOK look;
static BOOLEAN registered;

static VOID NTAPI Process(PEPROCESS process, HANDLE id, PPS_CREATE_NOTIFY_INFO info)
{
    UNREFERENCED_PARAMETER(process);
    UNREFERENCED_PARAMETER(id);
    UNREFERENCED_PARAMETER(info);
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(irp);

    UNREFERENCED_PARAMETER(device);
    if (location->Parameters.DeviceIoControl.IoControlCode != IOCTL_LOOK
        || location->Parameters.DeviceIoControl.OutputBufferLength < sizeof(look)) {
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, &look, sizeof(look));
    return FieldComplete(irp, STATUS_SUCCESS, sizeof(look));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    if (registered) {
        set_notify_ex(Process, TRUE);
    }
    FieldDelete(driver, L"\\??\\FieldElevator");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    UNICODE_STRING routine = RTL_CONSTANT_STRING(L"PsSetCreateProcessNotifyRoutineEx");
    UNICODE_STRING kernel = RTL_CONSTANT_STRING(L"NTOSKRNL.EXE");
    IMAGE_ENTRY *self = driver->DriverSection, *each;
    PLIST_ENTRY link;

    UNREFERENCED_PARAMETER(path);
    look.self_right = self->base == driver->DriverStart && self->size == driver->DriverSize;
    for (link = self->links.Flink; link != &self->links; link = link->Flink) {
        each = CONTAINING_RECORD(link, IMAGE_ENTRY, links);
        if (each->base != NULL) {
            look.images++;
            look.kernel_found += RtlEqualUnicodeString(&each->name, &kernel, TRUE);
        }
    }
    set_notify_ex = (SET_NOTIFY_EX)MmGetSystemRoutineAddress(&routine);
    look.before = set_notify_ex(Process, FALSE);
    self->flags |= 0x20;
    look.after = set_notify_ex(Process, FALSE);
    registered = NT_SUCCESS(look.after);
    return FieldCreate(driver, L"\\Device\\FieldElevator", L"\\??\\FieldElevator", 0, Control, Unload);
}
