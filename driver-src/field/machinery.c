/*
 * The kernel's machinery as drivers with a service of their own use it: cancel-safe queues, callback objects, timers
 * of devices, cache-aware rundown protection, the event log, named objects, the headers of its own image.
 *
 * harness: since 6.1
 */
#include "field.h"

NTSYSAPI PVOID NTAPI RtlImageNtHeader(PVOID base);

#define TAG 'cmMF'
#define RESULTS 24
#define IOCTL_RUN FIELD_IOCTL(0, METHOD_BUFFERED)   /* output: RESULTS ULONGs, in the order of `Run` */
#define IOCTL_TICKS FIELD_IOCTL(1, METHOD_BUFFERED) /* waits two and a half seconds; output: ULONG ticks */

static struct {
    IO_CSQ csq;
    LIST_ENTRY requests;
    KSPIN_LOCK lock;
    PIRP cancelled;
} queue;

static LONG ticks;
static ULONG heard[2];
static ULONG results[RESULTS], used;

static VOID Note(ULONG value)
{
    if (used < RESULTS) {
        results[used++] = value;
    }
}

/* -- a cancel-safe queue ----------------------------------------------------------------------------------- */

static VOID NTAPI Insert(PIO_CSQ csq, PIRP irp)
{
    UNREFERENCED_PARAMETER(csq);
    InsertTailList(&queue.requests, &irp->Tail.Overlay.ListEntry);
}

static VOID NTAPI Remove(PIO_CSQ csq, PIRP irp)
{
    UNREFERENCED_PARAMETER(csq);
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
}

static PIRP NTAPI Peek(PIO_CSQ csq, PIRP irp, PVOID context)
{
    PLIST_ENTRY next = irp == NULL ? queue.requests.Flink : irp->Tail.Overlay.ListEntry.Flink;

    UNREFERENCED_PARAMETER(csq);
    UNREFERENCED_PARAMETER(context);
    return next == &queue.requests ? NULL : CONTAINING_RECORD(next, IRP, Tail.Overlay.ListEntry);
}

static VOID NTAPI Acquire(PIO_CSQ csq, PKIRQL irql)
{
    UNREFERENCED_PARAMETER(csq);
    KeAcquireSpinLock(&queue.lock, irql);
}

static VOID NTAPI Release(PIO_CSQ csq, KIRQL irql)
{
    UNREFERENCED_PARAMETER(csq);
    KeReleaseSpinLock(&queue.lock, irql);
}

static VOID NTAPI Cancelled(PIO_CSQ csq, PIRP irp)
{
    UNREFERENCED_PARAMETER(csq);
    queue.cancelled = irp;
}

static VOID Queue(PDEVICE_OBJECT device)
{
    IO_CSQ_IRP_CONTEXT context;
    PIRP one = IoAllocateIrp(device->StackSize, FALSE), two = IoAllocateIrp(device->StackSize, FALSE);

    InitializeListHead(&queue.requests);
    KeInitializeSpinLock(&queue.lock);
    Note(IoCsqInitialize(&queue.csq, Insert, Remove, Peek, Acquire, Release, Cancelled));
    IoSetNextIrpStackLocation(one);
    IoSetNextIrpStackLocation(two);
    IoCsqInsertIrp(&queue.csq, one, NULL);
    IoCsqInsertIrp(&queue.csq, two, &context);
    Note(IoCsqRemoveIrp(&queue.csq, &context) == two && IoCsqRemoveIrp(&queue.csq, &context) == NULL);
    IoCsqInsertIrp(&queue.csq, two, NULL);
    Note(IoCancelIrp(one) && queue.cancelled == one && KeGetCurrentIrql() == PASSIVE_LEVEL);
    Note(IoCsqRemoveNextIrp(&queue.csq, NULL) == two && IoCsqRemoveNextIrp(&queue.csq, NULL) == NULL);
    IoFreeIrp(one);
    IoFreeIrp(two);
}

/* -- callback objects -------------------------------------------------------------------------------------- */

static VOID NTAPI Heard(PVOID context, PVOID argument1, PVOID argument2)
{
    heard[(ULONG_PTR)context] += (ULONG)(ULONG_PTR)argument1 + (ULONG)(ULONG_PTR)argument2;
}

static VOID CallbackObjects(VOID)
{
    UNICODE_STRING own = RTL_CONSTANT_STRING(L"\\Callback\\FieldMachinery");
    UNICODE_STRING power = RTL_CONSTANT_STRING(L"\\Callback\\PowerState");
    UNICODE_STRING none = RTL_CONSTANT_STRING(L"\\Callback\\FieldNothing");
    OBJECT_ATTRIBUTES attributes;
    PCALLBACK_OBJECT object, same;
    PVOID first, second;

    InitializeObjectAttributes(&attributes, &none, OBJ_CASE_INSENSITIVE, NULL, NULL);
    Note(ExCreateCallback(&object, &attributes, FALSE, FALSE));
    InitializeObjectAttributes(&attributes, &power, OBJ_CASE_INSENSITIVE, NULL, NULL);
    Note(ExCreateCallback(&object, &attributes, FALSE, TRUE));
    ObDereferenceObject(object);
    InitializeObjectAttributes(&attributes, &own, OBJ_CASE_INSENSITIVE, NULL, NULL);
    ExCreateCallback(&object, &attributes, TRUE, TRUE);
    ExCreateCallback(&same, &attributes, FALSE, TRUE);
    first = ExRegisterCallback(object, Heard, (PVOID)0);
    second = ExRegisterCallback(same, Heard, (PVOID)1);
    ExNotifyCallback(object, (PVOID)3, (PVOID)4);
    ExUnregisterCallback(first);
    ExNotifyCallback(object, (PVOID)10, (PVOID)20);
    ExUnregisterCallback(second);
    ObDereferenceObject(object);
    ObDereferenceObject(same);
    Note(heard[0]);
    Note(heard[1]);
}

/* -- named objects ----------------------------------------------------------------------------------------- */

static VOID Names(VOID)
{
    UNICODE_STRING folder = RTL_CONSTANT_STRING(L"\\FieldMachinery");
    UNICODE_STRING event = RTL_CONSTANT_STRING(L"\\FieldMachinery\\Ready");
    OBJECT_ATTRIBUTES attributes;
    HANDLE directory, ready, again;
    LARGE_INTEGER now = {{0, 0}};
    UCHAR buffer[256];
    ULONG context = 0, length;

    InitializeObjectAttributes(&attributes, &folder, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    Note(ZwCreateDirectoryObject(&directory, DIRECTORY_ALL_ACCESS, &attributes));
    InitializeObjectAttributes(&attributes, &event, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    Note(ZwOpenEvent(&again, EVENT_ALL_ACCESS, &attributes));
    Note(ZwCreateEvent(&ready, EVENT_ALL_ACCESS, &attributes, NotificationEvent, FALSE));
    Note(ZwOpenEvent(&again, EVENT_ALL_ACCESS, &attributes));
    Note(ZwWaitForSingleObject(again, FALSE, &now));
    ZwSetEvent(ready, NULL);
    Note(ZwWaitForSingleObject(again, FALSE, &now));
    Note(ZwQueryDirectoryObject(directory, buffer, sizeof(buffer), TRUE, TRUE, &context, &length));
    Note(((PUNICODE_STRING)buffer)->Length);
    ZwClose(again);
    ZwClose(ready);
    Note(ZwOpenEvent(&again, EVENT_ALL_ACCESS, &attributes));
    ZwClose(directory);
}

static VOID Log(PDEVICE_OBJECT device)
{
    static const WCHAR text[] = L"machinery";
    PIO_ERROR_LOG_PACKET packet = IoAllocateErrorLogEntry(device, sizeof(*packet) + sizeof(text));

    packet->ErrorCode = 0x40010001;
    packet->NumberOfStrings = 1;
    packet->StringOffset = sizeof(*packet);
    RtlCopyMemory(packet + 1, text, sizeof(text));
    IoWriteErrorLogEntry(packet);
}

static VOID Rundown(VOID)
{
    PEX_RUNDOWN_REF_CACHE_AWARE rundown = ExAllocateCacheAwareRundownProtection(NonPagedPool, TAG);
    BOOLEAN before = ExAcquireRundownProtectionCacheAware(rundown);

    ExReleaseRundownProtectionCacheAware(rundown);
    ExWaitForRundownProtectionReleaseCacheAware(rundown);
    Note(before && !ExAcquireRundownProtectionCacheAware(rundown));
    ExFreeCacheAwareRundownProtection(rundown);
}

static VOID Run(PDEVICE_OBJECT device)
{
    used = 0;
    Queue(device);
    CallbackObjects();
    Names();
    Rundown();
    Log(device);
    Note(RtlImageNtHeader(device->DriverObject->DriverStart) != NULL);
    Note(RtlImageNtHeader(device) == NULL);
}

static VOID NTAPI Tick(PDEVICE_OBJECT device, PVOID context)
{
    UNREFERENCED_PARAMETER(device);
    if (context == &ticks && KeGetCurrentIrql() == DISPATCH_LEVEL) {
        ticks++;
    }
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(irp);
    LARGE_INTEGER delay;

    if (location->Parameters.DeviceIoControl.OutputBufferLength < sizeof(results)) {
        return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    }
    if (location->Parameters.DeviceIoControl.IoControlCode == IOCTL_TICKS) {
        IoStartTimer(device);
        delay.QuadPart = -25000000;
        KeDelayExecutionThread(KernelMode, FALSE, &delay);
        IoStopTimer(device);
        *(ULONG *)irp->AssociatedIrp.SystemBuffer = ticks;
        return FieldComplete(irp, STATUS_SUCCESS, sizeof(ULONG));
    }
    Run(device);
    RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, results, sizeof(results));
    return FieldComplete(irp, STATUS_SUCCESS, used * sizeof(ULONG));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    FieldDelete(driver, L"\\??\\FieldMachinery");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    NTSTATUS status;

    UNREFERENCED_PARAMETER(path);
    status = FieldCreate(driver, L"\\Device\\FieldMachinery", L"\\??\\FieldMachinery", 0, Control, Unload);
    if (NT_SUCCESS(status)) {
        status = IoInitializeTimer(driver->DeviceObject, Tick, &ticks);
    }
    return status;
}
