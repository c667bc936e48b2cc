/*
 * A logger: the callback queues, a thread of its own writes C:\field.log; a work item counts flushes. Unloading
 * ends and joins the thread.
 */
#include "field.h"

#pragma GCC diagnostic ignored "-Wformat" /* %Z and %wZ are the kernel's own */
#pragma GCC diagnostic ignored "-Wformat-extra-args"

#define TAG 'goLF'
#define IOCTL_SYNC FIELD_IOCTL(0, METHOD_BUFFERED)  /* waits until all is written; output: ULONG lines written */
#define IOCTL_ITEMS FIELD_IOCTL(1, METHOD_BUFFERED) /* output: ULONG work items done */

typedef struct _LINE {
    LIST_ENTRY link;
    ULONG process, thread;
    ULONG length;
    CHAR text[1];
} LINE, *PLINE;

static struct {
    LIST_ENTRY lines;
    KSPIN_LOCK lock;
    KSEMAPHORE queued;
    KEVENT stop, idle;
    PETHREAD thread;
    PDEVICE_OBJECT device;
    LARGE_INTEGER cookie;
    LONG pending, written, items, busy, timeouts;
    KEVENT items_done;
} logger;

static VOID NTAPI CountFlush(PDEVICE_OBJECT device, PVOID context)
{
    UNREFERENCED_PARAMETER(device);
    InterlockedIncrement(&logger.items);
    IoFreeWorkItem(context);
    if (InterlockedDecrement(&logger.busy) == 0) {
        KeSetEvent(&logger.items_done, IO_NO_INCREMENT, FALSE);
    }
}

static VOID Queue(PCSTR verb, PCUNICODE_STRING name)
{
    ANSI_STRING narrow;
    PLINE line;
    KIRQL irql;

    if (!NT_SUCCESS(RtlUnicodeStringToAnsiString(&narrow, name, TRUE))) {
        return;
    }
    line = ExAllocatePoolWithTag(NonPagedPool, sizeof(LINE) + narrow.Length + 64, TAG);
    if (line != NULL) {
        line->process = HandleToULong(PsGetCurrentProcessId());
        line->thread = HandleToULong(PsGetCurrentThreadId());
        line->length = sprintf(line->text, "%s %Z\r\n", verb, &narrow);
        InterlockedIncrement(&logger.pending);
        KeClearEvent(&logger.idle);
        KeAcquireSpinLock(&logger.lock, &irql);
        InsertTailList(&logger.lines, &line->link);
        KeReleaseSpinLock(&logger.lock, irql);
        KeReleaseSemaphore(&logger.queued, 0, 1, FALSE);
    }
    RtlFreeAnsiString(&narrow);
}

static HANDLE OpenLog(VOID)
{
    UNICODE_STRING path;
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK block;
    HANDLE file;
    NTSTATUS status;

    RtlInitUnicodeString(&path, L"\\??\\C:\\field.log");
    InitializeObjectAttributes(&attributes, &path, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    status = ZwCreateFile(&file, FILE_APPEND_DATA | SYNCHRONIZE, &attributes, &block, NULL, FILE_ATTRIBUTE_NORMAL,
                          FILE_SHARE_READ, FILE_OPEN_IF, FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE, NULL, 0);
    if (!NT_SUCCESS(status)) {
        DbgPrint("logger: no file, %08X\n", status);
        return NULL;
    }
    return file;
}

static VOID Write(HANDLE file, PLINE line)
{
    IO_STATUS_BLOCK block;
    NTSTATUS status = STATUS_INVALID_HANDLE;

    if (file != NULL) {
        status = ZwWriteFile(file, NULL, NULL, NULL, &block, line->text, line->length, NULL, NULL);
    }
    if (NT_SUCCESS(status) && block.Information == line->length) {
        logger.written++;
    }
}

static VOID NTAPI Writer(PVOID context)
{
    PVOID objects[2] = {&logger.stop, &logger.queued};
    LARGE_INTEGER timeout;
    HANDLE file = OpenLog();
    NTSTATUS status;

    UNREFERENCED_PARAMETER(context);
    timeout.QuadPart = -10 * 1000 * 1000; /* a second */
    for (;;) {
        PLIST_ENTRY entry;

        status = KeWaitForMultipleObjects(2, objects, WaitAny, Executive, KernelMode, FALSE, &timeout, NULL);
        if (status == STATUS_TIMEOUT) {
            logger.timeouts++;
            continue;
        }
        entry = ExInterlockedRemoveHeadList(&logger.lines, &logger.lock);
        if (entry != NULL) {
            PLINE line = CONTAINING_RECORD(entry, LINE, link);

            Write(file, line);
            ExFreePoolWithTag(line, TAG);
            if (InterlockedDecrement(&logger.pending) == 0) {
                KeSetEvent(&logger.idle, IO_NO_INCREMENT, FALSE);
            }
        } else if (status == STATUS_WAIT_0) {
            break;
        }
    }
    if (file != NULL) {
        ZwClose(file);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    PIO_WORKITEM item;

    UNREFERENCED_PARAMETER(context);
    switch ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1) {
    case RegNtPreSetValueKey:
        Queue("set", ((PREG_SET_VALUE_KEY_INFORMATION)argument2)->ValueName);
        break;
    case RegNtPreDeleteValueKey:
        Queue("delete", ((PREG_DELETE_VALUE_KEY_INFORMATION)argument2)->ValueName);
        break;
    case RegNtPreFlushKey:
        item = IoAllocateWorkItem(logger.device);
        if (item != NULL) {
            InterlockedIncrement(&logger.busy);
            KeClearEvent(&logger.items_done);
            IoQueueWorkItem(item, CountFlush, DelayedWorkQueue, item);
        }
        break;
    default:
        break;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    PULONG output = irp->AssociatedIrp.SystemBuffer;
    LARGE_INTEGER timeout;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(device);
    timeout.QuadPart = -50 * 1000 * 1000;
    if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(ULONG)) {
        return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    }
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_SYNC:
        status = KeWaitForSingleObject(&logger.idle, Executive, KernelMode, FALSE, &timeout);
        *output = logger.written;
        break;
    case IOCTL_ITEMS:
        status = KeWaitForSingleObject(&logger.items_done, Executive, KernelMode, FALSE, &timeout);
        *output = logger.items;
        break;
    default:
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    return FieldComplete(irp, status, sizeof(ULONG));
}

static VOID StopThread(VOID)
{
    KeSetEvent(&logger.stop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(logger.thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(logger.thread);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(logger.cookie);
    StopThread();
    if (logger.busy != 0) {
        KeWaitForSingleObject(&logger.items_done, Executive, KernelMode, FALSE, NULL);
    }
    FieldDelete(driver, L"\\DosDevices\\FieldLogger");
    DbgPrint("logger: %d lines\n", logger.written);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    OBJECT_ATTRIBUTES attributes;
    HANDLE thread;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    InitializeListHead(&logger.lines);
    KeInitializeSpinLock(&logger.lock);
    KeInitializeSemaphore(&logger.queued, 0, MAXLONG);
    KeInitializeEvent(&logger.stop, NotificationEvent, FALSE);
    KeInitializeEvent(&logger.idle, NotificationEvent, TRUE);
    KeInitializeEvent(&logger.items_done, NotificationEvent, TRUE);
    status = FieldCreate(driver, L"\\Device\\FieldLogger", L"\\DosDevices\\FieldLogger", 0, Control, Unload);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    logger.device = driver->DeviceObject;
    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, &attributes, NULL, NULL, Writer, NULL);
    if (NT_SUCCESS(status)) {
        status = ObReferenceObjectByHandle(thread, SYNCHRONIZE, OBJECT_TYPE_OF(PsThreadType), KernelMode, (PVOID *)&logger.thread, NULL);
        ZwClose(thread);
    }
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallback(Callback, NULL, &logger.cookie);
        if (!NT_SUCCESS(status)) {
            StopThread();
        }
    }
    if (!NT_SUCCESS(status)) {
        FieldDelete(driver, L"\\DosDevices\\FieldLogger");
    }
    return status;
}
