/*
 * A logger with a worker thread: callbacks write records into a ring of pages of an MDL, a timer's DPC wakes the
 * thread, and the thread writes C:\scribe.log, which it renames when it has grown. What it knows of names lies in a
 * splay tree of its own.
 *
 * harness: since 6.1
 */
#include "field.h"

#define TAG 'ircS'
#define RING (4 * PAGE_SIZE)
#define RECORD 128
#define LIMIT 1024 /* bytes of a log before it is renamed */
#define LINK L"\\DosDevices\\FieldScribe"

#define IOCTL_FLUSH FIELD_IOCTL(0, METHOD_BUFFERED) /* output: COUNTS, when all is written */

typedef struct _COUNTS {
    ULONG records, written, renamed, dropped, names, ticks, tree;
} COUNTS, *PCOUNTS;

typedef struct _NAME {
    RTL_SPLAY_LINKS links;
    ULONG hash, count;
} NAME, *PNAME;

NTSYSAPI PMDL NTAPI MmAllocatePagesForMdlEx(PHYSICAL_ADDRESS, PHYSICAL_ADDRESS, PHYSICAL_ADDRESS, SIZE_T,
                                            MEMORY_CACHING_TYPE, ULONG);
NTSYSAPI VOID NTAPI MmFreePagesFromMdl(PMDL);
NTSYSAPI NTSTATUS NTAPI RtlHashUnicodeString(PCUNICODE_STRING, BOOLEAN, ULONG, PULONG);
NTSYSAPI NTSTATUS NTAPI ZwFlushBuffersFile(HANDLE, PIO_STATUS_BLOCK);
NTSYSAPI PRTL_SPLAY_LINKS NTAPI RtlSplay(PRTL_SPLAY_LINKS);
NTSYSAPI PRTL_SPLAY_LINKS NTAPI RtlDelete(PRTL_SPLAY_LINKS);
NTSYSAPI PRTL_SPLAY_LINKS NTAPI RtlRealSuccessor(PRTL_SPLAY_LINKS);

static struct {
    PMDL mdl;
    PUCHAR ring;
    ULONG head, tail; /* records, ever growing */
    KSPIN_LOCK lock;
    KEVENT wake, drained;
    KTIMER timer;
    KDPC dpc;
    PETHREAD thread;
    volatile LONG stop;
    PRTL_SPLAY_LINKS root;
    FAST_MUTEX names_lock;
    COUNTS counts;
    LARGE_INTEGER cookie;
} scribe;

static VOID NTAPI Tick(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(dpc);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(argument1);
    UNREFERENCED_PARAMETER(argument2);
    scribe.counts.ticks++;
    KeSetEvent(&scribe.wake, IO_NO_INCREMENT, FALSE);
}

static VOID Count(PUNICODE_STRING name)
{
    PRTL_SPLAY_LINKS *slot = &scribe.root, parent = NULL;
    PNAME entry;
    ULONG hash;

    if (!NT_SUCCESS(RtlHashUnicodeString(name, TRUE, HASH_STRING_ALGORITHM_X65599, &hash))) {
        return;
    }
    ExAcquireFastMutex(&scribe.names_lock);
    while (*slot != NULL) {
        parent = *slot;
        entry = CONTAINING_RECORD(parent, NAME, links);
        if (hash == entry->hash) {
            entry->count++;
            scribe.root = RtlSplay(parent);
            ExReleaseFastMutex(&scribe.names_lock);
            return;
        }
        slot = hash < entry->hash ? &parent->LeftChild : &parent->RightChild;
    }
    entry = ExAllocatePoolWithTag(NonPagedPool, sizeof(*entry), TAG);
    if (entry != NULL) {
        entry->hash = hash;
        entry->count = 1;
        RtlInitializeSplayLinks(&entry->links);
        if (parent != NULL) {
            *slot = &entry->links;
            entry->links.Parent = parent;
        }
        scribe.root = RtlSplay(&entry->links);
        scribe.counts.names++;
    }
    ExReleaseFastMutex(&scribe.names_lock);
}

static ULONG Leftmost(PRTL_SPLAY_LINKS *first)
{
    PRTL_SPLAY_LINKS node = scribe.root, last = NULL;
    ULONG seen = 0;

    while (node != NULL && node->LeftChild != NULL) {
        node = node->LeftChild;
    }
    *first = node;
    for (; node != NULL; node = RtlRealSuccessor(node)) {
        if (last != NULL && CONTAINING_RECORD(last, NAME, links)->hash >= CONTAINING_RECORD(node, NAME, links)->hash) {
            return 0;
        }
        last = node;
        seen++;
    }
    return seen;
}

static VOID Record(PCSTR verb, PUNICODE_STRING name)
{
    CHAR line[RECORD];
    LARGE_INTEGER now, local;
    TIME_FIELDS fields;
    KLOCK_QUEUE_HANDLE queue;

    KeQuerySystemTime(&now);
    ExSystemTimeToLocalTime(&now, &local);
    RtlTimeToTimeFields(&local, &fields);
    RtlZeroMemory(line, sizeof(line));
    if (RtlStringCbPrintfA(line, sizeof(line), "%04u %5lu %s %.40wZ\r\n", (unsigned)fields.Year,
                           HandleToULong(PsGetCurrentProcessId()), verb, name) == STATUS_INVALID_PARAMETER) {
        return;
    }
    Count(name);
    KeAcquireInStackQueuedSpinLock(&scribe.lock, &queue);
    if (scribe.head - scribe.tail == RING / RECORD) {
        scribe.counts.dropped++;
    } else {
        RtlCopyMemory(scribe.ring + scribe.head % (RING / RECORD) * RECORD, line, RECORD);
        scribe.head++;
        scribe.counts.records++;
        KeClearEvent(&scribe.drained);
    }
    KeReleaseInStackQueuedSpinLock(&queue);
}

static NTSTATUS OpenLog(PHANDLE file)
{
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING path;
    IO_STATUS_BLOCK block;

    RtlInitUnicodeString(&path, L"\\??\\C:\\scribe.log");
    InitializeObjectAttributes(&attributes, &path, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    return ZwCreateFile(file, FILE_APPEND_DATA | FILE_READ_ATTRIBUTES | DELETE | SYNCHRONIZE, &attributes, &block, NULL,
                        FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ | FILE_SHARE_DELETE, FILE_OPEN_IF,
                        FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE, NULL, 0);
}

static VOID Rename(HANDLE file)
{
    static const WCHAR target[] = L"\\??\\C:\\scribe.old";
    FILE_RENAME_INFORMATION *rename;
    IO_STATUS_BLOCK block;
    ULONG size = sizeof(*rename) + sizeof(target);

    rename = ExAllocatePoolWithTag(PagedPool, size, TAG);
    if (rename == NULL) {
        return;
    }
    RtlZeroMemory(rename, size);
    rename->ReplaceIfExists = TRUE;
    rename->FileNameLength = sizeof(target) - sizeof(WCHAR);
    RtlCopyMemory(rename->FileName, target, rename->FileNameLength);
    if (NT_SUCCESS(ZwSetInformationFile(file, &block, rename, size, FileRenameInformation))) {
        scribe.counts.renamed++;
    }
    ExFreePoolWithTag(rename, TAG);
}

static BOOLEAN WriteOne(PHANDLE file)
{
    FILE_STANDARD_INFORMATION standard;
    KLOCK_QUEUE_HANDLE queue;
    IO_STATUS_BLOCK block;
    CHAR line[RECORD];
    BOOLEAN any;

    KeAcquireInStackQueuedSpinLock(&scribe.lock, &queue);
    any = scribe.head != scribe.tail;
    if (any) {
        RtlCopyMemory(line, scribe.ring + scribe.tail % (RING / RECORD) * RECORD, RECORD);
    }
    KeReleaseInStackQueuedSpinLock(&queue);
    if (!any) {
        return FALSE;
    }
    line[RECORD - 1] = 0;
    if (*file != NULL &&
        NT_SUCCESS(ZwWriteFile(*file, NULL, NULL, NULL, &block, line, (ULONG)strlen(line), NULL, NULL))) {
        scribe.counts.written++;
    }
    if (*file != NULL &&
        NT_SUCCESS(ZwQueryInformationFile(*file, &block, &standard, sizeof(standard), FileStandardInformation)) &&
        standard.EndOfFile.QuadPart > LIMIT) {
        Rename(*file);
        ZwClose(*file);
        if (!NT_SUCCESS(OpenLog(file))) {
            *file = NULL;
        }
    }
    KeAcquireInStackQueuedSpinLock(&scribe.lock, &queue);
    scribe.tail++;
    KeReleaseInStackQueuedSpinLock(&queue);
    return TRUE;
}

static VOID NTAPI Worker(PVOID context)
{
    IO_STATUS_BLOCK block;
    HANDLE file = NULL;

    UNREFERENCED_PARAMETER(context);
    if (!NT_SUCCESS(OpenLog(&file))) {
        file = NULL;
    }
    while (!scribe.stop) {
        KeWaitForSingleObject(&scribe.wake, Executive, KernelMode, FALSE, NULL);
        while (WriteOne(&file)) {
        }
        if (file != NULL) {
            ZwFlushBuffersFile(file, &block);
        }
        KeSetEvent(&scribe.drained, IO_NO_INCREMENT, FALSE);
    }
    if (file != NULL) {
        ZwClose(file);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(context);
    switch ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1) {
    case RegNtPreSetValueKey:
        Record("set", ((PREG_SET_VALUE_KEY_INFORMATION)argument2)->ValueName);
        break;
    case RegNtPreCreateKeyEx:
        Record("create", ((PREG_CREATE_KEY_INFORMATION)argument2)->CompleteName);
        break;
    default:
        break;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PRTL_SPLAY_LINKS first;

    UNREFERENCED_PARAMETER(device);
    if (IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength < sizeof(COUNTS)) {
        return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    }
    KeWaitForSingleObject(&scribe.drained, Executive, KernelMode, FALSE, NULL);
    ExAcquireFastMutex(&scribe.names_lock);
    scribe.counts.tree = Leftmost(&first);
    ExReleaseFastMutex(&scribe.names_lock);
    RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, &scribe.counts, sizeof(COUNTS));
    return FieldComplete(irp, STATUS_SUCCESS, sizeof(COUNTS));
}

static VOID Release(VOID)
{
    while (scribe.root != NULL) {
        PNAME entry = CONTAINING_RECORD(scribe.root, NAME, links);

        scribe.root = RtlDelete(scribe.root);
        ExFreePoolWithTag(entry, TAG);
    }
    if (scribe.ring != NULL) {
        MmUnmapLockedPages(scribe.ring, scribe.mdl);
    }
    if (scribe.mdl != NULL) {
        MmFreePagesFromMdl(scribe.mdl);
        ExFreePool(scribe.mdl);
    }
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(scribe.cookie);
    KeCancelTimer(&scribe.timer);
    KeFlushQueuedDpcs();
    InterlockedExchange(&scribe.stop, 1);
    KeSetEvent(&scribe.wake, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(scribe.thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(scribe.thread);
    Release();
    FieldDelete(driver, LINK);
    DbgPrint("scribe: %u of %u\n", scribe.counts.written, scribe.counts.records);
}

static NTSTATUS StartWorker(VOID)
{
    LARGE_INTEGER due;
    HANDLE thread;
    NTSTATUS status;

    status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Worker, NULL);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = ObReferenceObjectByHandle(thread, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&scribe.thread, NULL);
    ZwClose(thread);
    due.QuadPart = -20 * 10000; /* 20 ms */
    KeSetTimerEx(&scribe.timer, due, 20, &scribe.dpc);
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    PHYSICAL_ADDRESS low, high, skip;
    UNICODE_STRING altitude;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    RtlInitUnicodeString(&altitude, L"360123.7");
    KeInitializeSpinLock(&scribe.lock);
    ExInitializeFastMutex(&scribe.names_lock);
    KeInitializeEvent(&scribe.wake, SynchronizationEvent, FALSE);
    KeInitializeEvent(&scribe.drained, NotificationEvent, TRUE);
    KeInitializeTimerEx(&scribe.timer, SynchronizationTimer);
    KeInitializeDpc(&scribe.dpc, Tick, NULL);
    low.QuadPart = skip.QuadPart = 0;
    high.QuadPart = -1;
    scribe.mdl = MmAllocatePagesForMdlEx(low, high, skip, RING, MmCached, 0);
    if (scribe.mdl == NULL || MmGetMdlByteCount(scribe.mdl) < RING) {
        Release();
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    scribe.ring = MmMapLockedPagesSpecifyCache(scribe.mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority);
    if (scribe.ring == NULL) {
        Release();
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    status = FieldCreate(driver, L"\\Device\\FieldScribe", LINK, 0, Control, Unload);
    if (!NT_SUCCESS(status)) {
        Release();
        return status;
    }
    status = StartWorker();
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &scribe.cookie, NULL);
    }
    return status;
}
