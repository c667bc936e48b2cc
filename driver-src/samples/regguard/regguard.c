/*
 * regguard: a small registry filter as one would write it, used by the worked example of the docs.
 *
 * It refuses to set, delete or rename anything at or below one key, for user-mode callers. The key comes
 * from the service key or by IOCTL. From Vista on; it needs altitudes and CmCallbackGetKeyObjectID.
 *
 * harness: since 6.0
 */
#include <ntifs.h>

#include "regguard.h"

#define GUARD_TAG 'draG'
#define DEVICE_NAME L"\\Device\\RegGuard"
#define LINK_NAME L"\\DosDevices\\RegGuard"
#define DEFAULT_ALTITUDE L"385200.1"

DRIVER_INITIALIZE DriverEntry;

typedef struct _GUARD {
    LARGE_INTEGER cookie;
    FAST_MUTEX lock; /* of `path`; legal up to APC_LEVEL, where callbacks run at most */
    UNICODE_STRING path;
    WCHAR characters[REGGUARD_MAX_PATH];
    volatile LONG refused;
} GUARD;

static GUARD guard;

/* Is `name` the protected key or below it? */
static BOOLEAN IsProtected(PCUNICODE_STRING name)
{
    BOOLEAN found = FALSE;

    ExAcquireFastMutex(&guard.lock);
    if (guard.path.Length != 0 && RtlPrefixUnicodeString(&guard.path, (PUNICODE_STRING)name, TRUE)) {
        found = name->Length == guard.path.Length || name->Buffer[guard.path.Length / sizeof(WCHAR)] == L'\\';
    }
    ExReleaseFastMutex(&guard.lock);
    return found;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    PCUNICODE_STRING name = NULL;
    PVOID object;

    UNREFERENCED_PARAMETER(context);
    switch ((REG_NOTIFY_CLASS)(ULONG_PTR)notify_class) {
    case RegNtPreSetValueKey:
        object = ((REG_SET_VALUE_KEY_INFORMATION *)information)->Object;
        break;
    case RegNtPreDeleteValueKey:
        object = ((REG_DELETE_VALUE_KEY_INFORMATION *)information)->Object;
        break;
    case RegNtPreDeleteKey:
        object = ((REG_DELETE_KEY_INFORMATION *)information)->Object;
        break;
    case RegNtPreRenameKey:
        object = ((REG_RENAME_KEY_INFORMATION *)information)->Object;
        break;
    default:
        return STATUS_SUCCESS;
    }
    if (ExGetPreviousMode() == KernelMode) {
        return STATUS_SUCCESS;
    }
    /* The name belongs to the system and stays valid while the key object lives (B-INF-09). */
    if (!NT_SUCCESS(CmCallbackGetKeyObjectID(&guard.cookie, object, NULL, &name)) || name == NULL
        || !IsProtected(name)) {
        return STATUS_SUCCESS;
    }
    InterlockedIncrement(&guard.refused);
    return STATUS_ACCESS_DENIED;
}

static NTSTATUS Protect(const WCHAR *characters, ULONG length)
{
    if (length > sizeof(guard.characters) || (length & 1)) {
        return STATUS_INVALID_PARAMETER;
    }
    ExAcquireFastMutex(&guard.lock);
    RtlCopyMemory(guard.characters, characters, length);
    guard.path.Buffer = guard.characters;
    guard.path.Length = guard.path.MaximumLength = (USHORT)length;
    ExReleaseFastMutex(&guard.lock);
    return STATUS_SUCCESS;
}

static NTSTATUS Status(REGGUARD_STATUS *reply, ULONG capacity, ULONG_PTR *used)
{
    if (capacity < sizeof(*reply)) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    RtlZeroMemory(reply, sizeof(*reply));
    reply->refused = (ULONG)guard.refused;
    ExAcquireFastMutex(&guard.lock);
    reply->path_length = guard.path.Length;
    RtlCopyMemory(reply->path, guard.characters, guard.path.Length);
    ExReleaseFastMutex(&guard.lock);
    *used = sizeof(*reply);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Dispatch(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    NTSTATUS status = STATUS_SUCCESS;
    ULONG_PTR used = 0;

    UNREFERENCED_PARAMETER(device);
    if (stack->MajorFunction == IRP_MJ_DEVICE_CONTROL) {
        PVOID buffer = irp->AssociatedIrp.SystemBuffer;

        switch (stack->Parameters.DeviceIoControl.IoControlCode) {
        case IOCTL_REGGUARD_PROTECT:
            status = Protect(buffer, stack->Parameters.DeviceIoControl.InputBufferLength);
            break;
        case IOCTL_REGGUARD_STATUS:
            status = Status(buffer, stack->Parameters.DeviceIoControl.OutputBufferLength, &used);
            break;
        default:
            status = STATUS_INVALID_DEVICE_REQUEST;
        }
    }
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = used;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

/* The text of a REG_SZ below Parameters, in pool the caller frees; `text->Buffer` NULL when there is none. */
static VOID ReadParameter(PUNICODE_STRING service, PCWSTR value, PUNICODE_STRING text)
{
    ULONG size = sizeof(KEY_VALUE_PARTIAL_INFORMATION) + (REGGUARD_MAX_PATH + 1) * sizeof(WCHAR), length;
    KEY_VALUE_PARTIAL_INFORMATION *information;
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING name;
    HANDLE key, parameters;
    NTSTATUS status;

    RtlZeroMemory(text, sizeof(*text));
    InitializeObjectAttributes(&attributes, service, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes))) {
        return;
    }
    RtlInitUnicodeString(&name, L"Parameters");
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, key, NULL);
    status = ZwOpenKey(&parameters, KEY_READ, &attributes);
    ZwClose(key);
    if (!NT_SUCCESS(status)) {
        return;
    }
    information = ExAllocatePoolWithTag(PagedPool, size, GUARD_TAG);
    if (information != NULL) {
        RtlInitUnicodeString(&name, value);
        status = ZwQueryValueKey(parameters, &name, KeyValuePartialInformation, information, size, &length);
        if (NT_SUCCESS(status) && information->Type == REG_SZ && information->DataLength >= sizeof(WCHAR)) {
            ULONG bytes = information->DataLength & ~1U;

            RtlMoveMemory(information, information->Data, bytes);
            text->Buffer = (PWSTR)information;
            while (bytes != 0 && text->Buffer[bytes / sizeof(WCHAR) - 1] == L'\0') {
                bytes -= sizeof(WCHAR);
            }
            text->Length = text->MaximumLength = (USHORT)bytes;
        } else {
            ExFreePoolWithTag(information, GUARD_TAG);
        }
    }
    ZwClose(parameters);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNICODE_STRING link;

    RtlInitUnicodeString(&link, LINK_NAME);
    IoDeleteSymbolicLink(&link);
    CmUnRegisterCallback(guard.cookie);
    IoDeleteDevice(driver->DeviceObject);
    DbgPrint("regguard: unloaded after %ld refusals\n", guard.refused);
}

/* Registers at the configured altitude, protecting the configured key. */
static NTSTATUS StartFilter(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude, configured, path;
    NTSTATUS status;

    ReadParameter(service, L"ProtectedKey", &path);
    if (path.Buffer != NULL) {
        Protect(path.Buffer, path.Length);
        ExFreePoolWithTag(path.Buffer, GUARD_TAG);
    }
    RtlInitUnicodeString(&altitude, DEFAULT_ALTITUDE);
    ReadParameter(service, L"Altitude", &configured);
    if (configured.Buffer != NULL) {
        altitude = configured;
    }
    status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &guard.cookie, NULL);
    DbgPrint("regguard: protecting %wZ at altitude %wZ: 0x%08lX\n", &guard.path, &altitude, status);
    if (configured.Buffer != NULL) {
        ExFreePoolWithTag(configured.Buffer, GUARD_TAG);
    }
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING name, link;
    PDEVICE_OBJECT device;
    NTSTATUS status;

    ExInitializeFastMutex(&guard.lock);
    RtlInitUnicodeString(&name, DEVICE_NAME);
    RtlInitUnicodeString(&link, LINK_NAME);
    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = IoCreateSymbolicLink(&link, &name);
    if (NT_SUCCESS(status)) {
        status = StartFilter(driver, service);
        if (!NT_SUCCESS(status)) {
            IoDeleteSymbolicLink(&link);
        }
    }
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = Dispatch;
    driver->MajorFunction[IRP_MJ_CLEANUP] = Dispatch;
    driver->MajorFunction[IRP_MJ_CLOSE] = Dispatch;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Dispatch;
    driver->DriverUnload = Unload;
    device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}
