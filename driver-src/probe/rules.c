/*
 * Rules, in tables that are never changed once callbacks can see them.
 *
 * A callback references the table of its filter under a spin lock, then matches and acts without any lock,
 * so an action may cause nested notifications on the same thread (B-LAY-11) and requests may replace the
 * table meanwhile. Rules are referenced by tables; whoever drops the last reference frees.
 */
#include "regprobe_internal.h"

static VOID RuleRelease(RULE *rule)
{
    if (InterlockedDecrement(&rule->references) != 0) {
        return;
    }
    if (rule->keeps_input) {
        KIRQL irql;

        KeAcquireSpinLock(&probe.rules_lock, &irql);
        rule->next_kept = probe.kept_rules;
        probe.kept_rules = rule;
        KeReleaseSpinLock(&probe.rules_lock, irql);
        return;
    }
    ProbeFree(rule);
}

static VOID TableRelease(RULE_TABLE *table)
{
    ULONG index;

    if (table == NULL || InterlockedDecrement(&table->references) != 0) {
        return;
    }
    for (index = 0; index < table->count; index++) {
        RuleRelease(table->rules[index]);
    }
    ProbeFree(table);
}

static RULE_TABLE *TableReference(FILTER *filter)
{
    RULE_TABLE *table;
    KIRQL irql;

    KeAcquireSpinLock(&probe.rules_lock, &irql);
    table = filter->rules;
    if (table != NULL) {
        InterlockedIncrement(&table->references);
    }
    KeReleaseSpinLock(&probe.rules_lock, irql);
    return table;
}

/* Puts `table` in place of the filter's; the caller holds `control`. */
static VOID TableReplace(FILTER *filter, RULE_TABLE *table)
{
    RULE_TABLE *old;
    ULONG low = 0, high = 0, index;
    KIRQL irql;

    for (index = 0; table != NULL && index < table->count; index++) {
        low |= (ULONG)table->rules[index]->request.classes;
        high |= (ULONG)(table->rules[index]->request.classes >> 32);
    }
    KeAcquireSpinLock(&probe.rules_lock, &irql);
    old = filter->rules;
    filter->rules = table;
    filter->rule_classes[0] = low;
    filter->rule_classes[1] = high;
    KeReleaseSpinLock(&probe.rules_lock, irql);
    TableRelease(old);
}

/*
 * A table with the rules of `old` that `rule_id` does not name (0: none of them), and `added` behind them.
 * `*table` is NULL when nothing is left.
 */
static NTSTATUS TableBuild(const RULE_TABLE *old, ULONG without, RULE *added, RULE_TABLE **table)
{
    ULONG count = (old != NULL ? old->count : 0) + (added != NULL ? 1 : 0);
    RULE_TABLE *built;
    ULONG index;

    *table = NULL;
    if (count == 0) {
        return STATUS_SUCCESS;
    }
    built = ProbeAllocate(sizeof(*built) + count * sizeof(RULE *));
    if (built == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    built->references = 1;
    built->count = 0;
    for (index = 0; old != NULL && index < old->count; index++) {
        if (old->rules[index]->rule_id != without) {
            InterlockedIncrement(&old->rules[index]->references);
            built->rules[built->count++] = old->rules[index];
        }
    }
    if (added != NULL) {
        built->rules[built->count++] = added;
    }
    if (built->count == 0) {
        ProbeFree(built);
    } else {
        *table = built;
    }
    return STATUS_SUCCESS;
}

static VOID TextOf(UNICODE_STRING *text, uint16_t *buffer, ULONG length)
{
    text->Buffer = (PWSTR)buffer;
    text->Length = text->MaximumLength = (USHORT)length;
}

static VOID FoldText(UNICODE_STRING *text)
{
    ULONG index;

    for (index = 0; index < text->Length / sizeof(WCHAR); index++) {
        text->Buffer[index] = FoldCharacter(text->Buffer[index]);
    }
}

/* The path of a key handle of the calling process, into the key text of `request`. */
static NTSTATUS ResolveHandle(REGPROBE_RULE *request)
{
    UNICODE_STRING name = {0};
    PVOID object = NULL;
    NTSTATUS status;

    status = ObReferenceObjectByHandle((HANDLE)(ULONG_PTR)request->handle, 0, NULL, UserMode, &object, NULL);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    QuietEnter(); /* asking for a name is a registry operation of its own from Windows 10 on (B-HIV-18) */
    status = ObjectNameAllocate(object, &name);
    QuietLeave();
    ObDereferenceObject(object);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (name.Length > sizeof(request->key)) {
        status = STATUS_NAME_TOO_LONG;
    } else {
        RtlCopyMemory(request->key, name.Buffer, name.Length);
        request->key_length = name.Length;
        request->match = (request->match & ~REGPROBE_MATCH_KEY_HANDLE) | REGPROBE_MATCH_KEY_PREFIX;
    }
    ProbeFree(name.Buffer);
    return status;
}

static BOOLEAN RequestIsValid(const REGPROBE_RULE *request)
{
    const ULONG odd = request->key_length | request->value_name_length | request->target_length
        | request->call_value_name_length;

    return request->key_length <= sizeof(request->key) && request->value_name_length <= sizeof(request->value_name)
        && request->target_length <= sizeof(request->target)
        && request->call_value_name_length <= sizeof(request->call_value_name)
        && request->data_length <= sizeof(request->data)
        && (odd & 1) == 0 && request->action >= REGPROBE_ACTION_PASS && request->action <= REGPROBE_ACTION_STAND
        && request->subject <= REGPROBE_SUBJECT_RESULT_OBJECT && request->base <= REGPROBE_BASE_SUBJECT;
}

NTSTATUS RuleAdd(const REGPROBE_RULE *request, uint32_t *rule_id)
{
    RULE *rule;
    RULE_TABLE *table;
    FILTER *filter;
    NTSTATUS status = STATUS_SUCCESS;

    if (!RequestIsValid(request)) {
        return STATUS_INVALID_PARAMETER;
    }
    /* Of an edit, the operation points into the rule. */
    rule = request->action == REGPROBE_ACTION_EDIT_INPUT ? ProbeAllocateKept(sizeof(*rule)) : ProbeAllocate(sizeof(*rule));
    if (rule == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlZeroMemory(rule, FIELD_OFFSET(RULE, request));
    RtlCopyMemory(&rule->request, request, sizeof(*request));
    rule->references = 1;
    if (request->match & REGPROBE_MATCH_KEY_HANDLE) {
        status = ResolveHandle(&rule->request);
    }
    if (!NT_SUCCESS(status)) {
        ProbeFree(rule);
        return status;
    }
    TextOf(&rule->key, rule->request.key, rule->request.key_length);
    TextOf(&rule->value_name, rule->request.value_name, rule->request.value_name_length);
    TextOf(&rule->target, rule->request.target, rule->request.target_length);
    TextOf(&rule->call_value_name, rule->request.call_value_name, rule->request.call_value_name_length);
    while (rule->key.Length > sizeof(WCHAR) && rule->key.Buffer[rule->key.Length / sizeof(WCHAR) - 1] == L'\\') {
        rule->key.Length -= sizeof(WCHAR);
    }
    FoldText(&rule->key);
    FoldText(&rule->value_name);

    ExAcquireFastMutex(&probe.control);
    filter = FilterFind(request->filter_id);
    if (filter == NULL || filter->state != FILTER_ACTIVE) {
        status = STATUS_NOT_FOUND;
    } else if (probe.rule_count >= REGPROBE_MAX_RULES) {
        status = STATUS_QUOTA_EXCEEDED;
    } else {
        status = TableBuild(filter->rules, 0, rule, &table);
    }
    if (NT_SUCCESS(status)) {
        *rule_id = rule->rule_id = ++probe.next_rule_id;
        probe.rule_count++;
        TableReplace(filter, table);
    }
    ExReleaseFastMutex(&probe.control);
    if (!NT_SUCCESS(status)) {
        ProbeFree(rule);
    }
    return status;
}

/* The caller holds `control`. */
static NTSTATUS ClearOne(FILTER *filter, ULONG rule_id)
{
    ULONG before = filter->rules != NULL ? filter->rules->count : 0;
    RULE_TABLE *table = NULL;
    NTSTATUS status = STATUS_SUCCESS;

    if (rule_id != 0) {
        status = TableBuild(filter->rules, rule_id, NULL, &table);
    }
    if (!NT_SUCCESS(status)) {
        return status;
    }
    probe.rule_count -= before - (table != NULL ? table->count : 0);
    if (rule_id != 0 && table != NULL && table->count == before) {
        TableRelease(table);
        return STATUS_NOT_FOUND;
    }
    TableReplace(filter, table);
    return STATUS_SUCCESS;
}

NTSTATUS RulesClear(ULONG filter_id, ULONG rule_id)
{
    NTSTATUS status = filter_id != 0 ? STATUS_NOT_FOUND : STATUS_SUCCESS;
    ULONG slot;

    ExAcquireFastMutex(&probe.control);
    for (slot = 0; slot < REGPROBE_MAX_FILTERS; slot++) {
        FILTER *filter = probe.filters[slot];

        if (filter != NULL && (filter_id == 0 || filter->id == filter_id)) {
            NTSTATUS one = ClearOne(filter, rule_id);

            if (filter_id != 0) {
                status = one;
            }
        }
    }
    ExReleaseFastMutex(&probe.control);
    return status;
}

/* Frees the rules of a filter that is going away; no callback of it runs any more. */
VOID RulesDetach(FILTER *filter)
{
    ExAcquireFastMutex(&probe.control);
    ClearOne(filter, 0);
    ExReleaseFastMutex(&probe.control);
}

/* An operation keeps a pointer into `rule`: its memory stays until the driver unloads. */
VOID RuleKeep(RULE *rule)
{
    rule->keeps_input = TRUE;
}

VOID RulesFreeKept(VOID)
{
    RULE *rule = probe.kept_rules;

    while (rule != NULL) {
        RULE *next = rule->next_kept;

        ProbeFree(rule);
        rule = next;
    }
    probe.kept_rules = NULL;
}

static BOOLEAN OccurrenceApplies(RULE *rule)
{
    ULONG occurrence = (ULONG)InterlockedIncrement(&rule->hits);
    ULONG first = rule->request.nth_first != 0 ? rule->request.nth_first : 1;

    return occurrence >= first && (rule->request.nth_count == 0 || occurrence - first < rule->request.nth_count);
}

/* FALSE: this thread is inside a rule of this filter already. */
static BOOLEAN ActingEnter(ACTING *acting, const FILTER *filter)
{
    const ACTING *other;
    BOOLEAN first = TRUE;
    KIRQL irql;

    acting->filter = filter;
    acting->thread = PsGetCurrentThreadId();
    KeAcquireSpinLock(&probe.rules_lock, &irql);
    for (other = probe.acting; other != NULL; other = other->next) {
        if (other->filter == filter && other->thread == acting->thread) {
            first = FALSE;
            break;
        }
    }
    if (first) {
        acting->next = probe.acting;
        probe.acting = acting;
    }
    KeReleaseSpinLock(&probe.rules_lock, irql);
    return first;
}

static VOID ActingLeave(ACTING *acting)
{
    ACTING **link;
    KIRQL irql;

    KeAcquireSpinLock(&probe.rules_lock, &irql);
    for (link = &probe.acting; *link != acting; link = &(*link)->next) {
    }
    *link = acting->next;
    KeReleaseSpinLock(&probe.rules_lock, irql);
}

static VOID ApplyTable(NOTIFICATION *notification, DECISION *decision)
{
    RULE_TABLE *table = TableReference(notification->filter);
    ULONG index;

    for (index = 0; table != NULL && index < table->count && !decision->decided; index++) {
        RULE *rule = table->rules[index];

        if (RuleMatches(notification, rule) && OccurrenceApplies(rule)) {
            ActionRun(notification, rule, decision);
        }
    }
    TableRelease(table);
}

/*
 * Runs the actions of every rule that matches, up to the first terminal one. Before Vista there is no layering
 * (B-LAY-15): a registry call of an action can come back to its own callback, and rules that ran again there
 * would go on until the stack is used up. So they don't; such a notification is recorded only.
 */
VOID RulesApply(NOTIFICATION *notification, DECISION *decision)
{
    ACTING acting;

    if (!probe.short_structures) {
        ApplyTable(notification, decision);
    } else if (ActingEnter(&acting, notification->filter)) {
        ApplyTable(notification, decision);
        ActingLeave(&acting);
    }
}
