/*
 * A protector: keys listed in the service's Parameters\Protected (REG_MULTI_SZ) can't be changed, except by the
 * process whose image is named in Parameters\Allowed (REG_SZ).
 */
#include "field.h"

#define TAG 'orPF'
#define MAX_KEYS 16

static struct {
    LARGE_INTEGER cookie;
    PKEY_VALUE_PARTIAL_INFORMATION list;
    UNICODE_STRING keys[MAX_KEYS];
    ULONG count;
    CHAR allowed[16];
    LONG denied;
} protector;

/* The value in pool, or NULL: asked twice, the first time for its size. */
static PKEY_VALUE_PARTIAL_INFORMATION QueryValue(HANDLE key, PCWSTR name)
{
    PKEY_VALUE_PARTIAL_INFORMATION information;
    UNICODE_STRING value;
    ULONG size = 0;
    NTSTATUS status;

    RtlInitUnicodeString(&value, name);
    status = ZwQueryValueKey(key, &value, KeyValuePartialInformation, NULL, 0, &size);
    if (status != STATUS_BUFFER_TOO_SMALL && status != STATUS_BUFFER_OVERFLOW) {
        return NULL;
    }
    information = ExAllocatePoolWithTag(PagedPool, size, TAG);
    if (information == NULL) {
        return NULL;
    }
    status = ZwQueryValueKey(key, &value, KeyValuePartialInformation, information, size, &size);
    if (!NT_SUCCESS(status)) {
        ExFreePoolWithTag(information, TAG);
        return NULL;
    }
    return information;
}

static VOID ReadList(PKEY_VALUE_PARTIAL_INFORMATION list)
{
    PWSTR at = (PWSTR)list->Data, end = (PWSTR)(list->Data + list->DataLength);

    while (at < end && *at != UNICODE_NULL && protector.count < MAX_KEYS) {
        RtlInitUnicodeString(&protector.keys[protector.count], at);
        DbgPrint("protector: [%u] %wZ\n", protector.count, &protector.keys[protector.count]);
        at += protector.keys[protector.count++].Length / sizeof(WCHAR) + 1;
    }
}

static NTSTATUS ReadConfiguration(PUNICODE_STRING service)
{
    PKEY_VALUE_PARTIAL_INFORMATION allowed;
    UNICODE_STRING path, wide;
    OBJECT_ATTRIBUTES attributes;
    ANSI_STRING narrow;
    HANDLE key;
    NTSTATUS status;

    path.Length = 0;
    path.MaximumLength = service->Length + sizeof(L"\\Parameters");
    path.Buffer = ExAllocatePoolWithTag(PagedPool, path.MaximumLength, TAG);
    if (path.Buffer == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlCopyUnicodeString(&path, service);
    RtlAppendUnicodeToString(&path, L"\\Parameters");
    InitializeObjectAttributes(&attributes, &path, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwOpenKey(&key, KEY_READ, &attributes);
    ExFreePoolWithTag(path.Buffer, TAG);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    protector.list = QueryValue(key, L"Protected");
    if (protector.list != NULL && protector.list->Type == REG_MULTI_SZ) {
        ReadList(protector.list);
    }
    allowed = QueryValue(key, L"Allowed");
    if (allowed != NULL) {
        if (allowed->Type == REG_SZ) {
            RtlInitUnicodeString(&wide, (PWSTR)allowed->Data);
            narrow.Buffer = protector.allowed;
            narrow.MaximumLength = sizeof(protector.allowed);
            RtlUnicodeStringToAnsiString(&narrow, &wide, FALSE);
        }
        ExFreePoolWithTag(allowed, TAG);
    }
    ZwClose(key);
    return protector.count != 0 ? STATUS_SUCCESS : STATUS_NOT_FOUND;
}

static BOOLEAN IsProtected(PVOID object)
{
    PCUNICODE_STRING name;
    ULONG index;

    if (!NT_SUCCESS(CmCallbackGetKeyObjectID(&protector.cookie, object, NULL, &name))) {
        return FALSE;
    }
    for (index = 0; index < protector.count; index++) {
        PUNICODE_STRING key = &protector.keys[index];

        if (RtlPrefixUnicodeString(key, (PUNICODE_STRING)name, TRUE) &&
            (name->Length == key->Length || name->Buffer[key->Length / sizeof(WCHAR)] == L'\\')) {
            return TRUE;
        }
    }
    return FALSE;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID class, PVOID information)
{
    PVOID object;

    UNREFERENCED_PARAMETER(context);
    switch ((REG_NOTIFY_CLASS)(ULONG_PTR)class) {
    case RegNtPreSetValueKey:
        object = ((PREG_SET_VALUE_KEY_INFORMATION)information)->Object;
        break;
    case RegNtPreDeleteKey:
        object = ((PREG_DELETE_KEY_INFORMATION)information)->Object;
        break;
    case RegNtPreDeleteValueKey:
        object = ((PREG_DELETE_VALUE_KEY_INFORMATION)information)->Object;
        break;
    case RegNtPreRenameKey:
        object = ((PREG_RENAME_KEY_INFORMATION)information)->Object;
        break;
    case RegNtPreSetKeySecurity:
        object = ((PREG_SET_KEY_SECURITY_INFORMATION)information)->Object;
        break;
    default:
        return STATUS_SUCCESS;
    }
    if (ExGetPreviousMode() == KernelMode || !IsProtected(object)) {
        return STATUS_SUCCESS;
    }
    if (protector.allowed[0] != 0 &&
        _stricmp((PCSTR)PsGetProcessImageFileName(PsGetCurrentProcess()), protector.allowed) == 0) {
        return STATUS_SUCCESS;
    }
    InterlockedIncrement(&protector.denied);
    return STATUS_ACCESS_DENIED;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
    CmUnRegisterCallback(protector.cookie);
    ExFreePoolWithTag(protector.list, TAG);
    DbgPrint("protector: %d denied\n", protector.denied);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude;
    NTSTATUS status;

    status = ReadConfiguration(service);
    if (NT_SUCCESS(status)) {
        driver->DriverUnload = Unload;
        RtlInitUnicodeString(&altitude, L"325000");
        status = CmRegisterCallbackEx(Callback, &altitude, driver, &protector, &protector.cookie, NULL);
    }
    if (!NT_SUCCESS(status)) {
        DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "protector: not started, %08x\n", status);
        if (protector.list != NULL) {
            ExFreePoolWithTag(protector.list, TAG);
        }
    }
    return status;
}
