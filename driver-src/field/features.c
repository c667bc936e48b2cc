/*
 * A tour of what registry filtering offers, each stop an IOCTL: the input is the absolute name of a key to work
 * below, the output eight ULONGs, statuses and counts. Everything happens in the requester's thread.
 *
 * harness: since 6.0
 * harness: with guarded
 */
#include "field.h"

#define TAG 'aeFF'
#define RESULTS 8

#define TM_VOLATILE 1
#define RM_VOLATILE 1
#define NOTIFY_COMMIT 4
#define NOTIFY_ROLLBACK 8

typedef NTSTATUS(NTAPI *RM_NOTIFICATION)(PVOID enlistment, PVOID rm, PVOID transaction, ULONG notification,
                                         PLARGE_INTEGER clock, ULONG length, PVOID argument);

NTSYSAPI NTSTATUS NTAPI ZwCreateTransactionManager(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, PUNICODE_STRING, ULONG, ULONG);
NTSYSAPI NTSTATUS NTAPI ZwCreateResourceManager(PHANDLE, ACCESS_MASK, HANDLE, LPGUID, POBJECT_ATTRIBUTES, ULONG, PUNICODE_STRING);
NTSYSAPI NTSTATUS NTAPI ZwCreateEnlistment(PHANDLE, ACCESS_MASK, HANDLE, HANDLE, POBJECT_ATTRIBUTES, ULONG, ULONG, PVOID);
NTSYSAPI NTSTATUS NTAPI ZwCreateTransaction(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, LPGUID, HANDLE, ULONG, ULONG, ULONG,
                                            PLARGE_INTEGER, PUNICODE_STRING);
NTSYSAPI NTSTATUS NTAPI ZwCommitTransaction(HANDLE, BOOLEAN);
NTSYSAPI NTSTATUS NTAPI ZwRollbackTransaction(HANDLE, BOOLEAN);
NTSYSAPI NTSTATUS NTAPI ZwCreateKeyTransacted(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, ULONG, PUNICODE_STRING, ULONG, HANDLE, PULONG);
NTSYSAPI NTSTATUS NTAPI ZwOpenKeyTransacted(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, HANDLE);
NTSYSAPI NTSTATUS NTAPI TmEnableCallbacks(PVOID rm, RM_NOTIFICATION routine, PVOID key);
NTSYSAPI NTSTATUS NTAPI TmCommitComplete(PVOID enlistment, PLARGE_INTEGER clock);
NTSYSAPI NTSTATUS NTAPI TmRollbackComplete(PVOID enlistment, PLARGE_INTEGER clock);
NTSYSAPI extern POBJECT_TYPE *TmTransactionObjectType;
NTSYSAPI extern POBJECT_TYPE *TmResourceManagerObjectType;
NTSYSAPI PVOID NTAPI CmGetBoundTransaction(PLARGE_INTEGER cookie, PVOID object);

typedef enum _FEATURE {
    FeatureBlock,
    FeatureBypass,
    FeatureFail,
    FeatureRescue,
    FeatureEnlist,
    FeatureReplay,
    FeatureCallContext,
    FeatureObjectContext,
    FeatureAltitudeBlock,
    FeatureAltitudeCall,
    FeatureVersion,
    FeatureAbandon,
    FeatureLate,
    FeatureCount,
    FeatureCaptureStart = FeatureCount,
    FeatureCaptureStop
} FEATURE;

typedef struct _FILTER {
    FEATURE feature;
    LARGE_INTEGER cookie;
    HANDLE process;
    ULONG pre, post, cleanup, with_context, without_context;
    NTSTATUS inner;
    HANDLE kept;
    BOOLEAN acts; /* the middle one of three */
} FILTER, *PFILTER;

static PDRIVER_OBJECT self;
static HANDLE tm_handle, rm_handle;
static PVOID rm_object;
static ULONG outcome;
static FILTER capture;

static BOOLEAN Named(PCUNICODE_STRING name, PCWSTR text)
{
    UNICODE_STRING wanted;

    RtlInitUnicodeString(&wanted, text);
    return name != NULL && RtlEqualUnicodeString((PUNICODE_STRING)name, &wanted, TRUE);
}

static NTSTATUS HandleOf(PVOID object, PHANDLE handle)
{
    return ObOpenObjectByPointer(object, OBJ_KERNEL_HANDLE, NULL, KEY_ALL_ACCESS, OBJECT_TYPE_OF(CmKeyObjectType), KernelMode, handle);
}

static NTSTATUS OpenBelow(HANDLE root, PCWSTR text, BOOLEAN create, HANDLE transaction, PHANDLE key)
{
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING name;

    RtlInitUnicodeString(&name, text);
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, root, NULL);
    if (transaction != NULL) {
        return create ? ZwCreateKeyTransacted(key, KEY_ALL_ACCESS, &attributes, 0, NULL, 0, transaction, NULL)
                      : ZwOpenKeyTransacted(key, KEY_ALL_ACCESS, &attributes, transaction);
    }
    return create ? ZwCreateKey(key, KEY_ALL_ACCESS, &attributes, 0, NULL, 0, NULL)
                  : ZwOpenKey(key, KEY_ALL_ACCESS, &attributes);
}

/* Opens or creates and closes again: only the status counts. */
static NTSTATUS Touch(HANDLE root, PCWSTR text, BOOLEAN create, HANDLE transaction)
{
    HANDLE key;
    NTSTATUS status = OpenBelow(root, text, create, transaction, &key);

    if (NT_SUCCESS(status)) {
        ZwClose(key);
    }
    return status;
}

static NTSTATUS SetDword(HANDLE key, PCWSTR text, ULONG value)
{
    UNICODE_STRING name;

    RtlInitUnicodeString(&name, text);
    return ZwSetValueKey(key, &name, 0, REG_DWORD, &value, sizeof(value));
}

static NTSTATUS HasValue(HANDLE key, PCWSTR text)
{
    UCHAR buffer[64];
    UNICODE_STRING name;
    ULONG length;

    RtlInitUnicodeString(&name, text);
    return ZwQueryValueKey(key, &name, KeyValuePartialInformation, buffer, sizeof(buffer), &length);
}

static VOID RemoveKey(HANDLE root, PCWSTR text)
{
    HANDLE key;

    if (NT_SUCCESS(OpenBelow(root, text, FALSE, NULL, &key))) {
        ZwDeleteKey(key);
        ZwClose(key);
    }
}

/* --- what the callbacks do -------------------------------------------------------------------------- */

/* The key `text` below the root of this create or open, referenced for the caller. */
static NTSTATUS Substitute(PREG_CREATE_KEY_INFORMATION info, PCWSTR text, BOOLEAN create, PVOID *object)
{
    HANDLE root, key;
    NTSTATUS status = HandleOf(info->RootObject, &root);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = OpenBelow(root, text, create, NULL, &key);
    ZwClose(root);
    if (NT_SUCCESS(status)) {
        status = ObReferenceObjectByHandle(key, info->DesiredAccess, OBJECT_TYPE_OF(CmKeyObjectType), KernelMode, object, NULL);
        ZwClose(key);
    }
    return status;
}

static NTSTATUS BypassCreate(PREG_CREATE_KEY_INFORMATION info)
{
    PVOID object;
    NTSTATUS status = Substitute(info, L"modified", TRUE, &object);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    *info->ResultObject = object;
    info->GrantedAccess = info->DesiredAccess;
    if (info->Disposition != NULL) {
        *info->Disposition = REG_CREATED_NEW_KEY; /* the requester is this driver: kernel memory */
    }
    return STATUS_CALLBACK_BYPASS;
}

static NTSTATUS OnObjectOf(PVOID object, NTSTATUS (*action)(HANDLE key, PVOID context), PVOID context)
{
    HANDLE key;
    NTSTATUS status = HandleOf(object, &key);

    if (NT_SUCCESS(status)) {
        status = action(key, context);
        ZwClose(key);
    }
    return status;
}

static NTSTATUS SetModified(HANDLE key, PVOID context)
{
    PREG_SET_VALUE_KEY_INFORMATION set = context;
    UNICODE_STRING name;

    RtlInitUnicodeString(&name, L"modified");
    return ZwSetValueKey(key, &name, set->TitleIndex, set->Type, set->Data, set->DataSize);
}

static NTSTATUS DeleteValue(HANDLE key, PVOID name)
{
    return ZwDeleteValueKey(key, name);
}

static NTSTATUS Rescue(PREG_POST_OPERATION_INFORMATION post)
{
    PREG_OPEN_KEY_INFORMATION info = post->PreInformation;
    PVOID object;

    if (post->Status != STATUS_OBJECT_NAME_NOT_FOUND || !Named(info->CompleteName, L"missing") ||
        !NT_SUCCESS(Substitute(info, L"present", FALSE, &object))) {
        return STATUS_SUCCESS;
    }
    *info->ResultObject = object;
    info->GrantedAccess = info->DesiredAccess;
    post->Object = object;
    post->ReturnStatus = STATUS_SUCCESS;
    return STATUS_CALLBACK_BYPASS;
}

static PVOID TransactionOf(PFILTER filter, PREG_CREATE_KEY_INFORMATION info)
{
    return info->Transaction != NULL ? info->Transaction : CmGetBoundTransaction(&filter->cookie, info->RootObject);
}

static VOID Enlist(PFILTER filter, PREG_CREATE_KEY_INFORMATION info)
{
    PVOID transaction = TransactionOf(filter, info);
    HANDLE handle, enlistment;

    filter->inner = STATUS_TRANSACTION_NOT_FOUND;
    if (transaction == NULL) {
        return;
    }
    filter->inner = ObOpenObjectByPointer(transaction, OBJ_KERNEL_HANDLE, NULL, TRANSACTION_ALL_ACCESS,
                                          OBJECT_TYPE_OF(TmTransactionObjectType), KernelMode, &handle);
    if (!NT_SUCCESS(filter->inner)) {
        return;
    }
    filter->inner = ZwCreateEnlistment(&enlistment, ENLISTMENT_ALL_ACCESS, rm_handle, handle, NULL, 0,
                                       NOTIFY_COMMIT | NOTIFY_ROLLBACK, filter);
    if (NT_SUCCESS(filter->inner) && filter->feature == FeatureAbandon) {
        ZwClose(enlistment);
    } else if (NT_SUCCESS(filter->inner)) {
        filter->kept = enlistment; /* until the outcome */
    }
    ZwClose(handle);
}

/* Opens a key and leaves the handle to somebody else. */
static VOID OpenForLater(PFILTER filter, PREG_CREATE_KEY_INFORMATION info)
{
    HANDLE root;

    filter->inner = HandleOf(info->RootObject, &root);
    if (NT_SUCCESS(filter->inner)) {
        filter->inner = OpenBelow(root, L"present", FALSE, NULL, &filter->kept);
        ZwClose(root);
    }
}

static VOID Replay(PFILTER filter, PREG_CREATE_KEY_INFORMATION info)
{
    PVOID transaction = TransactionOf(filter, info);
    HANDLE handle, root;

    filter->inner = STATUS_TRANSACTION_NOT_FOUND;
    if (transaction == NULL) {
        return;
    }
    filter->inner = ObOpenObjectByPointer(transaction, OBJ_KERNEL_HANDLE, NULL, TRANSACTION_ALL_ACCESS,
                                          OBJECT_TYPE_OF(TmTransactionObjectType), KernelMode, &handle);
    if (!NT_SUCCESS(filter->inner)) {
        return;
    }
    filter->inner = HandleOf(info->RootObject, &root);
    if (NT_SUCCESS(filter->inner)) {
        filter->inner = Touch(root, L"modified", TRUE, handle);
        ZwClose(root);
    }
    ZwClose(handle);
}

static VOID CallBelow(PFILTER filter, PVOID object)
{
    PCUNICODE_STRING name;
    OBJECT_ATTRIBUTES attributes;
    HANDLE key;

    filter->inner = CmCallbackGetKeyObjectID(&filter->cookie, object, NULL, &name);
    if (NT_SUCCESS(filter->inner)) {
        InitializeObjectAttributes(&attributes, (PUNICODE_STRING)name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
        filter->inner = ZwOpenKey(&key, KEY_READ, &attributes);
        if (NT_SUCCESS(filter->inner)) {
            ZwClose(key);
        }
    }
}

typedef struct _COPY {
    PVOID destination, source;
    ULONG length;
} COPY;

static NTSTATUS NTAPI CopyIn(PVOID context)
{
    COPY *copy = context;

    RtlCopyMemory(copy->destination, copy->source, copy->length);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI ProbeIt(PVOID context)
{
    COPY *copy = context;

    ProbeForRead(copy->source, copy->length, 1);
    return STATUS_SUCCESS;
}

static NTSTATUS SetCopy(HANDLE key, PVOID context)
{
    PREG_SET_VALUE_KEY_INFORMATION set = context;
    COPY copy = {NULL, set->Data, set->DataSize};
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

    copy.destination = ExAllocatePoolWithTag(PagedPool, set->DataSize + 1, TAG);
    if (copy.destination != NULL) {
        status = guarded_call(CopyIn, &copy);
        if (NT_SUCCESS(status)) {
            status = ZwSetValueKey(key, set->ValueName, set->TitleIndex, set->Type, copy.destination, set->DataSize);
        }
        ExFreePoolWithTag(copy.destination, TAG);
    }
    return status;
}

static NTSTATUS ObjectContext(PFILTER filter, REG_NOTIFY_CLASS class, PVOID information)
{
    PREG_POST_OPERATION_INFORMATION post = information;
    PREG_SET_VALUE_KEY_INFORMATION set = information;

    switch (class) {
    case RegNtPostOpenKeyEx:
        if (NT_SUCCESS(post->Status) && filter->post++ == 0) {
            filter->inner = CmSetCallbackObjectContext(post->Object, &filter->cookie, filter, NULL);
        }
        break;
    case RegNtPreSetValueKey:
        *(set->ObjectContext != NULL ? &filter->with_context : &filter->without_context) += 1;
        break;
    case RegNtPostSetValueKey:
        *(post->ObjectContext != NULL ? &filter->with_context : &filter->without_context) += 1;
        break;
    case RegNtCallbackObjectContextCleanup:
        filter->cleanup += ((PREG_CALLBACK_CONTEXT_CLEANUP_INFORMATION)information)->ObjectContext == filter;
        break;
    default:
        break;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID information)
{
    REG_NOTIFY_CLASS class = (REG_NOTIFY_CLASS)(ULONG_PTR)argument1;
    PREG_CREATE_KEY_INFORMATION create = information;
    PREG_SET_VALUE_KEY_INFORMATION set = information;
    PREG_POST_OPERATION_INFORMATION post = information;
    PFILTER filter = context;
    NTSTATUS status;

    if (filter->feature != FeatureCaptureStart && PsGetCurrentProcessId() != filter->process) {
        return STATUS_SUCCESS;
    }
    switch (filter->feature) {
    case FeatureBlock:
        if ((class == RegNtPreCreateKeyEx && Named(create->CompleteName, L"blocked")) ||
            (class == RegNtPreSetValueKey && Named(set->ValueName, L"blocked"))) {
            return STATUS_ACCESS_DENIED;
        }
        break;
    case FeatureBypass:
        if (class == RegNtPreCreateKeyEx && Named(create->CompleteName, L"original")) {
            return BypassCreate(create);
        }
        if (class == RegNtPreSetValueKey && Named(set->ValueName, L"original")) {
            status = OnObjectOf(set->Object, SetModified, set);
            return NT_SUCCESS(status) ? STATUS_CALLBACK_BYPASS : status;
        }
        break;
    case FeatureFail:
        if (class == RegNtPostSetValueKey && NT_SUCCESS(post->Status) &&
            Named(((PREG_SET_VALUE_KEY_INFORMATION)post->PreInformation)->ValueName, L"doomed")) {
            filter->inner = OnObjectOf(post->Object, DeleteValue, ((PREG_SET_VALUE_KEY_INFORMATION)post->PreInformation)->ValueName);
            post->ReturnStatus = STATUS_ACCESS_DENIED;
            return STATUS_CALLBACK_BYPASS;
        }
        break;
    case FeatureRescue:
        return class == RegNtPostOpenKeyEx ? Rescue(post) : STATUS_SUCCESS;
    case FeatureEnlist:
    case FeatureAbandon:
    case FeatureReplay:
        if (class == RegNtPreCreateKeyEx && Named(create->CompleteName, L"original")) {
            (filter->feature == FeatureReplay ? Replay : Enlist)(filter, create);
        }
        break;
    case FeatureLate:
        if (class == RegNtPreCreateKeyEx && Named(create->CompleteName, L"original")) {
            OpenForLater(filter, create);
        }
        break;
    case FeatureCallContext:
        if (class == RegNtPreCreateKeyEx) {
            create->CallContext = filter;
        } else if (class == RegNtPreSetValueKey) {
            set->CallContext = filter;
        } else if (class == RegNtPostCreateKeyEx || class == RegNtPostSetValueKey) {
            filter->with_context += post->CallContext == filter;
        }
        break;
    case FeatureObjectContext:
        return ObjectContext(filter, class, information);
    case FeatureAltitudeBlock:
    case FeatureAltitudeCall:
        if (class == RegNtPreCreateKeyEx || class == RegNtPreOpenKeyEx) {
            filter->pre++;
        } else if (class == RegNtPostCreateKeyEx || class == RegNtPostOpenKeyEx) {
            filter->post++;
        }
        if (filter->acts && class == RegNtPreCreateKeyEx) {
            if (filter->feature == FeatureAltitudeBlock) {
                return STATUS_ACCESS_DENIED;
            }
            CallBelow(filter, create->RootObject);
        } else if (filter->acts && class == RegNtPostCreateKeyEx && NT_SUCCESS(post->Status)) {
            CallBelow(filter, post->Object);
        }
        break;
    case FeatureVersion:
        if (class == RegNtPreCreateKeyEx) {
            PREG_CREATE_KEY_INFORMATION_V1 v1 = information;

            filter->pre = (ULONG)v1->Version;
            filter->inner = v1->Version == 1 && v1->RemainingName != NULL ? v1->RemainingName->Length : 0;
        }
        break;
    case FeatureCaptureStart:
        if (class == RegNtPreSetValueKey && ExGetPreviousMode() == UserMode && Named(set->ValueName, L"captured")) {
            COPY copy = {NULL, set->Data, set->DataSize};

            if (set->DataSize != 0) {
                filter->inner = guarded_call(ProbeIt, &copy);
            }
            status = OnObjectOf(set->Object, SetCopy, set);
            return NT_SUCCESS(status) ? STATUS_CALLBACK_BYPASS : status;
        }
        break;
    default:
        break;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Outcome(PVOID enlistment, PVOID rm, PVOID transaction, ULONG notification, PLARGE_INTEGER clock,
                              ULONG length, PVOID argument)
{
    UNREFERENCED_PARAMETER(rm);
    UNREFERENCED_PARAMETER(transaction);
    UNREFERENCED_PARAMETER(length);
    UNREFERENCED_PARAMETER(argument);
    outcome |= notification;
    return notification == NOTIFY_COMMIT ? TmCommitComplete(enlistment, clock) : TmRollbackComplete(enlistment, clock);
}

/* --- what the requests do --------------------------------------------------------------------------- */

static NTSTATUS Start(PFILTER filter, FEATURE feature, PCWSTR altitude)
{
    UNICODE_STRING text;

    RtlZeroMemory(filter, sizeof(*filter));
    filter->feature = feature;
    filter->process = PsGetCurrentProcessId();
    filter->inner = STATUS_PENDING;
    RtlInitUnicodeString(&text, altitude);
    return CmRegisterCallbackEx(Callback, &text, self, filter, &filter->cookie, NULL);
}

static VOID RunValues(FEATURE feature, HANDLE root, PULONG results)
{
    FILTER filter;
    HANDLE key;

    results[0] = Start(&filter, feature, L"380010");
    results[1] = Touch(root, feature == FeatureBlock ? L"blocked" : L"original", TRUE, NULL);
    results[2] = SetDword(root, feature == FeatureBlock ? L"blocked" : feature == FeatureFail ? L"doomed" : L"original", 7);
    results[3] = Touch(root, L"free", TRUE, NULL);
    results[4] = SetDword(root, L"free", 1);
    results[5] = filter.inner;
    CmUnRegisterCallback(filter.cookie);
    results[6] = HasValue(root, feature == FeatureFail ? L"doomed" : L"modified");
    results[7] = OpenBelow(root, L"original", FALSE, NULL, &key);
    if (NT_SUCCESS((NTSTATUS)results[7])) {
        ZwClose(key);
    }
    RemoveKey(root, L"free");
    RemoveKey(root, L"original");
    RemoveKey(root, L"modified");
}

static VOID RunRescue(HANDLE root, PULONG results)
{
    FILTER filter;

    results[0] = Touch(root, L"present", TRUE, NULL);
    results[1] = Start(&filter, FeatureRescue, L"380010");
    results[2] = Touch(root, L"missing", FALSE, NULL);
    results[3] = Touch(root, L"gone", FALSE, NULL);
    CmUnRegisterCallback(filter.cookie);
    results[4] = Touch(root, L"missing", FALSE, NULL);
    RemoveKey(root, L"present");
}

static VOID RunTransaction(FEATURE feature, PCWSTR path, HANDLE root, PULONG results)
{
    FILTER filter;
    OBJECT_ATTRIBUTES attributes;
    HANDLE transaction, transacted;

    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    results[0] = ZwCreateTransaction(&transaction, TRANSACTION_ALL_ACCESS, &attributes, NULL, NULL, 0, 0, 0, NULL, NULL);
    if (!NT_SUCCESS((NTSTATUS)results[0])) {
        return;
    }
    outcome = 0;
    results[1] = OpenBelow(NULL, path, FALSE, transaction, &transacted);
    if (NT_SUCCESS((NTSTATUS)results[1])) {
        Start(&filter, feature, L"380010");
        results[2] = Touch(transacted, L"original", TRUE, NULL);
        results[3] = filter.inner;
        results[4] = Touch(transacted, L"modified", FALSE, NULL);
        results[5] = feature == FeatureReplay ? ZwRollbackTransaction(transaction, TRUE) : ZwCommitTransaction(transaction, TRUE);
        if (filter.kept != NULL) {
            ZwClose(filter.kept);
        }
        ZwClose(transacted);
        CmUnRegisterCallback(filter.cookie);
    }
    ZwClose(transaction);
    results[6] = outcome;
    results[7] = Touch(root, L"original", FALSE, NULL);
    RemoveKey(root, L"original");
}

static VOID NTAPI CloseKept(PVOID context)
{
    PFILTER filter = context;

    filter->cleanup = HandleToULong(PsGetCurrentProcessId());
    filter->inner = ZwClose(filter->kept);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* A handle opened inside a callback is closed by a system thread, outside of any. */
static VOID RunLate(HANDLE root, PULONG results)
{
    OBJECT_ATTRIBUTES attributes;
    HANDLE thread;
    FILTER filter;

    results[0] = Touch(root, L"present", TRUE, NULL);
    results[1] = Start(&filter, FeatureLate, L"380010");
    results[2] = Touch(root, L"original", TRUE, NULL);
    CmUnRegisterCallback(filter.cookie);
    results[3] = filter.inner;
    if (filter.kept != NULL) {
        InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
        results[4] = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, &attributes, NULL, NULL, CloseKept, &filter);
        if (NT_SUCCESS((NTSTATUS)results[4])) {
            ZwWaitForSingleObject(thread, FALSE, NULL);
            ZwClose(thread);
        } else {
            ZwClose(filter.kept);
        }
    }
    results[5] = filter.inner;
    results[6] = filter.cleanup;
    RemoveKey(root, L"original");
    RemoveKey(root, L"present");
}

static VOID RunContexts(FEATURE feature, PCWSTR path, HANDLE root, PULONG results)
{
    FILTER filter;
    HANDLE first, second;

    results[0] = Start(&filter, feature, L"380010");
    if (feature == FeatureCallContext) {
        results[1] = Touch(root, L"called", TRUE, NULL);
        results[2] = SetDword(root, L"called", 1);
    } else {
        results[1] = OpenBelow(NULL, path, FALSE, NULL, &first);
        results[2] = OpenBelow(NULL, path, FALSE, NULL, &second);
        SetDword(first, L"called", 1);
        SetDword(second, L"called", 2);
    }
    CmUnRegisterCallback(filter.cookie);
    results[3] = filter.with_context;
    results[4] = filter.without_context;
    results[5] = filter.cleanup;
    results[6] = filter.inner;
    if (feature == FeatureObjectContext) {
        ZwClose(first);
        ZwClose(second);
    }
    RemoveKey(root, L"called");
}

static VOID RunAltitudes(FEATURE feature, HANDLE root, PULONG results)
{
    static const PCWSTR altitudes[3] = {L"380020", L"380010", L"380000"};
    PFILTER filters = ExAllocatePoolWithTag(NonPagedPool, 3 * sizeof(FILTER), TAG);
    ULONG index;

    if (filters == NULL) {
        results[0] = STATUS_INSUFFICIENT_RESOURCES;
        return;
    }
    for (index = 0; index < 3; index++) {
        Start(&filters[index], feature, altitudes[index]);
        filters[index].acts = index == 1;
    }
    results[0] = Touch(root, L"three", TRUE, NULL);
    for (index = 0; index < 3; index++) {
        CmUnRegisterCallback(filters[index].cookie);
        results[1 + 2 * index] = filters[index].pre;
        results[2 + 2 * index] = filters[index].post;
    }
    results[7] = filters[1].inner;
    ExFreePoolWithTag(filters, TAG);
    RemoveKey(root, L"three");
}

static VOID RunVersion(HANDLE root, PULONG results)
{
    FILTER filter;

    CmGetCallbackVersion(&results[0], &results[1]);
    results[2] = Start(&filter, FeatureVersion, L"380010");
    results[3] = Touch(root, L"version", TRUE, NULL);
    results[4] = filter.pre;
    results[5] = filter.inner;
    CmUnRegisterCallback(filter.cookie);
    RemoveKey(root, L"version");
}

static NTSTATUS Run(FEATURE feature, PCWSTR path, PULONG results)
{
    HANDLE root;
    NTSTATUS status = OpenBelow(NULL, path, FALSE, NULL, &root);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    switch (feature) {
    case FeatureBlock:
    case FeatureBypass:
    case FeatureFail:
        RunValues(feature, root, results);
        break;
    case FeatureRescue:
        RunRescue(root, results);
        break;
    case FeatureLate:
        RunLate(root, results);
        break;
    case FeatureEnlist:
    case FeatureAbandon:
    case FeatureReplay:
        RunTransaction(feature, path, root, results);
        break;
    case FeatureCallContext:
    case FeatureObjectContext:
        RunContexts(feature, path, root, results);
        break;
    case FeatureAltitudeBlock:
    case FeatureAltitudeCall:
        RunAltitudes(feature, root, results);
        break;
    case FeatureVersion:
        RunVersion(root, results);
        break;
    default:
        break;
    }
    ZwClose(root);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength, results[RESULTS] = {0};
    ULONG number = (stack->Parameters.DeviceIoControl.IoControlCode >> 2 & 0xFFF) - 0x800;
    NTSTATUS status;
    PWSTR path;

    UNREFERENCED_PARAMETER(device);
    if (number == FeatureCaptureStart) {
        status = capture.cookie.QuadPart != 0 ? STATUS_DEVICE_BUSY : Start(&capture, FeatureCaptureStart, L"380010");
        return FieldComplete(irp, status, 0);
    }
    if (number == FeatureCaptureStop) {
        status = CmUnRegisterCallback(capture.cookie);
        capture.cookie.QuadPart = 0;
        if (!NT_SUCCESS(status) || stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(ULONG)) {
            return FieldComplete(irp, status, 0);
        }
        *(PULONG)irp->AssociatedIrp.SystemBuffer = capture.inner; /* of probing the last value's data */
        return FieldComplete(irp, status, sizeof(ULONG));
    }
    if (number >= FeatureCount || in % sizeof(WCHAR) || in > 1024 ||
        stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(results)) {
        return FieldComplete(irp, STATUS_INVALID_PARAMETER, 0);
    }
    path = ExAllocatePoolWithTag(PagedPool, in + sizeof(WCHAR), TAG);
    if (path == NULL) {
        return FieldComplete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    }
    RtlCopyMemory(path, irp->AssociatedIrp.SystemBuffer, in);
    path[in / sizeof(WCHAR)] = UNICODE_NULL;
    status = Run(number, path, results);
    ExFreePoolWithTag(path, TAG);
    if (!NT_SUCCESS(status)) {
        return FieldComplete(irp, status, 0);
    }
    RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, results, sizeof(results));
    return FieldComplete(irp, STATUS_SUCCESS, sizeof(results));
}

static VOID DeleteTransactionObjects(VOID)
{
    if (rm_object != NULL) {
        ObDereferenceObject(rm_object);
    }
    if (rm_handle != NULL) {
        ZwClose(rm_handle);
    }
    if (tm_handle != NULL) {
        ZwClose(tm_handle);
    }
}

static NTSTATUS CreateTransactionObjects(VOID)
{
    static GUID id = {0x5a7e1d2c, 0x9b40, 0x4f6b, {0x93, 0x11, 0x20, 0x6f, 0x8c, 0xd5, 0x47, 0xe2}};
    OBJECT_ATTRIBUTES attributes;
    NTSTATUS status;

    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwCreateTransactionManager(&tm_handle, 0x1F003F, &attributes, NULL, TM_VOLATILE, 0);
    if (NT_SUCCESS(status)) {
        status = ZwCreateResourceManager(&rm_handle, 0x1F007F, tm_handle, &id, &attributes, RM_VOLATILE, NULL);
    }
    if (NT_SUCCESS(status)) {
        status = ObReferenceObjectByHandle(rm_handle, 0x1F007F, OBJECT_TYPE_OF(TmResourceManagerObjectType), KernelMode, &rm_object, NULL);
    }
    if (NT_SUCCESS(status)) {
        status = TmEnableCallbacks(rm_object, Outcome, NULL);
    }
    if (!NT_SUCCESS(status)) {
        DbgPrint("features: no transactions, %08x\n", status);
        DeleteTransactionObjects();
    }
    return status;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    if (capture.cookie.QuadPart != 0) {
        CmUnRegisterCallback(capture.cookie);
    }
    DeleteTransactionObjects();
    FieldDelete(driver, L"\\DosDevices\\FieldFeatures");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    self = driver;
    status = CreateTransactionObjects();
    if (NT_SUCCESS(status)) {
        status = FieldCreate(driver, L"\\Device\\FieldFeatures", L"\\DosDevices\\FieldFeatures", 0, Control, Unload);
        if (!NT_SUCCESS(status)) {
            DeleteTransactionObjects();
        }
    }
    return status;
}
