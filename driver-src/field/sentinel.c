/*
 * A protector as security products have them: it guards its own service key, knows who asks by process, image
 * and account, keeps what it saw of each process in a splay table, and answers a tool through its device.
 *
 * harness: since 6.0
 */
#include "field.h"

#define TAG 'tneS'
#define DEVICE L"\\Device\\FieldSentinel"
#define LINK L"\\DosDevices\\FieldSentinel"
#define ALTITUDE L"365100.55"

#define IOCTL_STATS FIELD_IOCTL(0, METHOD_BUFFERED)   /* output: STATS */
#define IOCTL_PROCESS FIELD_IOCTL(1, METHOD_BUFFERED) /* output: PROCESS_LINE of the requester */
#define IOCTL_TRUST FIELD_IOCTL(2, METHOD_BUFFERED)   /* input: ULONG, whether the requester is trusted */

typedef struct _STATS {
    ULONG processes, events, blocked, images, handles, hashes, first, last;
} STATS, *PSTATS;

typedef struct _PROCESS_ENTRY {
    HANDLE pid;
    LARGE_INTEGER created;
    ULONG events, blocked, order;
    BOOLEAN trusted;
    WCHAR sid[96];
    WCHAR image[96];
} PROCESS_ENTRY, *PPROCESS_ENTRY;

typedef struct _PROCESS_LINE {
    ULONG events, blocked, trusted, has_sid;
    WCHAR image[96];
} PROCESS_LINE;

NTSYSAPI NTSTATUS NTAPI CmCallbackGetKeyObjectID(PLARGE_INTEGER cookie, PVOID object, PULONG_PTR id,
                                                 PCUNICODE_STRING *name);
NTSYSAPI NTSTATUS NTAPI SeLocateProcessImageName(PEPROCESS process, PUNICODE_STRING *name);
NTSYSAPI LONGLONG NTAPI PsGetProcessCreateTimeQuadPart(PEPROCESS process);
NTSYSAPI NTSTATUS NTAPI RtlHashUnicodeString(PCUNICODE_STRING, BOOLEAN, ULONG, PULONG);
NTSYSAPI BOOLEAN NTAPI FsRtlIsNameInExpression(PUNICODE_STRING, PUNICODE_STRING, BOOLEAN, PWCH);
typedef VOID(NTAPI *PROCESS_ROUTINE)(HANDLE, HANDLE, BOOLEAN);

static struct {
    RTL_GENERIC_TABLE processes;
    FAST_MUTEX lock;
    ERESOURCE policy;
    PAGED_LOOKASIDE_LIST names;
    UNICODE_STRING guarded, pattern;
    LARGE_INTEGER cookie;
    ULONG order;
    STATS stats;
} sentinel;

static RTL_GENERIC_COMPARE_RESULTS NTAPI Compare(PRTL_GENERIC_TABLE table, PVOID first, PVOID second)
{
    HANDLE a = ((PPROCESS_ENTRY)first)->pid, b = ((PPROCESS_ENTRY)second)->pid;

    UNREFERENCED_PARAMETER(table);
    return a < b ? GenericLessThan : a > b ? GenericGreaterThan : GenericEqual;
}

static PVOID NTAPI Allocate(PRTL_GENERIC_TABLE table, CLONG size)
{
    UNREFERENCED_PARAMETER(table);
    return ExAllocatePoolWithTag(PagedPool, size, TAG);
}

static VOID NTAPI Free(PRTL_GENERIC_TABLE table, PVOID entry)
{
    UNREFERENCED_PARAMETER(table);
    ExFreePoolWithTag(entry, TAG);
}

static VOID KeepText(PWCHAR target, SIZE_T size, PCUNICODE_STRING text)
{
    SIZE_T length = min(text->Length, size - sizeof(WCHAR));

    RtlCopyMemory(target, text->Buffer, length);
    target[length / sizeof(WCHAR)] = 0;
}

static VOID Identify(PPROCESS_ENTRY entry)
{
    PUNICODE_STRING image;
    UNICODE_STRING sid;
    PACCESS_TOKEN token;
    PTOKEN_USER user;

    if (NT_SUCCESS(SeLocateProcessImageName(PsGetCurrentProcess(), &image))) {
        KeepText(entry->image, sizeof(entry->image), image);
        ExFreePool(image);
    }
    token = PsReferencePrimaryToken(PsGetCurrentProcess());
    if (NT_SUCCESS(SeQueryInformationToken(token, TokenUser, (PVOID *)&user))) {
        if (NT_SUCCESS(RtlConvertSidToUnicodeString(&sid, user->User.Sid, TRUE))) {
            KeepText(entry->sid, sizeof(entry->sid), &sid);
            RtlFreeUnicodeString(&sid);
        }
        ExFreePool(user);
    }
    PsDereferencePrimaryToken(token);
    entry->created.QuadPart = PsGetProcessCreateTimeQuadPart(PsGetCurrentProcess());
}

/* The entry of the current process; the lock is held. */
static PPROCESS_ENTRY Current(VOID)
{
    PPROCESS_ENTRY found, fresh;
    PROCESS_ENTRY key;
    BOOLEAN added = FALSE;

    key.pid = PsGetCurrentProcessId();
    found = RtlLookupElementGenericTable(&sentinel.processes, &key);
    if (found != NULL) {
        return found;
    }
    fresh = ExAllocatePoolWithTag(PagedPool, sizeof(*fresh), TAG);
    if (fresh == NULL) {
        return NULL;
    }
    RtlZeroMemory(fresh, sizeof(*fresh));
    fresh->pid = key.pid;
    fresh->order = ++sentinel.order;
    Identify(fresh);
    found = RtlInsertElementGenericTable(&sentinel.processes, fresh, sizeof(*fresh), &added);
    ExFreePoolWithTag(fresh, TAG);
    return found;
}

static BOOLEAN Account(BOOLEAN touches)
{
    PPROCESS_ENTRY entry;
    BOOLEAN blocked = FALSE;

    ExAcquireFastMutex(&sentinel.lock);
    entry = Current();
    if (entry != NULL) {
        entry->events++;
        sentinel.stats.events++;
        blocked = touches && !entry->trusted && entry->pid != (HANDLE)4;
        if (blocked) {
            entry->blocked++;
            sentinel.stats.blocked++;
        }
    }
    ExReleaseFastMutex(&sentinel.lock);
    return blocked;
}

static BOOLEAN Guarded(PVOID object)
{
    PCUNICODE_STRING name;
    UNICODE_STRING upper;
    ULONG hash;
    BOOLEAN matches = FALSE;

    if (!NT_SUCCESS(CmCallbackGetKeyObjectID(&sentinel.cookie, object, NULL, &name))) {
        return FALSE;
    }
    if (NT_SUCCESS(RtlHashUnicodeString(name, TRUE, HASH_STRING_ALGORITHM_DEFAULT, &hash)) && hash != 0) {
        InterlockedIncrement((PLONG)&sentinel.stats.hashes);
    }
    upper.Buffer = ExAllocateFromPagedLookasideList(&sentinel.names);
    if (upper.Buffer == NULL) {
        return FALSE;
    }
    upper.Length = 0;
    upper.MaximumLength = 512;
    if (name->Length <= upper.MaximumLength && NT_SUCCESS(RtlUpcaseUnicodeString(&upper, name, FALSE))) {
        KeEnterCriticalRegion();
        ExAcquireResourceSharedLite(&sentinel.policy, TRUE);
        matches = RtlPrefixUnicodeString(&sentinel.guarded, &upper, TRUE) ||
                  FsRtlIsNameInExpression(&sentinel.pattern, &upper, FALSE, NULL);
        ExReleaseResourceLite(&sentinel.policy);
        KeLeaveCriticalRegion();
    }
    ExFreeToPagedLookasideList(&sentinel.names, upper.Buffer);
    return matches;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    PVOID object = NULL;

    UNREFERENCED_PARAMETER(context);
    if (argument2 == NULL || ExGetPreviousMode() == KernelMode) {
        return STATUS_SUCCESS;
    }
    switch ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1) {
    case RegNtPreDeleteKey:
    case RegNtPreSetValueKey:
    case RegNtPreDeleteValueKey:
    case RegNtPreRenameKey:
    case RegNtPreSetKeySecurity:
    case RegNtPreSetInformationKey:
        object = *(PVOID *)argument2; /* Object is the first member of all of them */
        break;
    default:
        Account(FALSE);
        return STATUS_SUCCESS;
    }
    return Account(Guarded(object)) ? STATUS_ACCESS_DENIED : STATUS_SUCCESS;
}

static VOID NTAPI ProcessEvent(HANDLE parent, HANDLE pid, BOOLEAN create)
{
    PROCESS_ENTRY key;

    UNREFERENCED_PARAMETER(parent);
    if (!create) {
        key.pid = pid;
        ExAcquireFastMutex(&sentinel.lock);
        RtlDeleteElementGenericTable(&sentinel.processes, &key);
        ExReleaseFastMutex(&sentinel.lock);
    }
}

static VOID NTAPI ImageEvent(PUNICODE_STRING name, HANDLE pid, PIMAGE_INFO info)
{
    UNREFERENCED_PARAMETER(pid);
    if (name != NULL && info != NULL && info->ImageSize != 0) {
        InterlockedIncrement((PLONG)&sentinel.stats.images);
    }
}

static VOID Summarise(PSTATS stats)
{
    PPROCESS_ENTRY entry;
    PVOID restart = NULL;
    ULONG last;

    ExAcquireFastMutex(&sentinel.lock);
    *stats = sentinel.stats;
    stats->processes = RtlNumberGenericTableElements(&sentinel.processes);
    while ((entry = RtlEnumerateGenericTableWithoutSplaying(&sentinel.processes, &restart)) != NULL) {
        stats->handles += entry->sid[0] != 0;
    }
    entry = RtlGetElementGenericTable(&sentinel.processes, 0);
    stats->first = entry != NULL ? entry->order : 0;
    last = stats->processes != 0 ? stats->processes - 1 : 0;
    entry = RtlGetElementGenericTable(&sentinel.processes, last);
    stats->last = entry != NULL ? entry->order : 0;
    ExReleaseFastMutex(&sentinel.lock);
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    PVOID buffer = irp->AssociatedIrp.SystemBuffer;
    PPROCESS_ENTRY entry;

    UNREFERENCED_PARAMETER(device);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_STATS:
        if (out < sizeof(STATS)) {
            return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        }
        Summarise(buffer);
        return FieldComplete(irp, STATUS_SUCCESS, sizeof(STATS));
    case IOCTL_PROCESS:
        if (out < sizeof(PROCESS_LINE)) {
            return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        }
        ExAcquireFastMutex(&sentinel.lock);
        entry = Current();
        if (entry != NULL) {
            PROCESS_LINE *line = buffer;

            line->events = entry->events;
            line->blocked = entry->blocked;
            line->trusted = entry->trusted;
            line->has_sid = entry->sid[0] == L'S';
            RtlCopyMemory(line->image, entry->image, sizeof(line->image));
        }
        ExReleaseFastMutex(&sentinel.lock);
        return FieldComplete(irp, STATUS_SUCCESS, sizeof(PROCESS_LINE));
    case IOCTL_TRUST:
        if (stack->Parameters.DeviceIoControl.InputBufferLength < sizeof(ULONG)) {
            return FieldComplete(irp, STATUS_INVALID_PARAMETER, 0);
        }
        ExAcquireFastMutex(&sentinel.lock);
        entry = Current();
        if (entry != NULL) {
            entry->trusted = *(PULONG)buffer != 0;
        }
        ExReleaseFastMutex(&sentinel.lock);
        return FieldComplete(irp, STATUS_SUCCESS, 0);
    default:
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static VOID Clear(VOID)
{
    PVOID entry;

    while ((entry = RtlGetElementGenericTable(&sentinel.processes, 0)) != NULL) {
        RtlDeleteElementGenericTable(&sentinel.processes, entry);
    }
    if (!RtlIsGenericTableEmpty(&sentinel.processes)) {
        DbgPrint("sentinel: not empty\n");
    }
    ExDeletePagedLookasideList(&sentinel.names);
    ExDeleteResourceLite(&sentinel.policy);
    ExFreePoolWithTag(sentinel.guarded.Buffer, TAG);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(sentinel.cookie);
    PsRemoveLoadImageNotifyRoutine(ImageEvent);
    PsSetCreateProcessNotifyRoutine(ProcessEvent, TRUE);
    Clear();
    FieldDelete(driver, LINK);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude;
    NTSTATUS status;

    sentinel.guarded.Buffer = ExAllocatePoolWithTag(PagedPool, service->Length, TAG);
    if (sentinel.guarded.Buffer == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    sentinel.guarded.MaximumLength = service->Length;
    RtlCopyUnicodeString(&sentinel.guarded, service);
    RtlInitUnicodeString(&sentinel.pattern, L"*\\SENTINEL?\\*");
    RtlInitUnicodeString(&altitude, ALTITUDE);
    ExInitializeFastMutex(&sentinel.lock);
    ExInitializeResourceLite(&sentinel.policy);
    ExInitializePagedLookasideList(&sentinel.names, NULL, NULL, 0, 512, TAG, 0);
    RtlInitializeGenericTable(&sentinel.processes, Compare, Allocate, Free, NULL);
    status = FieldCreate(driver, DEVICE, LINK, 0, Control, Unload);
    if (!NT_SUCCESS(status)) {
        Clear();
        return status;
    }
    status = PsSetCreateProcessNotifyRoutine(ProcessEvent, FALSE);
    if (NT_SUCCESS(status)) {
        status = PsSetLoadImageNotifyRoutine(ImageEvent);
        if (NT_SUCCESS(status)) {
            status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &sentinel.cookie, NULL);
            if (!NT_SUCCESS(status)) {
                PsRemoveLoadImageNotifyRoutine(ImageEvent);
            }
        }
        if (!NT_SUCCESS(status)) {
            PsSetCreateProcessNotifyRoutine(ProcessEvent, TRUE);
        }
    }
    if (!NT_SUCCESS(status)) {
        Clear();
        FieldDelete(driver, LINK);
    }
    return status;
}
