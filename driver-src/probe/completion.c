/*
 * Actions that take an operation's place or change what it gave: create and open completed with another key,
 * queries with other output, values written elsewhere (B-NOT-12..16, 20..27).
 */
#include "regprobe_internal.h"

#define MAX_COPIED_DATA (64U * 1024 * 1024)

PREG_CREATE_KEY_INFORMATION ActionCreateStructure(const NOTIFICATION *notification)
{
    BOOLEAN whole = notification->is_create_or_open && !probe.short_structures && notification->pre != NULL;

    return whole ? (PREG_CREATE_KEY_INFORMATION)notification->pre : NULL;
}

static PVOID ResultObject(const NOTIFICATION *notification)
{
    const REG_CREATE_KEY_INFORMATION *create = ActionCreateStructure(notification);

    if (notification->status != STATUS_SUCCESS) {
        return NULL; /* undefined then (B-OBJ-01, 02) */
    }
    return create != NULL && create->ResultObject != NULL ? *create->ResultObject : notification->object;
}

/* The object an action is about; NULL where there is none. */
PVOID ActionSubject(const NOTIFICATION *notification, const RULE *rule)
{
    switch (rule->request.subject) {
    case REGPROBE_SUBJECT_OBJECT:
        return notification->object;
    case REGPROBE_SUBJECT_ROOT_OBJECT:
        return notification->root_object;
    case REGPROBE_SUBJECT_RESULT_OBJECT:
        return ResultObject(notification);
    default:
        if (notification->is_create_or_open) {
            return notification->post != NULL ? ResultObject(notification) : notification->root_object;
        }
        return notification->object;
    }
}

/* A handle to the subject for relative opens; `*handle` stays NULL for absolute targets. */
NTSTATUS ActionOpenBase(const NOTIFICATION *notification, const RULE *rule, HANDLE *handle)
{
    PVOID object;

    *handle = NULL;
    if (rule->request.base != REGPROBE_BASE_SUBJECT) {
        return STATUS_SUCCESS;
    }
    object = ActionSubject(notification, rule);
    return object != NULL ? KeyOpenByPointer(object, KEY_ALL_ACCESS, handle) : STATUS_INVALID_PARAMETER;
}

/* The key at the rule's target, referenced; the reference goes to whom the object is given (B-NOT-15). */
static NTSTATUS ReferenceTargetKey(
    const NOTIFICATION *notification, const RULE *rule, PVOID *object, ULONG *disposition)
{
    OBJECT_ATTRIBUTES attributes;
    HANDLE base, handle = NULL;
    NTSTATUS status = ActionOpenBase(notification, rule, &base);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    *disposition = REG_OPENED_EXISTING_KEY;
    InitializeObjectAttributes(
        &attributes, (PUNICODE_STRING)&rule->target, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, base, NULL);
    if (rule->request.action_flags & REGPROBE_ACTION_CREATE) {
        status = ZwCreateKey(&handle, KEY_ALL_ACCESS, &attributes, 0, NULL, REG_OPTION_NON_VOLATILE, disposition);
    } else {
        status = ZwOpenKey(&handle, KEY_ALL_ACCESS, &attributes);
    }
    if (NT_SUCCESS(status)) {
        status = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, object, NULL);
        ZwClose(handle);
    }
    if (base != NULL) {
        ZwClose(base);
    }
    return status;
}

/* Completes a create or open with another key: ResultObject, GrantedAccess, Disposition (B-NOT-13, 26). */
static NTSTATUS GiveKey(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    REG_CREATE_KEY_INFORMATION *create = ActionCreateStructure(notification);
    ULONG disposition;
    NTSTATUS status;

    if (create == NULL || create->ResultObject == NULL) {
        return STATUS_NOT_SUPPORTED;
    }
    status = ReferenceTargetKey(notification, rule, &report->object, &disposition);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (rule->request.disposition != 0) {
        disposition = rule->request.disposition;
    }
    report->disposition = disposition;
    if (create->Disposition != NULL) {
        status = ProbeCopy(create->Disposition, &disposition, sizeof(disposition)); /* may be user memory */
        if (!NT_SUCCESS(status)) {
            ObDereferenceObject(report->object);
            return status;
        }
    }
    *create->ResultObject = report->object;
    if (!(rule->request.action_flags & REGPROBE_ACTION_NO_GRANTED_ACCESS)) {
        create->GrantedAccess =
            rule->request.granted_access != 0 ? rule->request.granted_access : create->DesiredAccess;
    }
    return STATUS_SUCCESS;
}

NTSTATUS CompleteWithKey(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    report->status = notification->post == NULL ? GiveKey(notification, rule, report) : STATUS_NOT_SUPPORTED;
    return NT_SUCCESS(report->status) ? STATUS_CALLBACK_BYPASS : report->status;
}

NTSTATUS CompleteFailedWithKey(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    if (notification->post == NULL || probe.short_structures) {
        report->status = STATUS_NOT_SUPPORTED;
        return STATUS_SUCCESS;
    }
    report->status = GiveKey(notification, rule, report);
    if (!NT_SUCCESS(report->status)) {
        return STATUS_SUCCESS; /* the operation's own result stands */
    }
    notification->post->Object = report->object;
    notification->post->ReturnStatus = rule->request.status; /* a success: STATUS_SUCCESS unless the rule says */
    return STATUS_CALLBACK_BYPASS;
}

static ULONG OutputCapacity(const NOTIFICATION *notification)
{
    ULONG capacity = MemberUlong(notification->pre, notification->shape->capacity);
    PVOID pointer = MemberPointer(notification->pre, notification->shape->capacity_pointer);

    if (pointer != NULL && !NT_SUCCESS(ProbeCopy(&capacity, pointer, sizeof(capacity)))) {
        return 0;
    }
    return capacity;
}

static NTSTATUS WriteResultLength(const NOTIFICATION *notification, ULONG length)
{
    PVOID pointer = MemberPointer(notification->pre, notification->shape->result_length);

    return pointer != NULL ? ProbeCopy(pointer, &length, sizeof(length)) : STATUS_SUCCESS;
}

/* A name query gives a UNICODE_STRING that points behind itself (OBJECT_NAME_INFORMATION). */
static NTSTATUS FillObjectName(const RULE *rule, PUCHAR output, ULONG capacity, ULONG *needed)
{
    UNICODE_STRING header;
    NTSTATUS status;

    *needed = sizeof(header) + rule->request.data_length + sizeof(WCHAR);
    if (capacity < *needed) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    header.Length = (USHORT)rule->request.data_length;
    header.MaximumLength = (USHORT)(header.Length + sizeof(WCHAR));
    header.Buffer = (PWSTR)(output + sizeof(header));
    status = ProbeCopy(output, &header, sizeof(header));
    if (NT_SUCCESS(status)) {
        status = ProbeCopy(output + sizeof(header), rule->request.data, header.Length);
    }
    if (NT_SUCCESS(status)) {
        static const WCHAR end = 0;

        status = ProbeCopy(output + sizeof(header) + header.Length, &end, sizeof(end));
    }
    return status;
}

/* Completes a query with the rule's data (B-NOT-12): as much as fits, and the length that was needed. */
NTSTATUS CompleteWithOutput(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    ULONG needed = rule->request.data_length, capacity;
    NTSTATUS status, outcome = STATUS_CALLBACK_BYPASS;
    PUCHAR output;

    if (notification->post != NULL || notification->pre == NULL || notification->shape->output == NO_MEMBER) {
        return report->status = STATUS_NOT_SUPPORTED;
    }
    output = MemberPointer(notification->pre, notification->shape->output);
    capacity = output != NULL ? OutputCapacity(notification) : 0;
    if (notification->notify_class == CLASS_PRE_QUERY_NAME) {
        status = FillObjectName(rule, output, capacity, &needed);
        if (status == STATUS_INFO_LENGTH_MISMATCH) {
            outcome = status;
            status = STATUS_SUCCESS;
        }
    } else {
        ULONG bytes = needed < capacity ? needed : capacity;

        status = bytes != 0 ? ProbeCopy(output, rule->request.data, bytes) : STATUS_SUCCESS;
        if (bytes < needed) {
            outcome = bytes != 0 ? STATUS_BUFFER_OVERFLOW : STATUS_BUFFER_TOO_SMALL;
        }
    }
    if (NT_SUCCESS(status)) {
        status = WriteResultLength(notification, needed);
    }
    report->result_length = needed;
    report->status = NT_SUCCESS(status) ? outcome : status;
    return report->status;
}

/* Input that may be user memory, copied before it is handed to a system routine (B-CAP-08, 14). */
static NTSTATUS CopyInput(const VOID *source, ULONG length, PVOID *copy)
{
    NTSTATUS status;

    *copy = NULL;
    if (source == NULL || length == 0) {
        return STATUS_SUCCESS;
    }
    if (length > MAX_COPIED_DATA) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    *copy = ProbeAllocate(length);
    if (*copy == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    status = ProbeCopy(*copy, source, length);
    if (!NT_SUCCESS(status)) {
        ProbeFree(*copy);
        *copy = NULL;
    }
    return status;
}

/* Sets or deletes the value under another name, then tells the system that it is done. */
NTSTATUS CompleteElsewhere(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    PUNICODE_STRING target = (PUNICODE_STRING)&rule->target;
    HANDLE key;
    NTSTATUS status;

    if (notification->notify_class != CLASS_SET_VALUE && notification->notify_class != CLASS_DELETE_VALUE) {
        return report->status = STATUS_NOT_SUPPORTED;
    }
    status = KeyOpenByPointer(notification->object, KEY_SET_VALUE, &key);
    if (!NT_SUCCESS(status)) {
        return report->status = status;
    }
    if (notification->notify_class == CLASS_DELETE_VALUE) {
        status = ZwDeleteValueKey(key, target);
    } else {
        const REG_SET_VALUE_KEY_INFORMATION *set = (const REG_SET_VALUE_KEY_INFORMATION *)notification->pre;
        ULONG type = rule->request.value_type != 0 ? rule->request.value_type : set->Type;
        ULONG size = set->DataSize;
        PVOID data;

        status = CopyInput(set->Data, size, &data);
        if (NT_SUCCESS(status)) {
            status = ZwSetValueKey(key, target, set->TitleIndex, type, data, data != NULL ? size : 0);
            if (data != NULL) {
                ProbeFree(data);
            }
        }
    }
    ZwClose(key);
    report->status = status;
    return NT_SUCCESS(status) ? STATUS_CALLBACK_BYPASS : status;
}

NTSTATUS OutputEdit(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    const REGPROBE_RULE *request = &rule->request;
    NTSTATUS status = STATUS_SUCCESS;
    PUCHAR output;
    ULONG capacity;

    if (notification->post == NULL || notification->pre == NULL || notification->shape->output == NO_MEMBER) {
        return STATUS_NOT_SUPPORTED;
    }
    output = MemberPointer(notification->pre, notification->shape->output);
    capacity = output != NULL ? OutputCapacity(notification) : 0;
    if (request->offset > capacity || request->data_length > capacity - request->offset) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    if (request->data_length != 0) {
        status = ProbeCopy(output + request->offset, request->data, request->data_length);
    }
    if (NT_SUCCESS(status) && (request->action_flags & REGPROBE_ACTION_SET_RESULT_LENGTH)) {
        report->result_length = (ULONG)request->value;
        status = WriteResultLength(notification, (ULONG)request->value);
    }
    return status;
}
