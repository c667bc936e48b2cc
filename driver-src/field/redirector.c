/*
 * A sandbox: what is created or opened below one key happens below another. Both are set with an IOCTL: two
 * strings, each with its terminator.
 *
 * harness: since 6.0
 * harness: with guarded
 */
#include "field.h"

#define TAG 'erFF'
#define LONGEST 1024
#define IOCTL_SET FIELD_IOCTL(0, METHOD_BUFFERED)
#define IOCTL_COUNT FIELD_IOCTL(1, METHOD_BUFFERED) /* output: ULONG */

static struct {
    LARGE_INTEGER cookie;
    FAST_MUTEX lock;
    UNICODE_STRING from, to;
    WCHAR text[LONGEST];
    ULONG redirected;
} sandbox;

static BOOLEAN FullName(PREG_CREATE_KEY_INFORMATION info, PUNICODE_STRING full)
{
    PCUNICODE_STRING root = NULL;

    full->Length = 0;
    full->MaximumLength = LONGEST;
    full->Buffer = ExAllocatePoolWithTag(PagedPool, LONGEST, TAG);
    if (full->Buffer == NULL) {
        return FALSE;
    }
    if (info->CompleteName->Length != 0 && info->CompleteName->Buffer[0] == OBJ_NAME_PATH_SEPARATOR) {
        return NT_SUCCESS(RtlAppendUnicodeStringToString(full, info->CompleteName));
    }
    if (!NT_SUCCESS(CmCallbackGetKeyObjectID(&sandbox.cookie, info->RootObject, NULL, &root)) ||
        !NT_SUCCESS(RtlAppendUnicodeStringToString(full, root))) {
        return FALSE;
    }
    return info->CompleteName->Length == 0 ||
           (NT_SUCCESS(RtlAppendUnicodeToString(full, L"\\")) &&
            NT_SUCCESS(RtlAppendUnicodeStringToString(full, info->CompleteName)));
}

/* The place in the sandbox, in pool, when `full` lies below the key that is watched. */
static BOOLEAN Translate(PUNICODE_STRING full, PUNICODE_STRING target)
{
    UNICODE_STRING rest;
    BOOLEAN found = FALSE;

    target->Buffer = NULL;
    ExAcquireFastMutex(&sandbox.lock);
    if (sandbox.from.Length != 0 && full->Length > sandbox.from.Length &&
        RtlPrefixUnicodeString(&sandbox.from, full, TRUE) &&
        full->Buffer[sandbox.from.Length / sizeof(WCHAR)] == OBJ_NAME_PATH_SEPARATOR) {
        rest.Buffer = full->Buffer + sandbox.from.Length / sizeof(WCHAR);
        rest.Length = rest.MaximumLength = full->Length - sandbox.from.Length;
        target->Length = 0;
        target->MaximumLength = sandbox.to.Length + rest.Length;
        target->Buffer = ExAllocatePoolWithTag(PagedPool, target->MaximumLength, TAG);
        if (target->Buffer != NULL) {
            RtlCopyUnicodeString(target, &sandbox.to);
            RtlAppendUnicodeStringToString(target, &rest);
            found = TRUE;
        }
    }
    ExReleaseFastMutex(&sandbox.lock);
    return found;
}

typedef struct _DISPOSITION {
    PULONG where;
    ULONG value;
} DISPOSITION;

static NTSTATUS NTAPI TellDisposition(PVOID context)
{
    DISPOSITION *out = context;

    *out->where = out->value;
    return STATUS_SUCCESS;
}

static NTSTATUS Redirect(BOOLEAN create, PREG_CREATE_KEY_INFORMATION info)
{
    UNICODE_STRING full, target = {0};
    OBJECT_ATTRIBUTES attributes;
    NTSTATUS status = STATUS_SUCCESS;
    ULONG disposition = REG_OPENED_EXISTING_KEY;
    HANDLE key;
    PVOID object;

    if (!FullName(info, &full) || !Translate(&full, &target)) {
        goto done;
    }
    InitializeObjectAttributes(&attributes, &target, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, info->SecurityDescriptor);
    if (create) {
        status = ZwCreateKey(&key, KEY_ALL_ACCESS, &attributes, 0, info->Class, info->CreateOptions, &disposition);
    } else {
        status = ZwOpenKey(&key, KEY_ALL_ACCESS, &attributes);
    }
    if (!NT_SUCCESS(status)) {
        goto done;
    }
    status = ObReferenceObjectByHandle(key, info->DesiredAccess, OBJECT_TYPE_OF(CmKeyObjectType), KernelMode, &object, NULL);
    ZwClose(key);
    if (!NT_SUCCESS(status)) {
        goto done;
    }
    *info->ResultObject = object;
    info->GrantedAccess = info->DesiredAccess;
    if (create && info->Disposition != NULL) {
        DISPOSITION out = {info->Disposition, disposition};

        guarded_call(TellDisposition, &out); /* the requester's own variable */
    }
    InterlockedIncrement((PLONG)&sandbox.redirected);
    status = STATUS_CALLBACK_BYPASS;
done:
    if (full.Buffer != NULL) {
        ExFreePoolWithTag(full.Buffer, TAG);
    }
    if (target.Buffer != NULL) {
        ExFreePoolWithTag(target.Buffer, TAG);
    }
    return status;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(context);
    if (ExGetPreviousMode() == KernelMode) {
        return STATUS_SUCCESS;
    }
    switch ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1) {
    case RegNtPreCreateKeyEx:
        return Redirect(TRUE, argument2);
    case RegNtPreOpenKeyEx:
        return Redirect(FALSE, argument2);
    default:
        return STATUS_SUCCESS;
    }
}

static NTSTATUS Set(PWSTR input, ULONG length)
{
    ULONG chars = length / sizeof(WCHAR), first;

    if (length > sizeof(sandbox.text) || chars < 4 || input[chars - 1] != 0) {
        return STATUS_INVALID_PARAMETER;
    }
    for (first = 0; input[first] != 0; first++) {
    }
    if (first + 1 >= chars) {
        return STATUS_INVALID_PARAMETER;
    }
    ExAcquireFastMutex(&sandbox.lock);
    RtlCopyMemory(sandbox.text, input, length);
    RtlInitUnicodeString(&sandbox.from, sandbox.text);
    RtlInitUnicodeString(&sandbox.to, sandbox.text + first + 1);
    ExReleaseFastMutex(&sandbox.lock);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);

    UNREFERENCED_PARAMETER(device);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_SET:
        return FieldComplete(irp, Set(irp->AssociatedIrp.SystemBuffer, stack->Parameters.DeviceIoControl.InputBufferLength), 0);
    case IOCTL_COUNT:
        if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(ULONG)) {
            return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        }
        *(PULONG)irp->AssociatedIrp.SystemBuffer = sandbox.redirected;
        return FieldComplete(irp, STATUS_SUCCESS, sizeof(ULONG));
    default:
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(sandbox.cookie);
    FieldDelete(driver, L"\\??\\FieldRedirector");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"300000");
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    ExInitializeFastMutex(&sandbox.lock);
    status = FieldCreate(driver, L"\\Device\\FieldRedirector", L"\\??\\FieldRedirector", 0, Control, Unload);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &sandbox.cookie, NULL);
        if (!NT_SUCCESS(status)) {
            FieldDelete(driver, L"\\??\\FieldRedirector");
        }
    }
    return status;
}
