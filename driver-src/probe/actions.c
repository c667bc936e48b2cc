/*
 * What a matched rule does.
 *
 * Terminal actions decide what the callback returns; the others run and matching goes on. Actions that call
 * into the system or write to the requester's memory leave an action event.
 */
#include "regprobe_internal.h"

#define BAD_COOKIE_VALUE 0x7FFFFFFFDEADBEEFLL

static VOID Decide(DECISION *decision, const RULE *rule, NTSTATUS returned)
{
    decision->decided = TRUE;
    decision->returned = returned;
    decision->rule_id = rule->rule_id;
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
    report->status = ActionOpenBase(notification, rule, &base);
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
    REG_CREATE_KEY_INFORMATION *create = ActionCreateStructure(notification);
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
    report.object = request->action_flags & REGPROBE_ACTION_BAD_OBJECT ? NULL : ActionSubject(notification, rule);
    switch (request->action) {
    case REGPROBE_ACTION_BYPASS_KEY:
        Decide(decision, rule, CompleteWithKey(notification, rule, &report));
        break;
    case REGPROBE_ACTION_BYPASS_OUTPUT:
        Decide(decision, rule, CompleteWithOutput(notification, rule, &report));
        break;
    case REGPROBE_ACTION_REDIRECT:
        Decide(decision, rule, CompleteElsewhere(notification, rule, &report));
        break;
    case REGPROBE_ACTION_OVERRIDE_KEY:
        Decide(decision, rule, CompleteFailedWithKey(notification, rule, &report));
        break;
    case REGPROBE_ACTION_EDIT_OUTPUT:
        report.status = OutputEdit(notification, rule, &report);
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
    case REGPROBE_ACTION_STAND:
        report.value = request->value;
        report.status = GateStand((ULONG)request->value, request->offset);
        break;
    case REGPROBE_ACTION_EDIT_INPUT:
        report.status = EditInput(notification, rule);
        break;
    default:
        return;
    }
    EventAction(notification, rule, &report);
}
