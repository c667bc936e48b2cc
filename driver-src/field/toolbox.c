/*
 * A driver that tries what larger drivers lean on besides the registry: device stacks, requests of its own, locks of
 * every kind, names, processes, tokens, files. It says on the debugger which of its expectations fail, by line.
 *
 * harness: since 6.1
 */
#include "field.h"

#define TAG 'xobT'
#define LINK L"\\DosDevices\\FieldToolbox"
#define NAME L"\\Device\\FieldToolbox"
#define IOCTL_RUN FIELD_IOCTL(0, METHOD_BUFFERED)  /* output: ULONG failures */
#define IOCTL_ECHO FIELD_IOCTL(1, METHOD_BUFFERED) /* gives its input back, each byte one more */

#define EXPECT(condition)                                        \
    do {                                                         \
        if (!(condition)) {                                      \
            toolbox.failed++;                                    \
            DbgPrint("toolbox: line %d: %s\n", __LINE__, #condition); \
        }                                                        \
    } while (0)
#define EXPECT_STATUS(call, expected)                                             \
    do {                                                                          \
        NTSTATUS got_ = (call);                                                   \
        if (got_ != (expected)) {                                                 \
            toolbox.failed++;                                                     \
            DbgPrint("toolbox: line %d: %s is %08X\n", __LINE__, #call, got_);    \
        }                                                                         \
    } while (0)

NTSYSAPI NTSTATUS NTAPI ObReferenceObjectByName(PUNICODE_STRING, ULONG, PACCESS_STATE, ACCESS_MASK, POBJECT_TYPE,
                                                KPROCESSOR_MODE, PVOID, PVOID *);
NTSYSAPI NTSTATUS NTAPI ZwQuerySystemInformation(ULONG, PVOID, ULONG, PULONG);
NTSYSAPI NTSTATUS NTAPI ZwOpenProcessTokenEx(HANDLE, ACCESS_MASK, ULONG, PHANDLE);
NTSYSAPI NTSTATUS NTAPI ZwDuplicateObject(HANDLE, HANDLE, HANDLE, PHANDLE, ACCESS_MASK, ULONG, ULONG);
NTSYSAPI NTSTATUS NTAPI ZwNotifyChangeKey(HANDLE, HANDLE, PIO_APC_ROUTINE, PVOID, PIO_STATUS_BLOCK, ULONG, BOOLEAN,
                                          PVOID, ULONG, BOOLEAN);
NTSYSAPI extern POBJECT_TYPE *IoDriverObjectType;
typedef NTSTATUS(NTAPI *SYSTEM_CALLOUT)(PVOID);

static struct {
    PDRIVER_OBJECT driver;
    PDEVICE_OBJECT above, below;
    LONG failed, worked;
    KEVENT event;
    UNICODE_STRING service;
} toolbox;

static NTSTATUS NTAPI Completed(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    UNREFERENCED_PARAMETER(device);
    if (irp->PendingReturned) {
        IoMarkIrpPending(irp);
    }
    InterlockedIncrement(context);
    return STATUS_CONTINUE_COMPLETION;
}

static LONG completions;

/* Requests reach the upper device first, which passes them to the lower one. */
static NTSTATUS Echo(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    PUCHAR data = irp->AssociatedIrp.SystemBuffer;
    ULONG i, size = stack->Parameters.DeviceIoControl.InputBufferLength;

    if (device == toolbox.above) {
        IoCopyCurrentIrpStackLocationToNext(irp);
        IoSetCompletionRoutine(irp, Completed, &completions, TRUE, TRUE, TRUE);
        return IoCallDriver(toolbox.below, irp);
    }
    for (i = 0; i < size; i++) {
        data[i]++;
    }
    return FieldComplete(irp, STATUS_SUCCESS, size);
}

static VOID Requests(VOID)
{
    PDEVICE_OBJECT found;
    PFILE_OBJECT file;
    UNICODE_STRING name;
    IO_STATUS_BLOCK block = {0};
    KEVENT done;
    PIRP irp;
    UCHAR data[4] = {1, 2, 3, 4};
    NTSTATUS status;

    RtlInitUnicodeString(&name, NAME);
    EXPECT_STATUS(IoGetDeviceObjectPointer(&name, FILE_READ_DATA, &file, &found), STATUS_SUCCESS);
    EXPECT(found == toolbox.above && found->StackSize == 2);
    EXPECT(IoGetRelatedDeviceObject(file) == toolbox.above);
    EXPECT(IoGetAttachedDevice(toolbox.below) == toolbox.above);
    KeInitializeEvent(&done, NotificationEvent, FALSE);
    irp = IoBuildDeviceIoControlRequest(IOCTL_ECHO, found, data, sizeof(data), data, sizeof(data), FALSE, &done, &block);
    EXPECT(irp != NULL);
    if (irp != NULL) {
        IoGetNextIrpStackLocation(irp)->FileObject = file;
        status = IoCallDriver(found, irp);
        if (status == STATUS_PENDING) {
            KeWaitForSingleObject(&done, Executive, KernelMode, FALSE, NULL);
        }
        EXPECT(KeReadStateEvent(&done) != 0);
        EXPECT(block.Status == STATUS_SUCCESS && block.Information == 4);
        EXPECT(data[0] == 2 && data[3] == 5 && completions == 1);
    }
    ObDereferenceObject(file);
}

static VOID NTAPI OnWorker(PVOID context)
{
    InterlockedIncrement(&toolbox.worked);
    KeSetEvent(context, IO_NO_INCREMENT, FALSE);
}

static VOID NTAPI OnIoWorker(PVOID object, PVOID context, PIO_WORKITEM item)
{
    EXPECT(object == toolbox.driver);
    InterlockedIncrement(&toolbox.worked);
    KeSetEvent(context, IO_NO_INCREMENT, FALSE);
    IoFreeWorkItem(item);
}

static VOID Locks(VOID)
{
    static ERESOURCE resource;
    static FAST_MUTEX fast;
    static KGUARDED_MUTEX guarded;
    static EX_RUNDOWN_REF rundown;
    static WORK_QUEUE_ITEM item;
    PIO_WORKITEM io_item;
    KEVENT done;
    KIRQL irql;

    ExInitializeResourceLite(&resource);
    KeEnterCriticalRegion();
    EXPECT(ExAcquireResourceExclusiveLite(&resource, FALSE));
    EXPECT(ExIsResourceAcquiredExclusiveLite(&resource));
    EXPECT(ExAcquireResourceSharedLite(&resource, FALSE)); /* the owner may: it stays exclusive */
    EXPECT(ExIsResourceAcquiredSharedLite(&resource) == 2);
    ExReleaseResourceLite(&resource);
    ExConvertExclusiveToSharedLite(&resource);
    EXPECT(!ExIsResourceAcquiredExclusiveLite(&resource) && ExIsResourceAcquiredSharedLite(&resource) == 1);
    EXPECT(!ExAcquireResourceExclusiveLite(&resource, FALSE));
    EXPECT(ExGetExclusiveWaiterCount(&resource) == 0 && ExGetSharedWaiterCount(&resource) == 0);
    EXPECT(KeAreApcsDisabled());
    ExReleaseResourceLite(&resource);
    KeLeaveCriticalRegion();
    EXPECT(!KeAreApcsDisabled());
    EXPECT_STATUS(ExDeleteResourceLite(&resource), STATUS_SUCCESS);

    ExInitializeFastMutex(&fast);
    EXPECT(ExTryToAcquireFastMutex(&fast));
    EXPECT(KeGetCurrentIrql() == APC_LEVEL);
    ExReleaseFastMutex(&fast);
    KeInitializeGuardedMutex(&guarded);
    EXPECT(KeTryToAcquireGuardedMutex(&guarded));
    EXPECT(KeGetCurrentIrql() == PASSIVE_LEVEL && KeAreAllApcsDisabled());
    KeReleaseGuardedMutex(&guarded);
    EXPECT(!KeAreAllApcsDisabled());

    ExInitializeRundownProtection(&rundown);
    EXPECT(ExAcquireRundownProtection(&rundown));
    ExReleaseRundownProtection(&rundown);
    ExWaitForRundownProtectionRelease(&rundown);
    EXPECT(!ExAcquireRundownProtection(&rundown));

    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    EXPECT(irql == PASSIVE_LEVEL && KeGetCurrentIrql() == DISPATCH_LEVEL);
    KeLowerIrql(irql);

    KeInitializeEvent(&done, SynchronizationEvent, FALSE);
    ExInitializeWorkItem(&item, OnWorker, &done);
    ExQueueWorkItem(&item, DelayedWorkQueue);
    EXPECT_STATUS(KeWaitForSingleObject(&done, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    io_item = IoAllocateWorkItem((PDEVICE_OBJECT)toolbox.driver);
    if (io_item != NULL) {
        IoQueueWorkItemEx(io_item, OnIoWorker, DelayedWorkQueue, &done);
        KeWaitForSingleObject(&done, Executive, KernelMode, FALSE, NULL);
    }
    EXPECT(toolbox.worked == 2);
}

static VOID Names(VOID)
{
    UNICODE_STRING name, target;
    OBJECT_ATTRIBUTES attributes;
    PDRIVER_OBJECT driver;
    HANDLE handle, copy;
    WCHAR buffer[64];
    UCHAR info[256];
    ULONG length = 0;

    RtlInitUnicodeString(&name, LINK);
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    EXPECT_STATUS(ZwOpenSymbolicLinkObject(&handle, GENERIC_READ, &attributes), STATUS_SUCCESS);
    target.Buffer = buffer;
    target.Length = 0;
    target.MaximumLength = sizeof(buffer);
    EXPECT_STATUS(ZwQuerySymbolicLinkObject(handle, &target, &length), STATUS_SUCCESS);
    RtlInitUnicodeString(&name, NAME);
    EXPECT(RtlEqualUnicodeString(&target, &name, FALSE) && length >= target.Length);
    EXPECT_STATUS(ZwDuplicateObject(ZwCurrentProcess(), handle, ZwCurrentProcess(), &copy, 0, OBJ_KERNEL_HANDLE,
                                    DUPLICATE_SAME_ACCESS),
                  STATUS_SUCCESS);
    ZwClose(copy);
    ZwClose(handle);

    name = toolbox.driver->DriverName;
    EXPECT_STATUS(ObReferenceObjectByName(&name, OBJ_CASE_INSENSITIVE, NULL, 0, OBJECT_TYPE_OF(IoDriverObjectType),
                                          KernelMode, NULL, (PVOID *)&driver),
                  STATUS_SUCCESS);
    EXPECT(driver == toolbox.driver);
    ObDereferenceObject(driver);
    EXPECT_STATUS(ObQueryNameString(toolbox.driver, (POBJECT_NAME_INFORMATION)info, 4, &length), STATUS_INFO_LENGTH_MISMATCH);
    EXPECT_STATUS(ObQueryNameString(toolbox.driver, (POBJECT_NAME_INFORMATION)info, sizeof(info), &length), STATUS_SUCCESS);
    EXPECT(RtlEqualUnicodeString(&((POBJECT_NAME_INFORMATION)info)->Name, &name, TRUE));
}

static VOID Processes(VOID)
{
    OBJECT_ATTRIBUTES attributes;
    CLIENT_ID id;
    HANDLE process, token;
    PEPROCESS object;
    PETHREAD thread;
    KAPC_STATE state;
    PVOID buffer;
    ULONG length = 0, needed = 0;
    LUID debug = {20, 0};
    NTSTATUS status;

    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    id.UniqueProcess = PsGetCurrentProcessId();
    id.UniqueThread = NULL;
    EXPECT_STATUS(ZwOpenProcess(&process, PROCESS_ALL_ACCESS, &attributes, &id), STATUS_SUCCESS);
    status = ZwQueryInformationProcess(process, 27 /* ProcessImageFileName */, NULL, 0, &length);
    EXPECT(status == STATUS_INFO_LENGTH_MISMATCH && length > sizeof(UNICODE_STRING));
    buffer = ExAllocatePoolWithTag(PagedPool, length, TAG);
    if (buffer != NULL) {
        EXPECT_STATUS(ZwQueryInformationProcess(process, 27, buffer, length, &length), STATUS_SUCCESS);
        EXPECT(((PUNICODE_STRING)buffer)->Length > 16);
        ExFreePoolWithTag(buffer, TAG);
    }
    EXPECT_STATUS(ZwOpenProcessTokenEx(process, TOKEN_QUERY, OBJ_KERNEL_HANDLE, &token), STATUS_SUCCESS);
    status = ZwQueryInformationToken(token, TokenUser, NULL, 0, &needed);
    EXPECT(status == STATUS_BUFFER_TOO_SMALL && needed > sizeof(TOKEN_USER));
    ZwClose(token);
    ZwClose(process);
    EXPECT_STATUS(PsLookupProcessByProcessId(id.UniqueProcess, &object), STATUS_SUCCESS);
    EXPECT(object == PsGetCurrentProcess() && PsGetProcessId(object) == id.UniqueProcess);
    ObDereferenceObject(object);
    EXPECT_STATUS(PsLookupProcessByProcessId((HANDLE)(ULONG_PTR)0x7FFC, &object), STATUS_INVALID_CID);
    EXPECT_STATUS(PsLookupThreadByThreadId(PsGetCurrentThreadId(), &thread), STATUS_SUCCESS);
    EXPECT(IoThreadToProcess(thread) == PsGetCurrentProcess());
    ObDereferenceObject(thread);
    KeStackAttachProcess((PKPROCESS)PsInitialSystemProcess, &state);
    EXPECT(PsGetCurrentProcess() == PsInitialSystemProcess || PsGetCurrentProcessId() == (HANDLE)4);
    KeUnstackDetachProcess(&state);
    EXPECT(PsGetCurrentProcessId() == id.UniqueProcess);
    SeSinglePrivilegeCheck(debug, UserMode);
    needed = 0;
    status = ZwQuerySystemInformation(5 /* SystemProcessInformation */, NULL, 0, &needed);
    EXPECT(status == STATUS_INFO_LENGTH_MISMATCH && needed != 0);
    buffer = ExAllocatePoolWithTag(NonPagedPool, needed + 4096, TAG);
    if (buffer != NULL) {
        PULONG entry = buffer;
        ULONG count = 1;

        EXPECT_STATUS(ZwQuerySystemInformation(5, buffer, needed + 4096, &needed), STATUS_SUCCESS);
        for (; *entry != 0; entry = (PULONG)((PUCHAR)entry + *entry)) {
            count++;
        }
        EXPECT(count >= 2);
        ExFreePoolWithTag(buffer, TAG);
    }
}

static VOID Files(VOID)
{
    FILE_NETWORK_OPEN_INFORMATION network;
    FILE_STANDARD_INFORMATION standard;
    FILE_BASIC_INFORMATION basic;
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING path;
    IO_STATUS_BLOCK block;
    LARGE_INTEGER offset;
    CHAR data[16];
    HANDLE file;

    RtlInitUnicodeString(&path, L"\\SystemRoot\\Temp\\toolbox.bin");
    InitializeObjectAttributes(&attributes, &path, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    EXPECT_STATUS(ZwOpenFile(&file, GENERIC_READ | SYNCHRONIZE, &attributes, &block, 0, FILE_SYNCHRONOUS_IO_NONALERT),
                  STATUS_OBJECT_NAME_NOT_FOUND);
    EXPECT_STATUS(ZwCreateFile(&file, GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE, &attributes, &block, NULL,
                               FILE_ATTRIBUTE_NORMAL, 0, FILE_CREATE, FILE_SYNCHRONOUS_IO_NONALERT, NULL, 0),
                  STATUS_SUCCESS);
    EXPECT(block.Information == FILE_CREATED);
    EXPECT_STATUS(ZwWriteFile(file, NULL, NULL, NULL, &block, "0123456789", 10, NULL, NULL), STATUS_SUCCESS);
    offset.QuadPart = 4;
    EXPECT_STATUS(ZwReadFile(file, NULL, NULL, NULL, &block, data, sizeof(data), &offset, NULL), STATUS_SUCCESS);
    EXPECT(block.Information == 6 && data[0] == '4' && data[5] == '9');
    EXPECT_STATUS(ZwReadFile(file, NULL, NULL, NULL, &block, data, sizeof(data), NULL, NULL), STATUS_END_OF_FILE);
    EXPECT_STATUS(ZwQueryInformationFile(file, &block, &standard, sizeof(standard), FileStandardInformation), STATUS_SUCCESS);
    EXPECT(standard.EndOfFile.QuadPart == 10 && !standard.Directory);
    EXPECT_STATUS(ZwQueryInformationFile(file, &block, &basic, sizeof(basic), FileBasicInformation), STATUS_SUCCESS);
    EXPECT_STATUS(ZwQueryInformationFile(file, &block, &network, sizeof(network), FileNetworkOpenInformation), STATUS_SUCCESS);
    EXPECT(network.EndOfFile.QuadPart == 10);
    ZwClose(file);
    EXPECT_STATUS(ZwDeleteFile(&attributes), STATUS_SUCCESS);
    EXPECT_STATUS(ZwOpenFile(&file, GENERIC_READ | SYNCHRONIZE, &attributes, &block, 0, FILE_SYNCHRONOUS_IO_NONALERT),
                  STATUS_OBJECT_NAME_NOT_FOUND);
}

static VOID Keys(VOID)
{
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING name;
    IO_STATUS_BLOCK block;
    HANDLE key, sub, event;
    PKEVENT event_object;
    ULONG disposition, size, dword = 7;
    UCHAR data[64];
    PKEY_VALUE_PARTIAL_INFORMATION partial = (PVOID)data;
    LARGE_INTEGER now = {.QuadPart = 0};

    InitializeObjectAttributes(&attributes, &toolbox.service, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    EXPECT_STATUS(ZwOpenKey(&key, KEY_ALL_ACCESS, &attributes), STATUS_SUCCESS);
    RtlInitUnicodeString(&name, L"Toolbox");
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, key, NULL);
    EXPECT_STATUS(ZwCreateKey(&sub, KEY_ALL_ACCESS, &attributes, 0, NULL, REG_OPTION_VOLATILE, &disposition), STATUS_SUCCESS);
    EXPECT(disposition == REG_CREATED_NEW_KEY);
    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    EXPECT_STATUS(ZwCreateEvent(&event, EVENT_ALL_ACCESS, &attributes, NotificationEvent, FALSE), STATUS_SUCCESS);
    EXPECT_STATUS(ObReferenceObjectByHandle(event, EVENT_ALL_ACCESS, NULL, KernelMode, (PVOID *)&event_object, NULL),
                  STATUS_SUCCESS);
    EXPECT_STATUS(ZwNotifyChangeKey(sub, event, NULL, NULL, &block, REG_NOTIFY_CHANGE_LAST_SET, FALSE, NULL, 0, TRUE),
                  STATUS_PENDING);
    EXPECT(KeReadStateEvent(event_object) == 0);
    RtlInitUnicodeString(&name, L"value");
    EXPECT_STATUS(ZwSetValueKey(sub, &name, 0, REG_DWORD, &dword, sizeof(dword)), STATUS_SUCCESS);
    EXPECT_STATUS(KeWaitForSingleObject(event_object, Executive, KernelMode, FALSE, &now), STATUS_SUCCESS);
    ObDereferenceObject(event_object);
    ZwClose(event);
    EXPECT_STATUS(ZwQueryValueKey(sub, &name, KeyValuePartialInformation, data, 4, &size), STATUS_BUFFER_TOO_SMALL);
    EXPECT(size == FIELD_OFFSET(KEY_VALUE_PARTIAL_INFORMATION, Data) + 4);
    EXPECT_STATUS(ZwQueryValueKey(sub, &name, KeyValuePartialInformation, data, 12, &size), STATUS_BUFFER_OVERFLOW);
    EXPECT_STATUS(ZwQueryValueKey(sub, &name, KeyValuePartialInformation, data, sizeof(data), &size), STATUS_SUCCESS);
    EXPECT(partial->Type == REG_DWORD && *(PULONG)partial->Data == 7);
    EXPECT_STATUS(ZwDeleteValueKey(sub, &name), STATUS_SUCCESS);
    EXPECT_STATUS(ZwDeleteValueKey(sub, &name), STATUS_OBJECT_NAME_NOT_FOUND);
    EXPECT_STATUS(ZwDeleteKey(sub), STATUS_SUCCESS);
    EXPECT_STATUS(ZwSetValueKey(sub, &name, 0, REG_DWORD, &dword, sizeof(dword)), STATUS_KEY_DELETED);
    ZwClose(sub);
    ZwClose(key);
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);

    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_ECHO:
        return Echo(device, irp);
    case IOCTL_RUN:
        if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(ULONG)) {
            return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        }
        Requests();
        Locks();
        Names();
        Processes();
        Files();
        Keys();
        *(PULONG)irp->AssociatedIrp.SystemBuffer = toolbox.failed;
        return FieldComplete(irp, STATUS_SUCCESS, sizeof(ULONG));
    default:
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNICODE_STRING link;

    UNREFERENCED_PARAMETER(driver);
    RtlInitUnicodeString(&link, LINK);
    IoDeleteSymbolicLink(&link);
    IoDetachDevice(toolbox.below);
    IoDeleteDevice(toolbox.above);
    IoDeleteDevice(toolbox.below);
    ExFreePoolWithTag(toolbox.service.Buffer, TAG);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status = FieldCreate(driver, NAME, LINK, DO_BUFFERED_IO, Control, Unload);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    toolbox.driver = driver;
    toolbox.below = driver->DeviceObject;
    toolbox.service.Buffer = ExAllocatePoolWithTag(PagedPool, service->Length, TAG);
    status = toolbox.service.Buffer == NULL ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
    if (NT_SUCCESS(status)) {
        toolbox.service.MaximumLength = service->Length;
        RtlCopyUnicodeString(&toolbox.service, service);
        status = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &toolbox.above);
    }
    if (!NT_SUCCESS(status)) {
        FieldDelete(driver, LINK);
        return status;
    }
    IoAttachDeviceToDeviceStack(toolbox.above, toolbox.below);
    toolbox.above->Flags |= DO_BUFFERED_IO;
    toolbox.above->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}
