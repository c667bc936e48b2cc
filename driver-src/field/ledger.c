/*
 * A filter that takes part in registry transactions: it enlists in each one it meets, keeps what was changed in it, and
 * writes it down when that transaction commits. Its callbacks answer some phases later, from a work item; a second
 * resource manager gets its notifications from its queue, in a thread of its own.
 *
 * harness: since 6.0
 */
#include "field.h"

#define TAG 'rgdL'
#define LINK L"\\DosDevices\\FieldLedger"
#define NOTIFY_PREPREPARE 1
#define NOTIFY_PREPARE 2
#define NOTIFY_COMMIT 4
#define NOTIFY_ROLLBACK 8
#define STATUS_NOT_REQUESTED ((NTSTATUS)0xC0190014)

#define IOCTL_COUNTS FIELD_IOCTL(0, METHOD_BUFFERED) /* output: COUNTS */

typedef struct _COUNTS {
    ULONG enlisted, changes, prepared, committed, rolled_back, told, same_id, states;
    NTSTATUS twice, superior, reopened, basic;
    ULONG outcome, active, key_matches, timeouts;
} COUNTS, *PCOUNTS;

typedef struct _ENTRY {
    LIST_ENTRY link;
    PVOID transaction;
    HANDLE enlistment, second; /* in either resource manager */
    LONG references;
    GUID id;
    ULONG changes;
} ENTRY, *PENTRY;

typedef struct _LATER {
    PIO_WORKITEM item;
    PVOID enlistment;
} LATER, *PLATER;

typedef NTSTATUS(NTAPI *RM_NOTIFICATION)(PVOID, PVOID, PVOID, ULONG, PLARGE_INTEGER, ULONG, PVOID);
NTSYSAPI PVOID NTAPI CmGetBoundTransaction(PLARGE_INTEGER cookie, PVOID object);
NTSYSAPI NTSTATUS NTAPI TmCreateEnlistment(PHANDLE, KPROCESSOR_MODE, ACCESS_MASK, POBJECT_ATTRIBUTES, PVOID, PVOID, ULONG, ULONG, PVOID);
NTSYSAPI NTSTATUS NTAPI TmEnableCallbacks(PVOID, RM_NOTIFICATION, PVOID);
NTSYSAPI NTSTATUS NTAPI TmRecoverResourceManager(PVOID);
NTSYSAPI NTSTATUS NTAPI TmPrePrepareComplete(PVOID, PLARGE_INTEGER);
NTSYSAPI NTSTATUS NTAPI TmPrepareComplete(PVOID, PLARGE_INTEGER);
NTSYSAPI NTSTATUS NTAPI TmCommitComplete(PVOID, PLARGE_INTEGER);
NTSYSAPI NTSTATUS NTAPI TmRollbackComplete(PVOID, PLARGE_INTEGER);
NTSYSAPI NTSTATUS NTAPI TmReferenceEnlistmentKey(PVOID, PVOID *);
NTSYSAPI NTSTATUS NTAPI TmDereferenceEnlistmentKey(PVOID, PBOOLEAN);
NTSYSAPI VOID NTAPI TmGetTransactionId(PVOID, LPGUID);
NTSYSAPI BOOLEAN NTAPI TmIsTransactionActive(PVOID);

static struct {
    HANDLE tm, rm, queue_rm;
    PVOID rm_object, queue_object;
    PETHREAD thread;
    volatile LONG stop;
    LIST_ENTRY entries;
    KGUARDED_MUTEX lock;
    PDRIVER_OBJECT driver;
    LARGE_INTEGER cookie;
    COUNTS counts;
} ledger;

static VOID NTAPI AnswerLater(PDEVICE_OBJECT device, PVOID context)
{
    PLATER later = context;

    UNREFERENCED_PARAMETER(device);
    if (NT_SUCCESS(TmPrepareComplete(later->enlistment, NULL))) {
        ledger.counts.prepared++;
    }
    ledger.counts.twice = TmPrepareComplete(later->enlistment, NULL);
    ObDereferenceObject(later->enlistment);
    IoFreeWorkItem(later->item);
    ExFreePoolWithTag(later, TAG);
}

static VOID Finish(PENTRY entry)
{
    if (InterlockedDecrement(&entry->references) != 0) {
        return;
    }
    KeAcquireGuardedMutex(&ledger.lock);
    RemoveEntryList(&entry->link);
    KeReleaseGuardedMutex(&ledger.lock);
    ZwClose(entry->enlistment);
    ZwClose(entry->second);
    ExFreePoolWithTag(entry, TAG);
}

static NTSTATUS NTAPI Notified(PVOID enlistment, PVOID rm_context, PVOID key, ULONG what, PLARGE_INTEGER clock,
                               ULONG length, PVOID argument)
{
    PENTRY entry = key;
    PLATER later;
    BOOLEAN last;
    PVOID again;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(length);
    UNREFERENCED_PARAMETER(argument);
    if (rm_context != &ledger) {
        return STATUS_INVALID_PARAMETER;
    }
    switch (what) {
    case NOTIFY_PREPREPARE:
        return TmPrePrepareComplete(enlistment, clock);
    case NOTIFY_PREPARE:
        if (NT_SUCCESS(TmReferenceEnlistmentKey(enlistment, &again))) {
            ledger.counts.key_matches += again == key;
            TmDereferenceEnlistmentKey(enlistment, &last);
            ledger.counts.key_matches += !last;
        }
        later = ExAllocatePoolWithTag(NonPagedPool, sizeof(*later), TAG);
        if (later == NULL) {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        later->item = IoAllocateWorkItem(ledger.driver->DeviceObject);
        later->enlistment = enlistment;
        ObReferenceObject(enlistment);
        IoQueueWorkItem(later->item, AnswerLater, DelayedWorkQueue, later);
        return STATUS_PENDING;
    case NOTIFY_COMMIT:
        ledger.counts.committed++;
        ledger.counts.changes += entry->changes;
        status = TmCommitComplete(enlistment, clock);
        Finish(entry);
        return status;
    case NOTIFY_ROLLBACK:
        ledger.counts.rolled_back++;
        status = TmRollbackComplete(enlistment, clock);
        Finish(entry);
        return status;
    default:
        return STATUS_SUCCESS;
    }
}

/* The second resource manager: it answers by handle, in its own time. */
static VOID NTAPI QueueThread(PVOID context)
{
    TRANSACTION_NOTIFICATION notification;
    LARGE_INTEGER timeout;
    ULONG needed = 0;
    NTSTATUS status;
    PENTRY entry;

    UNREFERENCED_PARAMETER(context);
    if (ZwGetNotificationResourceManager(ledger.queue_rm, &notification, 4, NULL, &needed, 0, 0) != STATUS_BUFFER_TOO_SMALL ||
        needed != sizeof(notification)) {
        DbgPrint("ledger: a short buffer was taken, %u\n", needed);
    }
    timeout.QuadPart = -100 * 10000;
    while (!ledger.stop) {
        status = ZwGetNotificationResourceManager(ledger.queue_rm, &notification, sizeof(notification), &timeout, NULL, 0, 0);
        if (status == STATUS_TIMEOUT) {
            ledger.counts.timeouts++;
            continue;
        }
        if (status != STATUS_SUCCESS) {
            DbgPrint("ledger: no notification, %08X\n", status);
            break;
        }
        ledger.counts.told++;
        entry = notification.TransactionKey;
        if (notification.TransactionNotification == NOTIFY_COMMIT) {
            status = ZwCommitComplete(entry->second, &notification.TmVirtualClock);
        } else if (notification.TransactionNotification == NOTIFY_ROLLBACK) {
            status = ZwRollbackComplete(entry->second, NULL);
        }
        if (!NT_SUCCESS(status)) {
            DbgPrint("ledger: not answered, %08X\n", status);
        }
        Finish(entry);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static PENTRY Find(PVOID transaction)
{
    PLIST_ENTRY at;

    for (at = ledger.entries.Flink; at != &ledger.entries; at = at->Flink) {
        PENTRY entry = CONTAINING_RECORD(at, ENTRY, link);

        if (entry->transaction == transaction) {
            return entry;
        }
    }
    return NULL;
}

static VOID Inspect(PENTRY entry, PVOID transaction)
{
    struct {
        GUID enlistment, transaction, manager;
    } basic;
    struct {
        GUID id;
        ULONG state, outcome;
    } about;
    HANDLE handle;

    ledger.counts.basic = ZwQueryInformationEnlistment(entry->enlistment, 0, &basic, sizeof(basic), NULL);
    ledger.counts.same_id += RtlCompareMemory(&basic.transaction, &entry->id, sizeof(GUID)) == sizeof(GUID);
    ledger.counts.reopened = ZwOpenEnlistment(&handle, GENERIC_READ, ledger.rm, &basic.enlistment, NULL);
    if (NT_SUCCESS(ledger.counts.reopened)) {
        ledger.counts.superior = ZwCommitEnlistment(handle, NULL);
        ZwClose(handle);
    }
    if (NT_SUCCESS(ObOpenObjectByPointer(transaction, OBJ_KERNEL_HANDLE, NULL, GENERIC_READ, NULL, KernelMode, &handle))) {
        if (NT_SUCCESS(ZwQueryInformationTransaction(handle, 0, &about, sizeof(about), NULL))) {
            ledger.counts.states += about.state == 1;
            ledger.counts.outcome = about.outcome;
        }
        ZwClose(handle);
    }
    ledger.counts.active += TmIsTransactionActive(transaction);
}

static PENTRY Enlist(PVOID transaction)
{
    OBJECT_ATTRIBUTES attributes;
    PENTRY entry = ExAllocatePoolWithTag(NonPagedPool, sizeof(*entry), TAG);
    NTSTATUS status;

    if (entry == NULL) {
        return NULL;
    }
    RtlZeroMemory(entry, sizeof(*entry));
    entry->transaction = transaction;
    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    TmGetTransactionId(transaction, &entry->id);
    status = TmCreateEnlistment(&entry->enlistment, KernelMode, GENERIC_ALL, &attributes, ledger.rm_object, transaction, 0,
                                NOTIFY_PREPREPARE | NOTIFY_PREPARE | NOTIFY_COMMIT | NOTIFY_ROLLBACK, entry);
    if (!NT_SUCCESS(status)) {
        DbgPrint("ledger: not enlisted, %08X\n", status);
        ExFreePoolWithTag(entry, TAG);
        return NULL;
    }
    entry->references = 1;
    status = TmCreateEnlistment(&entry->second, KernelMode, GENERIC_ALL, &attributes, ledger.queue_object, transaction, 0,
                                NOTIFY_COMMIT | NOTIFY_ROLLBACK, entry);
    if (NT_SUCCESS(status)) {
        entry->references++;
    }
    KeAcquireGuardedMutex(&ledger.lock);
    InsertTailList(&ledger.entries, &entry->link);
    KeReleaseGuardedMutex(&ledger.lock);
    ledger.counts.enlisted++;
    Inspect(entry, transaction);
    return entry;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    PREG_POST_OPERATION_INFORMATION post = argument2;
    PVOID transaction;
    PENTRY entry;

    UNREFERENCED_PARAMETER(context);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 != RegNtPostSetValueKey || !NT_SUCCESS(post->Status)) {
        return STATUS_SUCCESS;
    }
    transaction = CmGetBoundTransaction(&ledger.cookie, post->Object);
    if (transaction == NULL) {
        return STATUS_SUCCESS;
    }
    entry = Find(transaction);
    if (entry == NULL) {
        entry = Enlist(transaction);
    }
    if (entry != NULL) {
        entry->changes++;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    if (IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength < sizeof(COUNTS)) {
        return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    }
    RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, &ledger.counts, sizeof(COUNTS));
    return FieldComplete(irp, STATUS_SUCCESS, sizeof(COUNTS));
}

static VOID CloseManagers(VOID)
{
    PVOID objects[] = {ledger.rm_object, ledger.queue_object};
    HANDLE handles[] = {ledger.queue_rm, ledger.rm, ledger.tm};
    ULONG i;

    for (i = 0; i < RTL_NUMBER_OF(objects); i++) {
        if (objects[i] != NULL) {
            ObDereferenceObject(objects[i]);
        }
    }
    for (i = 0; i < RTL_NUMBER_OF(handles); i++) {
        if (handles[i] != NULL) {
            ZwClose(handles[i]);
        }
    }
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(ledger.cookie);
    InterlockedExchange(&ledger.stop, 1);
    KeWaitForSingleObject(ledger.thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(ledger.thread);
    CloseManagers();
    FieldDelete(driver, LINK);
    DbgPrint("ledger: %u open\n", !IsListEmpty(&ledger.entries));
}

static NTSTATUS Manager(PHANDLE handle, PVOID *object)
{
    OBJECT_ATTRIBUTES attributes;
    GUID id;
    NTSTATUS status;

    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ExUuidCreate(&id);
    if (NT_SUCCESS(status)) {
        status = ZwCreateResourceManager(handle, GENERIC_ALL, ledger.tm, &id, &attributes, 1 /* volatile */, NULL);
    }
    if (NT_SUCCESS(status)) {
        status = ObReferenceObjectByHandle(*handle, GENERIC_ALL, NULL, KernelMode, object, NULL);
    }
    return NT_SUCCESS(status) ? TmRecoverResourceManager(*object) : status;
}

static NTSTATUS Start(VOID)
{
    OBJECT_ATTRIBUTES attributes;
    HANDLE thread;
    NTSTATUS status;

    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwCreateTransactionManager(&ledger.tm, GENERIC_ALL, &attributes, NULL, 1 /* volatile */, 0);
    if (NT_SUCCESS(status)) {
        status = ZwRecoverTransactionManager(ledger.tm);
    }
    if (NT_SUCCESS(status)) {
        status = Manager(&ledger.rm, &ledger.rm_object);
    }
    if (NT_SUCCESS(status)) {
        status = Manager(&ledger.queue_rm, &ledger.queue_object);
    }
    if (NT_SUCCESS(status)) {
        status = TmEnableCallbacks(ledger.rm_object, Notified, &ledger);
    }
    if (NT_SUCCESS(status)) {
        status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, &attributes, NULL, NULL, QueueThread, NULL);
    }
    if (NT_SUCCESS(status)) {
        status = ObReferenceObjectByHandle(thread, SYNCHRONIZE, NULL, KernelMode, (PVOID *)&ledger.thread, NULL);
        ZwClose(thread);
    }
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    ledger.driver = driver;
    InitializeListHead(&ledger.entries);
    KeInitializeGuardedMutex(&ledger.lock);
    RtlInitUnicodeString(&altitude, L"370020");
    status = FieldCreate(driver, L"\\Device\\FieldLedger", LINK, 0, Control, Unload);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = Start();
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &ledger.cookie, NULL);
    }
    if (!NT_SUCCESS(status)) {
        DbgPrint("ledger: %08X\n", status);
        CloseManagers();
        FieldDelete(driver, LINK);
    }
    return status;
}
