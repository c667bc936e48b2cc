/*
 * A hider that answers enumerations itself: keys and values called "veiled..." are not there. It enumerates
 * the key again on a handle of its own, below all filters, and keeps each key object's place in an object context.
 *
 * harness: since 6.0
 * harness: with guarded
 */
#include "field.h"

#define TAG 'lieV'

typedef struct _PLACE {
    LIST_ENTRY link;
    ULONG asked, given; /* the index that was asked for, and the one it stood for */
    ULONG hidden;
} PLACE, *PPLACE;

typedef struct _REQUEST {
    PREG_ENUMERATE_KEY_INFORMATION key;
    PREG_ENUMERATE_VALUE_KEY_INFORMATION value;
    PVOID source;
    ULONG size;
} REQUEST, *PREQUEST;

static struct {
    UNICODE_STRING prefix;
    LARGE_INTEGER cookie;
    LIST_ENTRY places;
    KGUARDED_MUTEX lock;
    LONG contexts, nested;
} veil;

static BOOLEAN Veiled(PWCHAR name, ULONG length)
{
    UNICODE_STRING text;

    text.Buffer = name;
    text.Length = text.MaximumLength = (USHORT)length;
    return RtlPrefixUnicodeString(&veil.prefix, &text, TRUE);
}

static PPLACE PlaceOf(PVOID object, PVOID context)
{
    PPLACE place = context;
    PVOID old = NULL;

    if (place != NULL) {
        return place;
    }
    place = ExAllocatePoolWithTag(NonPagedPool, sizeof(*place), TAG);
    if (place == NULL) {
        return NULL;
    }
    RtlZeroMemory(place, sizeof(*place));
    if (!NT_SUCCESS(CmSetCallbackObjectContext(object, &veil.cookie, place, &old))) {
        ExFreePoolWithTag(place, TAG);
        return NULL;
    }
    KeAcquireGuardedMutex(&veil.lock);
    InsertTailList(&veil.places, &place->link);
    veil.contexts++;
    KeReleaseGuardedMutex(&veil.lock);
    return place;
}

static NTSTATUS Open(PVOID object, ACCESS_MASK access, PHANDLE handle)
{
    return ObOpenObjectByPointer(object, OBJ_KERNEL_HANDLE, NULL, access, OBJECT_TYPE_OF(CmKeyObjectType), KernelMode,
                                 handle);
}

/* The first subkey from `*index` on that may be seen, in the caller's layout, in `buffer`. */
static NTSTATUS NextKey(HANDLE key, PULONG index, KEY_INFORMATION_CLASS class, PVOID buffer, ULONG size, PULONG length)
{
    PKEY_BASIC_INFORMATION basic;
    NTSTATUS status;

    basic = ExAllocatePoolWithTag(PagedPool, 1024, TAG);
    if (basic == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (;;) {
        ULONG needed;

        veil.nested++;
        status = ZwEnumerateKey(key, *index, KeyBasicInformation, basic, 1024, &needed);
        if (!NT_SUCCESS(status) || !Veiled(basic->Name, basic->NameLength)) {
            break;
        }
        ++*index;
    }
    ExFreePoolWithTag(basic, TAG);
    return NT_SUCCESS(status) ? ZwEnumerateKey(key, *index, class, buffer, size, length) : status;
}

static NTSTATUS NTAPI GiveBack(PVOID context)
{
    PREQUEST request = context;
    PREG_ENUMERATE_KEY_INFORMATION info = request->key;

    if (request->size <= info->Length) {
        RtlCopyMemory(info->KeyInformation, request->source, request->size);
    }
    *info->ResultLength = request->size;
    return STATUS_SUCCESS;
}

static NTSTATUS EnumerateKey(PREG_ENUMERATE_KEY_INFORMATION info)
{
    PPLACE place = PlaceOf(info->Object, info->ObjectContext);
    REQUEST request = {.key = info};
    NTSTATUS status, copied;
    ULONG index, seen, size = info->Length < 16 ? 16 : info->Length;
    HANDLE key;

    if (place == NULL || !NT_SUCCESS(Open(info->Object, KEY_ENUMERATE_SUB_KEYS, &key))) {
        return STATUS_SUCCESS;
    }
    request.source = ExAllocatePoolWithTag(PagedPool, size, TAG);
    if (request.source == NULL) {
        ZwClose(key);
        return STATUS_SUCCESS;
    }
    /* counted from the start unless the caller goes on where it was */
    if (info->Index == place->asked + 1) {
        index = place->given + 1;
        seen = place->asked + 1;
    } else {
        index = seen = 0;
    }
    for (;; index++, seen++) {
        status = NextKey(key, &index, info->KeyInformationClass, request.source, size, &request.size);
        if (seen == info->Index || (!NT_SUCCESS(status) && status != STATUS_BUFFER_OVERFLOW)) {
            break;
        }
    }
    if (NT_SUCCESS(status)) {
        place->asked = info->Index;
        place->given = index;
    }
    if (NT_SUCCESS(status) || status == STATUS_BUFFER_OVERFLOW || status == STATUS_BUFFER_TOO_SMALL) {
        copied = guarded_call(GiveBack, &request);
        status = NT_SUCCESS(copied) ? status : copied;
    }
    ExFreePoolWithTag(request.source, TAG);
    ZwClose(key);
    return NT_SUCCESS(status) ? STATUS_CALLBACK_BYPASS : status;
}

static NTSTATUS NTAPI SkipValue(PVOID context)
{
    PREQUEST request = context;
    PREG_ENUMERATE_VALUE_KEY_INFORMATION info = request->value;
    PWCHAR name;
    ULONG length;

    if (info->KeyValueInformationClass == KeyValueBasicInformation) {
        PKEY_VALUE_BASIC_INFORMATION basic = info->KeyValueInformation;

        name = basic->Name;
        length = basic->NameLength;
    } else if (info->KeyValueInformationClass == KeyValueFullInformation) {
        PKEY_VALUE_FULL_INFORMATION full = info->KeyValueInformation;

        name = full->Name;
        length = full->NameLength;
    } else {
        return STATUS_SUCCESS;
    }
    return Veiled(name, length) ? STATUS_NO_MORE_ENTRIES : STATUS_SUCCESS;
}

/* Values are told in the post, from what the system has put there: the pre's structure says where that is. */
static NTSTATUS PostEnumerateValue(PREG_POST_OPERATION_INFORMATION post)
{
    REQUEST request = {.value = post->PreInformation};

    if (!NT_SUCCESS(post->Status) || guarded_call(SkipValue, &request) != STATUS_NO_MORE_ENTRIES) {
        return STATUS_SUCCESS;
    }
    post->ReturnStatus = STATUS_NO_MORE_ENTRIES;
    return STATUS_CALLBACK_BYPASS;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(context);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 == RegNtCallbackObjectContextCleanup) {
        PREG_CALLBACK_CONTEXT_CLEANUP_INFORMATION cleanup = argument2;
        PPLACE place = cleanup->ObjectContext;

        KeAcquireGuardedMutex(&veil.lock);
        RemoveEntryList(&place->link);
        veil.contexts--;
        KeReleaseGuardedMutex(&veil.lock);
        ExFreePoolWithTag(place, TAG);
        return STATUS_SUCCESS;
    }
    if (ExGetPreviousMode() == KernelMode) {
        return STATUS_SUCCESS;
    }
    switch ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1) {
    case RegNtPreEnumerateKey:
        return EnumerateKey(argument2);
    case RegNtPreEnumerateValueKey:
        /* legitimate: the structure lives until its operation is over */
        ((PREG_ENUMERATE_VALUE_KEY_INFORMATION)argument2)->CallContext = argument2;
        return STATUS_SUCCESS;
    case RegNtPostEnumerateValueKey:
        if (((PREG_POST_OPERATION_INFORMATION)argument2)->CallContext !=
            ((PREG_POST_OPERATION_INFORMATION)argument2)->PreInformation) {
            DbgPrint("veil: the structure moved\n");
        }
        return PostEnumerateValue(argument2);
    case RegNtPreQueryValueKey: {
        PUNICODE_STRING name = ((PREG_QUERY_VALUE_KEY_INFORMATION)argument2)->ValueName;

        if (name != NULL && RtlPrefixUnicodeString(&veil.prefix, name, TRUE)) {
            return STATUS_OBJECT_NAME_NOT_FOUND;
        }
        return STATUS_SUCCESS;
    }
    default:
        return STATUS_SUCCESS;
    }
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PULONG out = irp->AssociatedIrp.SystemBuffer;

    UNREFERENCED_PARAMETER(device);
    if (IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength < 2 * sizeof(ULONG)) {
        return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    }
    out[0] = veil.contexts;
    out[1] = veil.nested;
    return FieldComplete(irp, STATUS_SUCCESS, 2 * sizeof(ULONG));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(veil.cookie);
    if (!IsListEmpty(&veil.places)) {
        DbgPrint("veil: contexts left\n");
    }
    FieldDelete(driver, L"\\DosDevices\\FieldVeil");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    RtlInitUnicodeString(&veil.prefix, L"veiled");
    RtlInitUnicodeString(&altitude, L"389992");
    InitializeListHead(&veil.places);
    KeInitializeGuardedMutex(&veil.lock);
    status = FieldCreate(driver, L"\\Device\\FieldVeil", L"\\DosDevices\\FieldVeil", 0, Control, Unload);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &veil.cookie, NULL);
    if (!NT_SUCCESS(status)) {
        FieldDelete(driver, L"\\DosDevices\\FieldVeil");
    }
    return status;
}
