/*
 * Where drivers keep things: lookaside lists of every kind, interlocked lists, resources, push locks, rundown
 * protection, mutexes. Every notification takes the whole tour; an IOCTL tells the counts.
 *
 * harness: since 6.0
 */
#include "field.h"

#define TAG 'tsSF'
#define IOCTL_COUNTS FIELD_IOCTL(0, METHOD_BUFFERED) /* output: COUNTS */
#define IOCTL_RUNDOWN FIELD_IOCTL(1, METHOD_BUFFERED) /* waits for users to leave; none are let in afterwards */

VOID FASTCALL ExfAcquirePushLockExclusive(PEX_PUSH_LOCK lock);
VOID FASTCALL ExfReleasePushLockExclusive(PEX_PUSH_LOCK lock);

typedef struct _COUNTS {
    ULONG calls, refused, listed, stacked, queue_depth, exclusive, recursion;
} COUNTS;

typedef struct _ITEM {
    LIST_ENTRY link;
    ULONG_PTR key;
    ULONG hits;
} ITEM, *PITEM;

typedef struct _STACKED {
    SLIST_ENTRY link; /* first: it needs an alignment of its own */
    ULONG operation;
} STACKED, *PSTACKED;

static struct {
    NPAGED_LOOKASIDE_LIST stacked_pool;
    PAGED_LOOKASIDE_LIST item_pool;
    DECLSPEC_ALIGN(16) SLIST_HEADER stack;
    LIST_ENTRY items;
    ERESOURCE resource;
    EX_PUSH_LOCK push;
    EX_RUNDOWN_REF rundown;
    KMUTEX mutex;
    KSPIN_LOCK spin;
    LARGE_INTEGER cookie;
    COUNTS counts;
} store;

/* Under the resource, shared; NULL when there is none. */
static PITEM Find(ULONG_PTR key)
{
    PLIST_ENTRY at;

    for (at = store.items.Flink; at != &store.items; at = at->Flink) {
        PITEM item = CONTAINING_RECORD(at, ITEM, link);

        if (item->key == key) {
            return item;
        }
    }
    return NULL;
}

static VOID CountKey(ULONG_PTR key)
{
    PITEM item;

    KeEnterCriticalRegion();
    ExAcquireResourceSharedLite(&store.resource, TRUE);
    item = Find(key);
    if (item != NULL) {
        InterlockedIncrement((PLONG)&item->hits);
    }
    ExReleaseResourceLite(&store.resource);
    if (item == NULL) {
        ExAcquireResourceExclusiveLite(&store.resource, TRUE);
        store.counts.exclusive += ExIsResourceAcquiredExclusiveLite(&store.resource) != 0;
        item = Find(key) == NULL ? ExAllocateFromPagedLookasideList(&store.item_pool) : NULL;
        if (item != NULL) {
            item->key = key;
            item->hits = 1;
            InsertHeadList(&store.items, &item->link);
            store.counts.listed++;
        }
        ExReleaseResourceLite(&store.resource);
    }
    KeLeaveCriticalRegion();
}

static VOID Push(ULONG operation)
{
    PSTACKED entry = ExAllocateFromNPagedLookasideList(&store.stacked_pool);

    if (entry != NULL) {
        entry->operation = operation;
        ExInterlockedPushEntrySList(&store.stack, &entry->link, &store.spin);
        store.counts.stacked++;
    }
    if (ExQueryDepthSList(&store.stack) > 8) {
        entry = CONTAINING_RECORD(ExInterlockedPopEntrySList(&store.stack, &store.spin), STACKED, link);
        ExFreeToNPagedLookasideList(&store.stacked_pool, entry);
    }
}

static VOID UnderMutexes(VOID)
{
    KeWaitForMutexObject(&store.mutex, Executive, KernelMode, FALSE, NULL);
    KeWaitForMutexObject(&store.mutex, Executive, KernelMode, FALSE, NULL); /* it may be taken again by its owner */
    store.counts.recursion += KeReadStateMutex(&store.mutex) < 0;
    KeReleaseMutex(&store.mutex, FALSE);
    KeReleaseMutex(&store.mutex, FALSE);
    KeEnterCriticalRegion();
    ExfAcquirePushLockExclusive(&store.push);
    store.counts.calls++;
    ExfReleasePushLockExclusive(&store.push);
    KeLeaveCriticalRegion();
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(context);
    if (!ExAcquireRundownProtection(&store.rundown)) {
        store.counts.refused++;
        return STATUS_SUCCESS;
    }
    UnderMutexes();
    Push((ULONG)(ULONG_PTR)argument1);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 == RegNtPreSetValueKey) {
        CountKey((ULONG_PTR)((PREG_SET_VALUE_KEY_INFORMATION)argument2)->Object);
    }
    ExReleaseRundownProtection(&store.rundown);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);

    UNREFERENCED_PARAMETER(device);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_COUNTS:
        if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(COUNTS)) {
            return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        }
        store.counts.queue_depth = ExQueryDepthSList(&store.stack);
        *(COUNTS *)irp->AssociatedIrp.SystemBuffer = store.counts;
        return FieldComplete(irp, STATUS_SUCCESS, sizeof(COUNTS));
    case IOCTL_RUNDOWN:
        ExWaitForRundownProtectionRelease(&store.rundown);
        return FieldComplete(irp, STATUS_SUCCESS, 0);
    default:
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static VOID Empty(VOID)
{
    PSLIST_ENTRY entry = ExInterlockedFlushSList(&store.stack);

    while (entry != NULL) {
        PSLIST_ENTRY next = entry->Next;

        ExFreeToNPagedLookasideList(&store.stacked_pool, CONTAINING_RECORD(entry, STACKED, link));
        entry = next;
    }
    while (!IsListEmpty(&store.items)) {
        ExFreeToPagedLookasideList(&store.item_pool, CONTAINING_RECORD(RemoveHeadList(&store.items), ITEM, link));
    }
    ExDeleteNPagedLookasideList(&store.stacked_pool);
    ExDeletePagedLookasideList(&store.item_pool);
    ExDeleteResourceLite(&store.resource);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(store.cookie);
    Empty();
    FieldDelete(driver, L"\\DosDevices\\FieldStores");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    ExInitializeNPagedLookasideList(&store.stacked_pool, NULL, NULL, 0, sizeof(STACKED), TAG, 0);
    ExInitializePagedLookasideList(&store.item_pool, NULL, NULL, 0, sizeof(ITEM), TAG, 0);
    ExInitializeSListHead(&store.stack);
    InitializeListHead(&store.items);
    ExInitializeResourceLite(&store.resource);
    ExInitializeRundownProtection(&store.rundown);
    KeInitializeMutex(&store.mutex, 0);
    KeInitializeSpinLock(&store.spin);
    status = FieldCreate(driver, L"\\Device\\FieldStores", L"\\DosDevices\\FieldStores", 0, Control, Unload);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallback(Callback, NULL, &store.cookie);
        if (!NT_SUCCESS(status)) {
            FieldDelete(driver, L"\\DosDevices\\FieldStores");
        }
    }
    if (!NT_SUCCESS(status)) {
        Empty();
    }
    return status;
}
