/*
 * A logger whose thread waits on a kernel queue. An entry of its own tells the thread to end; what comes after that
 * one is given back when the queue is run down.
 *
 * harness: since 6.0
 */
#include "field.h"

#define TAG 'uqQF'
#define IOCTL_COUNTS FIELD_IOCTL(0, METHOD_BUFFERED) /* waits until the queue is empty; output: COUNTS */

NTKERNELAPI VOID NTAPI KeInitializeQueue(PRKQUEUE queue, ULONG count);
NTKERNELAPI LONG NTAPI KeInsertQueue(PRKQUEUE queue, PLIST_ENTRY entry);
NTKERNELAPI LONG NTAPI KeInsertHeadQueue(PRKQUEUE queue, PLIST_ENTRY entry);
NTKERNELAPI LONG NTAPI KeReadStateQueue(PRKQUEUE queue);
NTKERNELAPI PLIST_ENTRY NTAPI KeRemoveQueue(PRKQUEUE queue, KPROCESSOR_MODE mode, PLARGE_INTEGER timeout);
NTKERNELAPI PLIST_ENTRY NTAPI KeRundownQueue(PRKQUEUE queue);

typedef struct _RECORD {
    LIST_ENTRY links;
    ULONG operation;
} RECORD;

typedef struct _COUNTS {
    ULONG queued, handled, timeouts, waiting;
} COUNTS;

static KQUEUE queue;
static LIST_ENTRY end;
static PVOID thread;
static LARGE_INTEGER cookie;
static COUNTS counts;

static VOID NTAPI Logger(PVOID context)
{
    LARGE_INTEGER second;

    UNREFERENCED_PARAMETER(context);
    second.QuadPart = -10 * 1000 * 1000;
    for (;;) {
        PLIST_ENTRY found = KeRemoveQueue(&queue, KernelMode, &second);

        if ((ULONG_PTR)found == (ULONG)STATUS_TIMEOUT) {
            counts.timeouts++;
        } else if (found == &end) {
            PsTerminateSystemThread(STATUS_SUCCESS);
        } else {
            counts.handled++;
            ExFreePoolWithTag(CONTAINING_RECORD(found, RECORD, links), TAG);
        }
    }
}

static VOID Queue(REG_NOTIFY_CLASS operation)
{
    RECORD *record = ExAllocatePoolWithTag(NonPagedPool, sizeof(*record), TAG);

    if (record != NULL) {
        record->operation = operation;
        counts.queued++;
        KeInsertQueue(&queue, &record->links);
    }
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(argument2);
    Queue((REG_NOTIFY_CLASS)(ULONG_PTR)argument1);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(irp);
    LARGE_INTEGER pause;

    UNREFERENCED_PARAMETER(device);
    if (location->Parameters.DeviceIoControl.IoControlCode != IOCTL_COUNTS
        || location->Parameters.DeviceIoControl.OutputBufferLength < sizeof(counts)) {
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    pause.QuadPart = -25 * 1000 * 1000;
    KeDelayExecutionThread(KernelMode, FALSE, &pause);
    counts.waiting = KeReadStateQueue(&queue);
    RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, &counts, sizeof(counts));
    return FieldComplete(irp, STATUS_SUCCESS, sizeof(counts));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    PLIST_ENTRY first, entry;
    ULONG left = 0;

    CmUnRegisterCallback(cookie);
    KeInsertHeadQueue(&queue, &end);
    KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(thread);
    Queue(RegNtPreDeleteKey);
    Queue(RegNtPreDeleteKey);
    first = KeRundownQueue(&queue);
    for (entry = first; entry != NULL;) {
        PLIST_ENTRY next = entry->Flink == first ? NULL : entry->Flink;

        ExFreePoolWithTag(CONTAINING_RECORD(entry, RECORD, links), TAG);
        entry = next;
        left++;
    }
    DbgPrint("queue: %u left\n", left);
    FieldDelete(driver, L"\\??\\FieldQueue");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"385210.7");
    HANDLE handle;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    KeInitializeQueue(&queue, 1);
    status = PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, Logger, NULL);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, NULL, KernelMode, &thread, NULL);
    ZwClose(handle);
    status = FieldCreate(driver, L"\\Device\\FieldQueue", L"\\??\\FieldQueue", 0, Control, Unload);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &cookie, NULL);
    }
    return status;
}
