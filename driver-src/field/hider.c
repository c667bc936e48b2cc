/*
 * A hider: subkeys and values whose names begin with "hidden" don't show up in enumerations. The post callback
 * enumerates again on a handle of its own and puts what follows into the caller's buffer.
 *
 * harness: with guarded
 */
#include "field.h"

#define TAG 'diHF'
#define LARGEST 4096

static LARGE_INTEGER cookie;

typedef struct _COPY {
    PVOID destination;
    PVOID source;
    ULONG length;
    PULONG result_length;
    ULONG result;
} COPY;

static NTSTATUS NTAPI CopyOut(PVOID context)
{
    COPY *copy = context;

    RtlCopyMemory(copy->destination, copy->source, copy->length);
    *copy->result_length = copy->result;
    return STATUS_SUCCESS;
}

static BOOLEAN Hidden(PCWSTR name, ULONG length)
{
    return length >= 6 * sizeof(WCHAR) && _wcsnicmp(name, L"hidden", 6) == 0;
}

static BOOLEAN HiddenKey(HANDLE key, ULONG index, PVOID buffer, NTSTATUS *status)
{
    PKEY_BASIC_INFORMATION basic = buffer;
    ULONG length;

    *status = ZwEnumerateKey(key, index, KeyBasicInformation, buffer, LARGEST, &length);
    return NT_SUCCESS(*status) && Hidden(basic->Name, basic->NameLength);
}

static BOOLEAN HiddenValue(HANDLE key, ULONG index, PVOID buffer, NTSTATUS *status)
{
    PKEY_VALUE_BASIC_INFORMATION basic = buffer;
    ULONG length;

    *status = ZwEnumerateValueKey(key, index, KeyValueBasicInformation, buffer, LARGEST, &length);
    return NT_SUCCESS(*status) && Hidden(basic->Name, basic->NameLength);
}

/* The index below which `wanted` entries are visible. */
static NTSTATUS Translate(HANDLE key, BOOLEAN values, ULONG wanted, PVOID buffer, PULONG index)
{
    ULONG visible = 0;
    NTSTATUS status;

    for (*index = 0;; (*index)++) {
        BOOLEAN hidden = values ? HiddenValue(key, *index, buffer, &status) : HiddenKey(key, *index, buffer, &status);

        if (!NT_SUCCESS(status)) {
            return status;
        }
        if (!hidden && visible++ == wanted) {
            return STATUS_SUCCESS;
        }
    }
}

static NTSTATUS Again(PREG_POST_OPERATION_INFORMATION post, BOOLEAN values)
{
    PREG_ENUMERATE_KEY_INFORMATION keys = post->PreInformation;
    PREG_ENUMERATE_VALUE_KEY_INFORMATION entries = post->PreInformation;
    PVOID buffer = ExAllocatePoolWithTag(PagedPool, LARGEST, TAG), out;
    ULONG wanted, index, room, length = 0;
    PULONG result_length;
    HANDLE key;
    NTSTATUS status, copied;

    if (buffer == NULL) {
        return STATUS_SUCCESS;
    }
    wanted = values ? entries->Index : keys->Index;
    room = values ? entries->Length : keys->Length;
    out = values ? entries->KeyValueInformation : keys->KeyInformation;
    result_length = values ? entries->ResultLength : keys->ResultLength;
    status = ObOpenObjectByPointer(post->Object, OBJ_KERNEL_HANDLE, NULL, KEY_ALL_ACCESS, OBJECT_TYPE_OF(CmKeyObjectType), KernelMode, &key);
    if (!NT_SUCCESS(status)) {
        ExFreePoolWithTag(buffer, TAG);
        return STATUS_SUCCESS;
    }
    status = Translate(key, values, wanted, buffer, &index);
    if (NT_SUCCESS(status) && index != wanted) {
        status = values ? ZwEnumerateValueKey(key, index, entries->KeyValueInformationClass, buffer, LARGEST, &length)
                        : ZwEnumerateKey(key, index, keys->KeyInformationClass, buffer, LARGEST, &length);
        if (NT_SUCCESS(status)) {
            COPY copy = {out, buffer, length < room ? length : room, result_length, length};

            copied = guarded_call(CopyOut, &copy);
            status = !NT_SUCCESS(copied) ? copied : length > room ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS;
        }
    } else if (NT_SUCCESS(status)) {
        status = post->Status;
    }
    ZwClose(key);
    ExFreePoolWithTag(buffer, TAG);
    post->ReturnStatus = status;
    return STATUS_CALLBACK_BYPASS;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    REG_NOTIFY_CLASS class = (REG_NOTIFY_CLASS)(ULONG_PTR)argument1;
    PREG_POST_OPERATION_INFORMATION post = argument2;

    UNREFERENCED_PARAMETER(context);
    if (class != RegNtPostEnumerateKey && class != RegNtPostEnumerateValueKey) {
        return STATUS_SUCCESS;
    }
    if (ExGetPreviousMode() == KernelMode || (!NT_SUCCESS(post->Status) && post->Status != STATUS_BUFFER_OVERFLOW)) {
        return STATUS_SUCCESS;
    }
    return Again(post, class == RegNtPostEnumerateValueKey);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
    CmUnRegisterCallback(cookie);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"320000");

    UNREFERENCED_PARAMETER(service);
    driver->DriverUnload = Unload;
    return CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &cookie, NULL);
}
