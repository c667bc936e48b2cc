/*
 * Registry calls of the probe: from a request, from inside a callback, or from a system worker thread.
 */
#include "regprobe_internal.h"

typedef struct _WORK {
    REGISTRY_CALL *call;
    KEVENT done;
} WORK;

NTSTATUS KeyOpenByPointer(PVOID object, ACCESS_MASK access, HANDLE *handle)
{
    /* No object type: CmKeyObjectType is not exported everywhere, and kernel mode needs none. */
    return ObOpenObjectByPointer(object, OBJ_KERNEL_HANDLE, NULL, access, NULL, KernelMode, handle);
}

static NTSTATUS OpenTarget(REGISTRY_CALL *call, HANDLE *handle)
{
    OBJECT_ATTRIBUTES attributes;
    ULONG flags = OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE;
    ACCESS_MASK access = call->access != 0 ? call->access : KEY_ALL_ACCESS;

    if (call->flags & REGPROBE_CALL_FORCE_ACCESS_CHECK) {
        flags |= OBJ_FORCE_ACCESS_CHECK;
    }
    if (call->flags & REGPROBE_CALL_OPEN_LINK) {
        flags |= OBJ_OPENLINK;
    }
    InitializeObjectAttributes(&attributes, (PUNICODE_STRING)call->target, flags, call->root, NULL);
    if (call->create || call->call == REGPROBE_CALL_CREATE_KEY) {
        return ZwCreateKey(handle, access, &attributes, 0, NULL, REG_OPTION_NON_VOLATILE, &call->disposition);
    }
    return ZwOpenKey(handle, access, &attributes);
}

static VOID ReferenceTarget(REGISTRY_CALL *call, HANDLE handle)
{
    PVOID object;

    if (NT_SUCCESS(ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, &object, NULL))) {
        call->object = object; /* told as a number; the reference is not kept */
        ObDereferenceObject(object);
    }
}

static NTSTATUS QueryName(REGISTRY_CALL *call, HANDLE handle)
{
    PVOID object;
    NTSTATUS status = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, &object, NULL);

    if (NT_SUCCESS(status)) {
        status = ObQueryNameString(object, call->data, call->data_length, &call->result_length);
        ObDereferenceObject(object);
    }
    return status;
}

static NTSTATUS Perform(REGISTRY_CALL *call, HANDLE handle)
{
    PUNICODE_STRING value_name = (PUNICODE_STRING)call->value_name;

    switch (call->call) {
    case REGPROBE_CALL_OPEN_KEY:
    case REGPROBE_CALL_CREATE_KEY:
        return STATUS_SUCCESS;
    case REGPROBE_CALL_DELETE_KEY:
        return ZwDeleteKey(handle);
    case REGPROBE_CALL_QUERY_VALUE:
        return ZwQueryValueKey(
            handle, value_name, KeyValuePartialInformation, call->data, call->data_length, &call->result_length);
    case REGPROBE_CALL_SET_VALUE:
        return ZwSetValueKey(handle, value_name, 0, call->value_type, call->data, call->data_length);
    case REGPROBE_CALL_DELETE_VALUE:
        return ZwDeleteValueKey(handle, value_name);
    case REGPROBE_CALL_ENUMERATE_KEY:
        return ZwEnumerateKey(
            handle, call->index, KeyBasicInformation, call->data, call->data_length, &call->result_length);
    case REGPROBE_CALL_QUERY_KEY:
        return ZwQueryKey(handle, KeyFullInformation, call->data, call->data_length, &call->result_length);
    case REGPROBE_CALL_FLUSH_KEY:
        return probe.routines.flush_key != NULL ? probe.routines.flush_key(handle) : PROBE_STATUS_PROCEDURE_NOT_FOUND;
    case REGPROBE_CALL_QUERY_NAME:
        return QueryName(call, handle);
    default:
        return STATUS_INVALID_PARAMETER;
    }
}

/* PASSIVE_LEVEL. */
VOID RegistryCallRun(REGISTRY_CALL *call)
{
    HANDLE handle = NULL;

    call->process_id = PsGetCurrentProcessId();
    call->thread_id = PsGetCurrentThreadId();
    call->time_begin = KeQueryPerformanceCounter(NULL).QuadPart;
    call->open_status = OpenTarget(call, &handle);
    call->status = call->open_status;
    if (NT_SUCCESS(call->open_status)) {
        ReferenceTarget(call, handle);
        call->status = Perform(call, handle);
        ZwClose(handle);
    }
    call->time_end = KeQueryPerformanceCounter(NULL).QuadPart;
}

static VOID NTAPI WorkRoutine(PDEVICE_OBJECT device, PVOID context)
{
    WORK *work = context;

    UNREFERENCED_PARAMETER(device);
    RegistryCallRun(work->call);
    KeSetEvent(&work->done, IO_NO_INCREMENT, FALSE);
}

/* The same from a system worker thread; returns when it is done. */
NTSTATUS RegistryCallRunInWorker(REGISTRY_CALL *call)
{
    PIO_WORKITEM item = IoAllocateWorkItem(probe.device);
    WORK work;

    if (item == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    work.call = call;
    KeInitializeEvent(&work.done, NotificationEvent, FALSE);
    IoQueueWorkItem(item, WorkRoutine, DelayedWorkQueue, &work);
    KeWaitForSingleObject(&work.done, Executive, KernelMode, FALSE, NULL);
    IoFreeWorkItem(item);
    return STATUS_SUCCESS;
}

NTSTATUS KernelCall(const REGPROBE_KERNEL_CALL *request, REGPROBE_KERNEL_CALL_REPLY *reply)
{
    const BOOLEAN writes = request->call == REGPROBE_CALL_SET_VALUE;
    REGPROBE_KERNEL_CALL *copy;
    UNICODE_STRING target, value_name;
    REGISTRY_CALL call;
    NTSTATUS status = STATUS_SUCCESS;

    if (request->target_length > sizeof(request->target) || request->value_name_length > sizeof(request->value_name)
        || request->data_length > sizeof(request->data) || ((request->target_length | request->value_name_length) & 1)
        || request->call < REGPROBE_CALL_OPEN_KEY || request->call > REGPROBE_CALL_QUERY_NAME) {
        return STATUS_INVALID_PARAMETER;
    }
    /* Buffers of its own in pool: the addresses told in the reply are those the system was given (B-CAP-02). */
    copy = ProbeAllocate(sizeof(*copy));
    if (copy == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlCopyMemory(copy, request, sizeof(*copy));
    target.Buffer = (PWSTR)copy->target;
    target.Length = target.MaximumLength = (USHORT)copy->target_length;
    value_name.Buffer = (PWSTR)copy->value_name;
    value_name.Length = value_name.MaximumLength = (USHORT)copy->value_name_length;
    RtlZeroMemory(&call, sizeof(call));
    call.call = copy->call;
    call.flags = copy->flags;
    call.access = copy->access;
    call.value_type = copy->value_type;
    call.index = copy->index;
    call.target = &target;
    call.value_name = &value_name;
    call.data = copy->data;
    call.data_length = writes || copy->data_length != 0 ? copy->data_length : sizeof(copy->data);
    if (copy->flags & REGPROBE_CALL_WORK_ITEM) {
        status = RegistryCallRunInWorker(&call);
    } else {
        RegistryCallRun(&call);
    }
    if (NT_SUCCESS(status)) {
        RtlZeroMemory(reply, FIELD_OFFSET(REGPROBE_KERNEL_CALL_REPLY, data));
        reply->status = call.status;
        reply->open_status = call.open_status;
        reply->disposition = call.disposition;
        reply->result_length = call.result_length;
        reply->process_id = Address(call.process_id);
        reply->thread_id = Address(call.thread_id);
        reply->time_begin = (ULONG64)call.time_begin;
        reply->time_end = (ULONG64)call.time_end;
        reply->object = Address(call.object);
        reply->data_address = Address(copy->data);
        reply->name_address = Address(copy->value_name);
        RtlCopyMemory(reply->data, copy->data, sizeof(reply->data));
    }
    ProbeFree(copy);
    return status;
}
