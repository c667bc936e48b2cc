/*
 * A monitor: every operation with its full path and process, into a ring that IRP_MJ_READ empties; a named
 * event tells readers.
 *
 * harness: since 6.2
 * harness: with win8
 */
#include "field.h"

#define TAG 'noMF'
#define RING 256
#define MAX_PATH_CHARS 160
#define IOCTL_SIGNALLED FIELD_IOCTL(0, METHOD_BUFFERED) /* output: ULONG, is the event set (and reset it) */
#define IOCTL_DROPPED FIELD_IOCTL(1, METHOD_BUFFERED)   /* output: ULONG */

typedef struct _RECORD {
    LARGE_INTEGER time;
    ULONG process;
    ULONG operation;
    NTSTATUS status;
    CHAR image[16];
    USHORT length; /* bytes of `path` */
    WCHAR path[MAX_PATH_CHARS];
} RECORD, *PRECORD;

static struct {
    KSPIN_LOCK lock;
    PRECORD records;
    ULONG head, count, dropped;
    PKEVENT event;
    HANDLE event_handle;
    LARGE_INTEGER cookie;
} monitor;

static VOID Record(ULONG operation, NTSTATUS status, PCUNICODE_STRING root, PCUNICODE_STRING rest)
{
    RECORD record;
    UNICODE_STRING path;
    KIRQL irql;

    RtlZeroMemory(&record, sizeof(record));
    KeQuerySystemTime(&record.time);
    record.process = HandleToULong(PsGetCurrentProcessId());
    record.operation = operation;
    record.status = status;
    strncpy(record.image, (PCSTR)PsGetProcessImageFileName(PsGetCurrentProcess()), sizeof(record.image) - 1);
    RtlInitEmptyUnicodeString(&path, record.path, sizeof(record.path));
    if (root != NULL) {
        RtlCopyUnicodeString(&path, root);
    }
    if (rest != NULL && rest->Length != 0) {
        if (path.Length != 0) {
            RtlAppendUnicodeToString(&path, L"\\");
        }
        RtlAppendUnicodeStringToString(&path, rest);
    }
    record.length = path.Length;

    KeAcquireSpinLock(&monitor.lock, &irql);
    if (monitor.count == RING) {
        monitor.dropped++;
    } else {
        monitor.records[(monitor.head + monitor.count++) % RING] = record;
    }
    KeReleaseSpinLock(&monitor.lock, irql);
    KeSetEvent(monitor.event, IO_NO_INCREMENT, FALSE);
}

static VOID RecordObject(ULONG operation, NTSTATUS status, PVOID object, PCUNICODE_STRING rest)
{
    PCUNICODE_STRING name = NULL;

    if (object != NULL && NT_SUCCESS(CmCallbackGetKeyObjectIDEx(&monitor.cookie, object, NULL, &name, 0))) {
        Record(operation, status, name, rest);
        CmCallbackReleaseKeyObjectIDEx(name);
    } else {
        Record(operation, status, NULL, rest);
    }
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    REG_NOTIFY_CLASS class = (REG_NOTIFY_CLASS)(ULONG_PTR)argument1;

    UNREFERENCED_PARAMETER(context);
    switch (class) {
    case RegNtPreSetValueKey: {
        PREG_SET_VALUE_KEY_INFORMATION set = argument2;

        RecordObject(class, STATUS_SUCCESS, set->Object, set->ValueName);
        break;
    }
    case RegNtPreDeleteValueKey: {
        PREG_DELETE_VALUE_KEY_INFORMATION delete = argument2;

        RecordObject(class, STATUS_SUCCESS, delete->Object, delete->ValueName);
        break;
    }
    case RegNtPreDeleteKey:
        RecordObject(class, STATUS_SUCCESS, ((PREG_DELETE_KEY_INFORMATION)argument2)->Object, NULL);
        break;
    case RegNtPreRenameKey: {
        PREG_RENAME_KEY_INFORMATION rename = argument2;

        RecordObject(class, STATUS_SUCCESS, rename->Object, rename->NewName);
        break;
    }
    case RegNtPostCreateKeyEx:
    case RegNtPostOpenKeyEx: {
        PREG_POST_OPERATION_INFORMATION post = argument2;
        PREG_CREATE_KEY_INFORMATION_V1 pre = post->PreInformation;

        if (pre->CompleteName->Length != 0 && pre->CompleteName->Buffer[0] == L'\\') {
            Record(class, post->Status, NULL, pre->CompleteName);
        } else {
            RecordObject(class, post->Status, pre->RootObject, pre->CompleteName);
        }
        break;
    }
    default:
        break;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Read(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG room = stack->Parameters.Read.Length / sizeof(RECORD), done = 0;
    PRECORD output = irp->AssociatedIrp.SystemBuffer;
    KIRQL irql;

    UNREFERENCED_PARAMETER(device);
    if (room == 0) {
        return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    }
    KeAcquireSpinLock(&monitor.lock, &irql);
    while (done < room && monitor.count != 0) {
        output[done++] = monitor.records[monitor.head];
        monitor.head = (monitor.head + 1) % RING;
        monitor.count--;
    }
    KeReleaseSpinLock(&monitor.lock, irql);
    return FieldComplete(irp, STATUS_SUCCESS, done * sizeof(RECORD));
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    PULONG output = irp->AssociatedIrp.SystemBuffer;

    UNREFERENCED_PARAMETER(device);
    if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(ULONG)) {
        return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    }
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_SIGNALLED:
        *output = KeReadStateEvent(monitor.event) != 0;
        KeClearEvent(monitor.event);
        break;
    case IOCTL_DROPPED:
        *output = monitor.dropped;
        break;
    default:
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    return FieldComplete(irp, STATUS_SUCCESS, sizeof(ULONG));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(monitor.cookie);
    ZwClose(monitor.event_handle);
    FieldDelete(driver, L"\\DosDevices\\FieldMonitor");
    ExFreePoolWithTag(monitor.records, TAG);
    DbgPrint("monitor: gone\n");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"360055.5"), name = RTL_CONSTANT_STRING(L"\\BaseNamedObjects\\FieldMonitor");
    NTSTATUS status;

    DbgPrint("monitor: starting as %wZ\n", service);
    KeInitializeSpinLock(&monitor.lock);
    monitor.records = ExAllocatePoolWithTag(NonPagedPool, RING * sizeof(RECORD), TAG);
    if (monitor.records == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    monitor.event = IoCreateNotificationEvent(&name, &monitor.event_handle);
    if (monitor.event == NULL) {
        ExFreePoolWithTag(monitor.records, TAG);
        return STATUS_UNSUCCESSFUL;
    }
    KeClearEvent(monitor.event);
    status = FieldCreate(driver, L"\\Device\\FieldMonitor", L"\\DosDevices\\FieldMonitor", DO_BUFFERED_IO, Control, Unload);
    if (NT_SUCCESS(status)) {
        driver->MajorFunction[IRP_MJ_READ] = Read;
        status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &monitor.cookie, NULL);
        if (!NT_SUCCESS(status)) {
            FieldDelete(driver, L"\\DosDevices\\FieldMonitor");
        }
    }
    if (!NT_SUCCESS(status)) {
        ZwClose(monitor.event_handle);
        ExFreePoolWithTag(monitor.records, TAG);
    }
    return status;
}
