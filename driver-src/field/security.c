/*
 * Who may: the requester's SID as text, access checks against descriptors built here, descriptors put on keys.
 */
#include "field.h"

NTSYSAPI NTSTATUS NTAPI RtlFormatCurrentUserKeyPath(PUNICODE_STRING path);

#define TAG 'esSF'
#define IOCTL_WHO FIELD_IOCTL(0, METHOD_BUFFERED)   /* output: the SID of the last writer, as text */
#define IOCTL_CHECK FIELD_IOCTL(1, METHOD_BUFFERED) /* input: ULONG access; output: ULONG status, ULONG granted */
#define IOCTL_NAME FIELD_IOCTL(3, METHOD_BUFFERED)  /* output: the path of the requester's own key, as it is opened */
#define IOCTL_LOCK FIELD_IOCTL(2, METHOD_BUFFERED)  /* input: absolute key name; its DACL becomes read-only for all */

typedef struct _CHECK {
    NTSTATUS status;
    ACCESS_MASK granted;
} CHECK;

static LARGE_INTEGER cookie;
static FAST_MUTEX lock;
static WCHAR last[192];

static VOID Remember(VOID)
{
    SECURITY_SUBJECT_CONTEXT subject;
    PTOKEN_USER user = NULL;
    UNICODE_STRING text;
    PACCESS_TOKEN token;

    SeCaptureSubjectContext(&subject);
    SeLockSubjectContext(&subject);
    token = SeQuerySubjectContextToken(&subject);
    if (NT_SUCCESS(SeQueryInformationToken(token, TokenUser, (PVOID *)&user))) {
        if (RtlValidSid(user->User.Sid) && NT_SUCCESS(RtlConvertSidToUnicodeString(&text, user->User.Sid, TRUE))) {
            ExAcquireFastMutex(&lock);
            RtlStringCbCopyNW(last, sizeof(last), text.Buffer, text.Length);
            ExReleaseFastMutex(&lock);
            RtlFreeUnicodeString(&text);
        }
        ExFreePool(user);
    }
    SeUnlockSubjectContext(&subject);
    SeReleaseSubjectContext(&subject);
}

/* An absolute descriptor in one allocation: owner administrators, administrators everything, others reading. */
static PSECURITY_DESCRIPTOR Build(ACCESS_MASK administrators, ACCESS_MASK everyone)
{
    ULONG acl_size = sizeof(ACL) + 3 * sizeof(ACCESS_ALLOWED_ACE) + RtlLengthSid(SeExports->SeAliasAdminsSid) +
                     RtlLengthSid(SeExports->SeWorldSid) + RtlLengthSid(SeExports->SeLocalSystemSid);
    PSECURITY_DESCRIPTOR descriptor = ExAllocatePoolWithTag(PagedPool, SECURITY_DESCRIPTOR_MIN_LENGTH + 16 + acl_size, TAG);
    PACL acl;
    NTSTATUS status;

    if (descriptor == NULL) {
        return NULL;
    }
    acl = (PACL)((PUCHAR)descriptor + ((SECURITY_DESCRIPTOR_MIN_LENGTH + 7) & ~7));
    status = RtlCreateSecurityDescriptor(descriptor, SECURITY_DESCRIPTOR_REVISION);
    if (NT_SUCCESS(status)) {
        status = RtlCreateAcl(acl, acl_size, ACL_REVISION);
    }
    if (NT_SUCCESS(status)) {
        status = RtlAddAccessAllowedAce(acl, ACL_REVISION, administrators, SeExports->SeAliasAdminsSid);
    }
    if (NT_SUCCESS(status)) {
        status = RtlAddAccessAllowedAce(acl, ACL_REVISION, administrators, SeExports->SeLocalSystemSid);
    }
    if (NT_SUCCESS(status)) {
        status = RtlAddAccessAllowedAce(acl, ACL_REVISION, everyone, SeExports->SeWorldSid);
    }
    if (NT_SUCCESS(status)) {
        status = RtlSetDaclSecurityDescriptor(descriptor, TRUE, acl, FALSE);
    }
    if (NT_SUCCESS(status)) {
        status = RtlSetOwnerSecurityDescriptor(descriptor, SeExports->SeAliasAdminsSid, FALSE);
    }
    if (NT_SUCCESS(status)) {
        status = RtlSetGroupSecurityDescriptor(descriptor, SeExports->SeAliasAdminsSid, FALSE);
    }
    if (!NT_SUCCESS(status) || !RtlValidSecurityDescriptor(descriptor)) {
        ExFreePoolWithTag(descriptor, TAG);
        return NULL;
    }
    return descriptor;
}

static NTSTATUS Check(ACCESS_MASK wanted, CHECK *result)
{
    PSECURITY_DESCRIPTOR descriptor = Build(KEY_READ, KEY_READ);
    SECURITY_SUBJECT_CONTEXT subject;
    PPRIVILEGE_SET privileges = NULL;

    if (descriptor == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    result->granted = 0;
    result->status = STATUS_UNSUCCESSFUL;
    SeCaptureSubjectContext(&subject);
    if (SeAccessCheck(descriptor, &subject, FALSE, wanted, 0, &privileges, IoGetFileObjectGenericMapping(), UserMode,
                      &result->granted, &result->status)) {
        if (privileges != NULL) {
            SeFreePrivileges(privileges);
        }
    }
    SeReleaseSubjectContext(&subject);
    ExFreePoolWithTag(descriptor, TAG);
    return STATUS_SUCCESS;
}

/* As drivers do it: the descriptor self-relative, on a handle opened for the purpose. */
static NTSTATUS LockKey(PWCH text, USHORT length)
{
    UNICODE_STRING name = {length, length, text};
    PSECURITY_DESCRIPTOR descriptor, relative = NULL;
    OBJECT_ATTRIBUTES attributes;
    ULONG size = 0;
    HANDLE key;
    NTSTATUS status;

    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwOpenKey(&key, WRITE_DAC | READ_CONTROL, &attributes);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    descriptor = Build(KEY_ALL_ACCESS, KEY_READ);
    status = STATUS_INSUFFICIENT_RESOURCES;
    if (descriptor != NULL) {
        status = RtlAbsoluteToSelfRelativeSD(descriptor, NULL, &size);
        if (status == STATUS_BUFFER_TOO_SMALL) {
            relative = ExAllocatePoolWithTag(PagedPool, size, TAG);
            status = relative != NULL ? RtlAbsoluteToSelfRelativeSD(descriptor, relative, &size) : STATUS_INSUFFICIENT_RESOURCES;
        }
        if (NT_SUCCESS(status)) {
            status = ZwSetSecurityObject(key, DACL_SECURITY_INFORMATION, relative);
        }
        if (relative != NULL) {
            ExFreePoolWithTag(relative, TAG);
        }
        ExFreePoolWithTag(descriptor, TAG);
    }
    ZwClose(key);
    return status;
}

/* The users' key opened and its handle asked for its name; beside it the name of the requester's own key. */
static NTSTATUS Names(PWCH text, ULONG room, PULONG_PTR used)
{
    UNICODE_STRING users = RTL_CONSTANT_STRING(L"\\Registry\\User"), own;
    OBJECT_ATTRIBUTES attributes;
    UCHAR buffer[256];
    PUNICODE_STRING name = (PUNICODE_STRING)buffer;
    ULONG length;
    HANDLE key;
    NTSTATUS status;

    InitializeObjectAttributes(&attributes, &users, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwOpenKey(&key, KEY_READ, &attributes);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = ZwQueryObject(key, ObjectNameInformation, buffer, sizeof(buffer), &length);
    ZwClose(key);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = RtlFormatCurrentUserKeyPath(&own);
    if (NT_SUCCESS(status)) {
        status = RtlStringCbPrintfW(text, room, L"%wZ|%wZ", name, &own);
        *used = wcslen(text) * sizeof(WCHAR);
        RtlFreeUnicodeString(&own);
    }
    return status;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(argument2);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 == RegNtPreSetValueKey) {
        Remember();
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    PVOID system = irp->AssociatedIrp.SystemBuffer;
    NTSTATUS status = STATUS_BUFFER_TOO_SMALL;
    ULONG_PTR information = 0;

    UNREFERENCED_PARAMETER(device);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_WHO:
        if (out >= sizeof(last)) {
            ExAcquireFastMutex(&lock);
            information = wcslen(last) * sizeof(WCHAR);
            RtlCopyMemory(system, last, information);
            ExReleaseFastMutex(&lock);
            status = STATUS_SUCCESS;
        }
        break;
    case IOCTL_CHECK:
        if (in >= sizeof(ULONG) && out >= sizeof(CHECK)) {
            status = Check(*(PULONG)system, system);
            information = NT_SUCCESS(status) ? sizeof(CHECK) : 0;
        }
        break;
    case IOCTL_NAME:
        if (out >= sizeof(last)) {
            status = Names(system, out, &information);
        }
        break;
    case IOCTL_LOCK:
        status = in == 0 || in > 1024 ? STATUS_INVALID_PARAMETER : LockKey(system, (USHORT)in);
        break;
    default:
        status = STATUS_INVALID_DEVICE_REQUEST;
        break;
    }
    return FieldComplete(irp, status, information);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(cookie);
    FieldDelete(driver, L"\\DosDevices\\FieldSecurity");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    ExInitializeFastMutex(&lock);
    status = FieldCreate(driver, L"\\Device\\FieldSecurity", L"\\DosDevices\\FieldSecurity", 0, Control, Unload);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallback(Callback, NULL, &cookie);
        if (!NT_SUCCESS(status)) {
            FieldDelete(driver, L"\\DosDevices\\FieldSecurity");
        }
    }
    return status;
}
