/*
 * What a matched rule does.
 *
 * Terminal actions decide what the callback returns; the others run and matching goes on. Actions that call
 * into the system or write to the requester's memory leave an action event.
 */
#include "regprobe_internal.h"

#define MAX_COPIED_DATA (64U * 1024 * 1024)
#define BAD_COOKIE_VALUE 0x7FFFFFFFDEADBEEFLL

static VOID Decide(DECISION *decision, const RULE *rule, NTSTATUS returned)
{
    decision->decided = TRUE;
    decision->returned = returned;
    decision->rule_id = rule->rule_id;
}

static PREG_CREATE_KEY_INFORMATION CreateStructure(const NOTIFICATION *notification)
{
    BOOLEAN whole = notification->is_create_or_open && !probe.short_structures && notification->pre != NULL;

    return whole ? (PREG_CREATE_KEY_INFORMATION)notification->pre : NULL;
}

static PVOID ResultObject(const NOTIFICATION *notification)
{
    const REG_CREATE_KEY_INFORMATION *create = CreateStructure(notification);

    if (notification->status != STATUS_SUCCESS) {
        return NULL; /* undefined then (B-OBJ-01, 02) */
    }
    return create != NULL && create->ResultObject != NULL ? *create->ResultObject : notification->object;
}

/* The object an action is about; NULL where there is none. */
static PVOID Subject(const NOTIFICATION *notification, const RULE *rule)
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

static LARGE_INTEGER CookieFor(const NOTIFICATION *notification, const RULE *rule)
{
    LARGE_INTEGER cookie = notification->filter->cookie;

    if (rule->request.action_flags & REGPROBE_ACTION_BAD_COOKIE) {
        cookie.QuadPart = BAD_COOKIE_VALUE;
    }
    return cookie;
}

static KIRQL RaiseForAction(const RULE *rule)
{
    KIRQL irql = PASSIVE_LEVEL;

    if ((rule->request.action_flags & REGPROBE_ACTION_AT_APC_LEVEL) && KeGetCurrentIrql() < APC_LEVEL) {
        KeRaiseIrql(APC_LEVEL, &irql);
    }
    return irql;
}

static VOID LowerAfterAction(const RULE *rule, KIRQL irql)
{
    if ((rule->request.action_flags & REGPROBE_ACTION_AT_APC_LEVEL) && irql < APC_LEVEL) {
        KeLowerIrql(irql);
    }
}

/* A handle to the subject for relative opens; `*handle` stays NULL for absolute targets. */
static NTSTATUS OpenBase(const NOTIFICATION *notification, const RULE *rule, HANDLE *handle)
{
    PVOID object;

    *handle = NULL;
    if (rule->request.base != REGPROBE_BASE_SUBJECT) {
        return STATUS_SUCCESS;
    }
    object = Subject(notification, rule);
    return object != NULL ? KeyOpenByPointer(object, KEY_ALL_ACCESS, handle) : STATUS_INVALID_PARAMETER;
}

/* The key at the rule's target, referenced; the reference goes to whom the object is given (B-NOT-15). */
static NTSTATUS ReferenceTargetKey(const NOTIFICATION *notification, const RULE *rule, PVOID *object, ULONG *disposition)
{
    OBJECT_ATTRIBUTES attributes;
    HANDLE base, handle = NULL;
    NTSTATUS status = OpenBase(notification, rule, &base);

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
    REG_CREATE_KEY_INFORMATION *create = CreateStructure(notification);
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
        create->GrantedAccess = rule->request.granted_access != 0 ? rule->request.granted_access : create->DesiredAccess;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS BypassWithKey(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    report->status = notification->post == NULL ? GiveKey(notification, rule, report) : STATUS_NOT_SUPPORTED;
    return NT_SUCCESS(report->status) ? STATUS_CALLBACK_BYPASS : report->status;
}

static NTSTATUS OverrideWithKey(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
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
static NTSTATUS BypassWithOutput(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
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
static NTSTATUS Redirect(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
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

static NTSTATUS EditOutput(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
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

static NTSTATUS SetCallContext(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    PVOID *context;

    if (notification->post != NULL || probe.short_structures || notification->pre == NULL
        || notification->shape->call_context == NO_MEMBER) {
        return STATUS_NOT_SUPPORTED;
    }
    context = (PVOID *)(notification->pre + notification->shape->call_context);
    report->value = Address(*context);
    *context = (PVOID)(ULONG_PTR)rule->request.value;
    return STATUS_SUCCESS;
}

static NTSTATUS SetObjectContext(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    PVOID context = (PVOID)(ULONG_PTR)rule->request.value, old = NULL;
    LARGE_INTEGER cookie = CookieFor(notification, rule);
    NTSTATUS status;
    KIRQL irql;

    if (probe.routines.set_object_context == NULL) {
        return PROBE_STATUS_PROCEDURE_NOT_FOUND;
    }
    if (report->object == NULL && !(rule->request.action_flags & REGPROBE_ACTION_BAD_OBJECT)) {
        return STATUS_INVALID_PARAMETER;
    }
    irql = RaiseForAction(rule);
    status = probe.routines.set_object_context(report->object, &cookie, context, &old);
    LowerAfterAction(rule, irql);
    report->value = Address(old);
    if (NT_SUCCESS(status)) {
        if (old == NULL && context != NULL) {
            InterlockedIncrement(&probe.live_contexts);
        } else if (old != NULL && context == NULL) {
            InterlockedDecrement(&probe.live_contexts);
        }
    }
    return status;
}

static VOID FetchName(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    const ULONG flags = rule->request.action_flags;
    LARGE_INTEGER cookie = CookieFor(notification, rule);
    const BOOLEAN use_ex = (flags & REGPROBE_ACTION_USE_EX) != 0;
    ULONG_PTR id = 0;
    KEY_NAME name = {NULL, NAME_NONE};
    PCUNICODE_STRING *name_slot = flags & REGPROBE_ACTION_NO_NAME ? NULL : &name.text;
    ULONG_PTR *id_slot = flags & REGPROBE_ACTION_NO_ID ? NULL : &id;
    KIRQL irql;

    if (report->object == NULL && !(flags & REGPROBE_ACTION_BAD_OBJECT)) {
        report->status = STATUS_INVALID_PARAMETER;
    } else if (use_ex ? probe.routines.get_key_object_id_ex == NULL : probe.routines.get_key_object_id == NULL) {
        report->status = PROBE_STATUS_PROCEDURE_NOT_FOUND;
    } else {
        irql = RaiseForAction(rule);
        if (use_ex) {
            report->status = probe.routines.get_key_object_id_ex(
                &cookie, report->object, id_slot, name_slot, flags & REGPROBE_ACTION_BAD_FLAGS ? 1 : 0);
        } else {
            report->status = probe.routines.get_key_object_id(&cookie, report->object, id_slot, name_slot);
        }
        LowerAfterAction(rule, irql);
    }
    if (NT_SUCCESS(report->status) && name.text != NULL) {
        name.source = use_ex ? NAME_EX : NAME_BORROWED;
        report->key_name = name.text;
    }
    report->value = report->object_id = id;
    EventAction(notification, rule, report);
    KeyNameRelease(&name);
}

static NTSTATUS FetchTransaction(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report)
{
    LARGE_INTEGER cookie = CookieFor(notification, rule);
    KIRQL irql;

    if (probe.routines.get_bound_transaction == NULL) {
        return PROBE_STATUS_PROCEDURE_NOT_FOUND;
    }
    if (report->object == NULL && !(rule->request.action_flags & REGPROBE_ACTION_BAD_OBJECT)) {
        return STATUS_INVALID_PARAMETER;
    }
    irql = RaiseForAction(rule);
    report->transaction = probe.routines.get_bound_transaction(&cookie, report->object);
    LowerAfterAction(rule, irql);
    report->value = Address(report->transaction);
    return STATUS_SUCCESS;
}

/* Registry calls from inside the callback: shown to lower filters only (B-LAY-11). */
static VOID Call(NOTIFICATION *notification, RULE *rule, ACTION_REPORT *report, DECISION *decision)
{
    const REGPROBE_RULE *request = &rule->request;
    const BOOLEAN writes = request->call == REGPROBE_CALL_SET_VALUE;
    UCHAR *output = NULL;
    REGISTRY_CALL call;
    HANDLE base;

    RtlZeroMemory(&call, sizeof(call));
    call.call = request->call;
    call.create = (request->action_flags & REGPROBE_ACTION_CREATE) != 0;
    call.value_type = request->value_type;
    call.index = request->offset;
    call.access = request->granted_access;
    call.target = &rule->target;
    call.value_name = &rule->call_value_name;
    report->status = OpenBase(notification, rule, &base);
    if (NT_SUCCESS(report->status)) {
        call.root = base;
        if (writes) {
            call.data = rule->request.data;
            call.data_length = request->data_length;
        } else {
            call.data = output = ProbeAllocate(REGPROBE_MAX_DATA);
            call.data_length = output != NULL ? REGPROBE_MAX_DATA : 0;
        }
        if (request->action_flags & REGPROBE_ACTION_WORK_ITEM) {
            report->status = RegistryCallRunInWorker(&call);
        } else {
            RegistryCallRun(&call);
        }
        if (NT_SUCCESS(report->status)) {
            report->status = call.status;
        }
        report->object = call.object;
        report->disposition = call.disposition;
        report->value = call.disposition;
        report->result_length = call.result_length;
        if (output != NULL && NT_SUCCESS(call.status)) {
            report->data = output;
            report->data_length = call.result_length < call.data_length ? call.result_length : call.data_length;
        }
        if (base != NULL) {
            ZwClose(base);
        }
    }
    EventAction(notification, rule, report);
    if (output != NULL) {
        ProbeFree(output);
    }
    if ((request->action_flags & REGPROBE_ACTION_FAIL_INNER) && !NT_SUCCESS(report->status)) {
        Decide(decision, rule, report->status);
    }
}

static NTSTATUS OpenObject(ACTION_REPORT *report)
{
    HANDLE handle = NULL;
    NTSTATUS status;

    if (report->object == NULL) {
        return STATUS_INVALID_PARAMETER;
    }
    status = KeyOpenByPointer(report->object, KEY_READ, &handle);
    if (NT_SUCCESS(status)) {
        report->value = Address(handle);
        ZwClose(handle);
    }
    return status;
}

/* Takes back a value that was set: what an override to failure leaves to the driver (B-NOT-25). */
static NTSTATUS Undo(NOTIFICATION *notification)
{
    HANDLE key;
    NTSTATUS status;

    if (notification->notify_class != CLASS_POST_SET_VALUE || notification->status != STATUS_SUCCESS
        || notification->object == NULL || !notification->name_complete) {
        return STATUS_NOT_SUPPORTED;
    }
    status = KeyOpenByPointer(notification->object, KEY_SET_VALUE, &key);
    if (NT_SUCCESS(status)) {
        status = ZwDeleteValueKey(key, &notification->name);
        ZwClose(key);
    }
    return status;
}

/* Points input members at the rule's own (B-NOT-28: what the system makes of it is not documented). */
static NTSTATUS EditInput(NOTIFICATION *notification, RULE *rule)
{
    const REGPROBE_RULE *request = &rule->request;
    REG_CREATE_KEY_INFORMATION *create = CreateStructure(notification);
    BOOLEAN edited = FALSE;

    if (notification->post != NULL || notification->pre == NULL) {
        return STATUS_NOT_SUPPORTED;
    }
    if (request->target_length != 0 && notification->shape->name != NO_MEMBER) {
        RuleKeep(rule);
        *(PUNICODE_STRING *)(notification->pre + notification->shape->name) = &rule->target;
        edited = TRUE;
    }
    if (request->data_length != 0 && notification->shape->data != NO_MEMBER) {
        RuleKeep(rule);
        *(PVOID *)(notification->pre + notification->shape->data) = rule->request.data;
        *(ULONG *)(notification->pre + notification->shape->data_length) = request->data_length;
        edited = TRUE;
    }
    if (request->granted_access != 0 && create != NULL) {
        create->DesiredAccess = request->granted_access;
        edited = TRUE;
    }
    return edited ? STATUS_SUCCESS : STATUS_NOT_SUPPORTED;
}

static VOID Delay(const RULE *rule)
{
    LARGE_INTEGER interval;

    interval.QuadPart = -(LONGLONG)((ULONG64)(ULONG)rule->request.value * 10000);
    KeDelayExecutionThread(KernelMode, FALSE, &interval);
}

static VOID Override(NOTIFICATION *notification, const RULE *rule, DECISION *decision)
{
    if (notification->post != NULL && !probe.short_structures) {
        notification->post->ReturnStatus = rule->request.status;
    }
    Decide(decision, rule, STATUS_CALLBACK_BYPASS);
}

VOID ActionRun(NOTIFICATION *notification, RULE *rule, DECISION *decision)
{
    const REGPROBE_RULE *request = &rule->request;
    ACTION_REPORT report;

    RtlZeroMemory(&report, sizeof(report));
    switch (request->action) { /* the ones that leave no event */
    case REGPROBE_ACTION_PASS:
        Decide(decision, rule, STATUS_SUCCESS);
        return;
    case REGPROBE_ACTION_RETURN:
        Decide(decision, rule, request->status);
        return;
    case REGPROBE_ACTION_BYPASS:
        Decide(decision, rule, STATUS_CALLBACK_BYPASS);
        return;
    case REGPROBE_ACTION_OVERRIDE:
        Override(notification, rule, decision);
        return;
    case REGPROBE_ACTION_WRITE_RETURN_STATUS:
        if (notification->post != NULL && !probe.short_structures) {
            notification->post->ReturnStatus = request->status;
        }
        return;
    case REGPROBE_ACTION_RAISE:
        Decide(decision, rule, request->status);
        decision->raise = TRUE;
        decision->raise_status = request->status;
        return;
    case REGPROBE_ACTION_DELAY:
        Delay(rule);
        return;
    default:
        break;
    }
    report.time = KeQueryPerformanceCounter(NULL).QuadPart;
    report.object = request->action_flags & REGPROBE_ACTION_BAD_OBJECT ? NULL : Subject(notification, rule);
    switch (request->action) {
    case REGPROBE_ACTION_BYPASS_KEY:
        Decide(decision, rule, BypassWithKey(notification, rule, &report));
        break;
    case REGPROBE_ACTION_BYPASS_OUTPUT:
        Decide(decision, rule, BypassWithOutput(notification, rule, &report));
        break;
    case REGPROBE_ACTION_REDIRECT:
        Decide(decision, rule, Redirect(notification, rule, &report));
        break;
    case REGPROBE_ACTION_OVERRIDE_KEY:
        Decide(decision, rule, OverrideWithKey(notification, rule, &report));
        break;
    case REGPROBE_ACTION_EDIT_OUTPUT:
        report.status = EditOutput(notification, rule, &report);
        break;
    case REGPROBE_ACTION_SET_CALL_CONTEXT:
        report.status = SetCallContext(notification, rule, &report);
        break;
    case REGPROBE_ACTION_SET_OBJECT_CONTEXT:
        report.status = SetObjectContext(notification, rule, &report);
        break;
    case REGPROBE_ACTION_FETCH_NAME:
        FetchName(notification, rule, &report);
        return;
    case REGPROBE_ACTION_CALL:
        Call(notification, rule, &report, decision);
        return;
    case REGPROBE_ACTION_FETCH_TRANSACTION:
        report.status = FetchTransaction(notification, rule, &report);
        break;
    case REGPROBE_ACTION_OPEN_OBJECT:
        report.status = OpenObject(&report);
        break;
    case REGPROBE_ACTION_UNDO:
        report.status = Undo(notification);
        break;
    case REGPROBE_ACTION_EDIT_INPUT:
        report.status = EditInput(notification, rule);
        break;
    default:
        return;
    }
    EventAction(notification, rule, &report);
}
