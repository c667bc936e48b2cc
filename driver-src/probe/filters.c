/*
 * Filters: registrations with the configuration manager.
 *
 * The context value a callback receives belongs to the test, so it can't tell the driver which filter is
 * meant; every slot therefore has a routine of its own. REGPROBE_FILTER_SHARED_ROUTINE uses one routine for
 * several registrations (B-REG-11) and finds the filter by the context, which is then the filter's id.
 */
#include "regprobe_internal.h"

#define UNREGISTER_POLL_100NS (-10000LL) /* 1 ms */

static NTSTATUS Notify(FILTER *filter, PVOID context, ULONG notify_class, PVOID information);

#define SLOT(n)                                                                                          \
    static NTSTATUS NTAPI Callback##n(PVOID context, PVOID notify_class, PVOID information)              \
    {                                                                                                    \
        return Notify(probe.filters[n], context, (ULONG)(ULONG_PTR)notify_class, information);           \
    }

/* clang-format off */
#define EIGHT(x, a, b, c, d, e, f, g, h) x(a) x(b) x(c) x(d) x(e) x(f) x(g) x(h)
#define ALL_SLOTS(x)                                                                                     \
    EIGHT(x, 0, 1, 2, 3, 4, 5, 6, 7) EIGHT(x, 8, 9, 10, 11, 12, 13, 14, 15)                              \
    EIGHT(x, 16, 17, 18, 19, 20, 21, 22, 23) EIGHT(x, 24, 25, 26, 27, 28, 29, 30, 31)                    \
    EIGHT(x, 32, 33, 34, 35, 36, 37, 38, 39) EIGHT(x, 40, 41, 42, 43, 44, 45, 46, 47)                    \
    EIGHT(x, 48, 49, 50, 51, 52, 53, 54, 55) EIGHT(x, 56, 57, 58, 59, 60, 61, 62, 63)
#define ROUTINE(n) Callback##n,
/* clang-format on */

ALL_SLOTS(SLOT)

static const CM_CALLBACK slot_routines[] = {ALL_SLOTS(ROUTINE)};
_Static_assert(RTL_NUMBER_OF(slot_routines) == REGPROBE_MAX_FILTERS, "one routine per slot");

/* Filters are found without a lock: none is freed while a callback of it can run. */
static NTSTATUS NTAPI SharedCallback(PVOID context, PVOID notify_class, PVOID information)
{
    ULONG slot;

    for (slot = 0; slot < REGPROBE_MAX_FILTERS; slot++) {
        FILTER *filter = probe.filters[slot];

        if (filter != NULL && (filter->flags & REGPROBE_FILTER_SHARED_ROUTINE) && filter->id == (ULONG_PTR)context) {
            return Notify(filter, context, (ULONG)(ULONG_PTR)notify_class, information);
        }
    }
    return STATUS_SUCCESS;
}

VOID QuietEnter(VOID)
{
    PVOID thread = PsGetCurrentThreadId();
    ULONG index;

    InterlockedIncrement(&probe.quiet_threads);
    for (index = 0; index < QUIET_THREADS; index++) {
        if (InterlockedCompareExchangePointer((PVOID *)&probe.quiet[index], thread, NULL) == NULL) {
            return;
        }
    }
    /* More requests at once than places: this one is recorded like any other operation. */
}

VOID QuietLeave(VOID)
{
    PVOID thread = PsGetCurrentThreadId();
    ULONG index;

    for (index = 0; index < QUIET_THREADS; index++) {
        if (InterlockedCompareExchangePointer((PVOID *)&probe.quiet[index], NULL, thread) == thread) {
            break;
        }
    }
    InterlockedDecrement(&probe.quiet_threads);
}

static BOOLEAN IsQuiet(VOID)
{
    PVOID thread;
    ULONG index;

    if (probe.quiet_threads == 0) {
        return FALSE;
    }
    thread = PsGetCurrentThreadId();
    for (index = 0; index < QUIET_THREADS; index++) {
        if (probe.quiet[index] == thread) {
            return TRUE;
        }
    }
    return FALSE;
}

static VOID CountContext(FILTER *filter, ULONG notify_class, PVOID information)
{
    const REG_CALLBACK_CONTEXT_CLEANUP_INFORMATION *cleanup = information;

    if (notify_class == CLASS_CONTEXT_CLEANUP) {
        InterlockedIncrement(&filter->cleanups);
        if (cleanup != NULL && cleanup->ObjectContext != NULL) {
            InterlockedDecrement(&probe.live_contexts);
        }
    }
}

static RECORD *SpareTake(FILTER *filter)
{
    RECORD *record = InterlockedExchangePointer((PVOID *)&filter->spare, NULL);

    return record != NULL ? record : ProbeAllocate(sizeof(*record));
}

static VOID SpareGive(FILTER *filter, RECORD *record)
{
    record = InterlockedExchangePointer((PVOID *)&filter->spare, record);
    if (record != NULL) {
        ProbeFree(record);
    }
}

static VOID RaiseNow(NTSTATUS status)
{
    if (status != 0) {
        ExRaiseStatus(status);
    }
    /* The compiler would turn a plain store through NULL into a trap instruction. */
    __asm__ volatile("movl $0, (%0)" : : "r"((ULONG_PTR)0) : "memory");
}

/* One call of a callback. */
static NTSTATUS Notify(FILTER *filter, PVOID context, ULONG notify_class, PVOID information)
{
    NOTIFICATION notification;
    DECISION decision = {FALSE, FALSE, STATUS_SUCCESS, 0, 0};
    BOOLEAN has_rules;

    InterlockedIncrement(&filter->in_flight);
    CountContext(filter, notify_class, information);
    has_rules = notify_class < 64 && (filter->rule_classes[notify_class / 32] & (1U << (notify_class & 31)));
    if (!IsQuiet() && (has_rules || !(filter->flags & REGPROBE_FILTER_SILENT))) {
        RtlZeroMemory(&notification, sizeof(notification));
        notification.filter = filter;
        notification.notify_class = notify_class;
        if (!(filter->flags & REGPROBE_FILTER_SILENT)) {
            notification.record = RingReserve(&notification.sequence);
        }
        if (notification.record != NULL) {
            CaptureNotification(&notification, context, information);
            if (has_rules) {
                RulesApply(&notification, &decision);
            }
            KeyNameRelease(&notification.object_name);
            notification.record->event.rule_id = decision.rule_id;
            notification.record->event.returned = decision.returned;
            RingPublish(notification.record);
        } else if (has_rules && (notification.record = SpareTake(filter)) != NULL) {
            /* Dropped or silent: rules apply all the same. */
            CaptureNotification(&notification, context, information);
            RulesApply(&notification, &decision);
            KeyNameRelease(&notification.object_name);
            SpareGive(filter, notification.record);
        }
    }
    InterlockedDecrement(&filter->in_flight);
    if (decision.raise) {
        RaiseNow(decision.raise_status);
    }
    return decision.returned;
}

FILTER *FilterFind(ULONG id)
{
    ULONG slot;

    for (slot = 0; slot < REGPROBE_MAX_FILTERS; slot++) {
        if (probe.filters[slot] != NULL && probe.filters[slot]->id == id) {
            return probe.filters[slot];
        }
    }
    return NULL;
}

ULONG FiltersCount(uint32_t *in_flight)
{
    ULONG slot, count = 0;

    *in_flight = 0;
    ExAcquireFastMutex(&probe.control);
    for (slot = 0; slot < REGPROBE_MAX_FILTERS; slot++) {
        if (probe.filters[slot] != NULL) {
            count++;
            *in_flight += (ULONG)probe.filters[slot]->in_flight;
        }
    }
    ExReleaseFastMutex(&probe.control);
    return count;
}

/* Takes a free slot for `filter`; callbacks may arrive from then on (B-REG-18 b). */
static NTSTATUS SlotTake(FILTER *filter)
{
    NTSTATUS status = STATUS_QUOTA_EXCEEDED;
    ULONG slot;

    ExAcquireFastMutex(&probe.control);
    for (slot = 0; slot < REGPROBE_MAX_FILTERS; slot++) {
        if (probe.filters[slot] == NULL) {
            filter->slot = slot;
            filter->id = ++probe.next_filter_id;
            probe.filters[slot] = filter;
            status = STATUS_SUCCESS;
            break;
        }
    }
    ExReleaseFastMutex(&probe.control);
    return status;
}

static VOID FilterFree(FILTER *filter)
{
    LARGE_INTEGER wait;

    /* Its registration is gone; a thread can still be in the last instructions of Notify. */
    wait.QuadPart = UNREGISTER_POLL_100NS;
    while (filter->in_flight != 0) {
        KeDelayExecutionThread(KernelMode, FALSE, &wait);
    }
    RulesDetach(filter);
    ExAcquireFastMutex(&probe.control);
    probe.filters[filter->slot] = NULL;
    ExReleaseFastMutex(&probe.control);
    if (filter->spare != NULL) {
        ProbeFree(filter->spare);
    }
    ProbeFree(filter);
}

static NTSTATUS Register(FILTER *filter, PCUNICODE_STRING altitude, PVOID context)
{
    BOOLEAN shared = (filter->flags & REGPROBE_FILTER_SHARED_ROUTINE) != 0;
    CM_CALLBACK routine = shared ? SharedCallback : slot_routines[filter->slot];
    NTSTATUS status;
    KIRQL irql = PASSIVE_LEVEL;

    if (shared) {
        context = (PVOID)(ULONG_PTR)filter->id;
    }
    if (filter->flags & REGPROBE_FILTER_AT_APC_LEVEL) {
        KeRaiseIrql(APC_LEVEL, &irql);
    }
    if (filter->flags & REGPROBE_FILTER_LEGACY) {
        status = probe.routines.register_callback(routine, context, &filter->cookie);
    } else {
        status = probe.routines.register_callback_ex(routine, altitude, probe.driver, context, &filter->cookie, NULL);
    }
    if (filter->flags & REGPROBE_FILTER_AT_APC_LEVEL) {
        KeLowerIrql(irql);
    }
    return status;
}

NTSTATUS FilterAdd(const REGPROBE_ADD_FILTER *request, REGPROBE_ADD_FILTER_REPLY *reply)
{
    BOOLEAN legacy = (request->flags & REGPROBE_FILTER_LEGACY) != 0;
    UNICODE_STRING altitude;
    FILTER *filter;
    NTSTATUS status;

    if (request->altitude_length > sizeof(request->altitude) || (request->altitude_length & 1)) {
        return STATUS_INVALID_PARAMETER;
    }
    RtlZeroMemory(reply, sizeof(*reply));
    if (legacy ? probe.routines.register_callback == NULL : probe.routines.register_callback_ex == NULL) {
        reply->status = PROBE_STATUS_PROCEDURE_NOT_FOUND;
        return STATUS_SUCCESS;
    }
    filter = ProbeAllocate(sizeof(*filter));
    if (filter == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlZeroMemory(filter, sizeof(*filter));
    filter->flags = request->flags;
    filter->state = FILTER_REGISTERING;
    altitude.Buffer = (PWSTR)request->altitude;
    altitude.Length = altitude.MaximumLength = (USHORT)request->altitude_length;
    status = SlotTake(filter);
    if (!NT_SUCCESS(status)) {
        ProbeFree(filter);
        return status;
    }
    reply->status = Register(filter, &altitude, (PVOID)(ULONG_PTR)request->context);
    if (!NT_SUCCESS(reply->status)) {
        FilterFree(filter);
        return STATUS_SUCCESS;
    }
    filter->state = FILTER_ACTIVE;
    reply->filter_id = filter->id;
    reply->cookie = (ULONG64)filter->cookie.QuadPart;
    return STATUS_SUCCESS;
}

/* Claims the filter with `id`, or with `cookie` when `id` is 0, for removal by this thread. */
static FILTER *Claim(ULONG id, ULONG64 cookie)
{
    FILTER *found = NULL;
    ULONG slot;

    ExAcquireFastMutex(&probe.control);
    for (slot = 0; slot < REGPROBE_MAX_FILTERS; slot++) {
        FILTER *filter = probe.filters[slot];

        if (filter != NULL && filter->state == FILTER_ACTIVE
            && (id != 0 ? filter->id == id : (ULONG64)filter->cookie.QuadPart == cookie)) {
            filter->state = FILTER_REMOVING;
            found = filter;
            break;
        }
    }
    ExReleaseFastMutex(&probe.control);
    return found;
}

static NTSTATUS Unregister(LARGE_INTEGER cookie, BOOLEAN at_apc_level)
{
    KIRQL irql = PASSIVE_LEVEL;
    NTSTATUS status;

    if (at_apc_level) {
        KeRaiseIrql(APC_LEVEL, &irql);
    }
    status = probe.routines.unregister_callback(cookie); /* waits for running callbacks: no lock is held */
    if (at_apc_level) {
        KeLowerIrql(irql);
    }
    return status;
}

static VOID FilterDrop(FILTER *filter, BOOLEAN at_apc_level, REGPROBE_REMOVE_FILTER_REPLY *reply)
{
    LONG before = filter->cleanups;

    reply->status = Unregister(filter->cookie, at_apc_level);
    reply->time = (ULONG64)KeQueryPerformanceCounter(NULL).QuadPart;
    reply->cleanups = (ULONG)(filter->cleanups - before);
    if (NT_SUCCESS(reply->status)) {
        FilterFree(filter);
    } else {
        filter->state = FILTER_ACTIVE;
    }
}

NTSTATUS FilterRemove(const REGPROBE_REMOVE_FILTER *request, REGPROBE_REMOVE_FILTER_REPLY *reply)
{
    BOOLEAN by_cookie = (request->flags & REGPROBE_REMOVE_BY_COOKIE) != 0;
    BOOLEAN at_apc_level = (request->flags & REGPROBE_FILTER_AT_APC_LEVEL) != 0;
    LARGE_INTEGER cookie;
    FILTER *filter;

    RtlZeroMemory(reply, sizeof(*reply));
    if (probe.routines.unregister_callback == NULL) {
        reply->status = PROBE_STATUS_PROCEDURE_NOT_FOUND;
        return STATUS_SUCCESS;
    }
    if (!by_cookie && request->filter_id == 0) {
        return STATUS_INVALID_PARAMETER;
    }
    filter = Claim(by_cookie ? 0 : request->filter_id, request->cookie);
    if (filter != NULL) {
        FilterDrop(filter, at_apc_level, reply);
        return STATUS_SUCCESS;
    }
    if (!by_cookie) {
        return STATUS_NOT_FOUND;
    }
    cookie.QuadPart = (LONGLONG)request->cookie;
    reply->status = Unregister(cookie, at_apc_level);
    reply->time = (ULONG64)KeQueryPerformanceCounter(NULL).QuadPart;
    return STATUS_SUCCESS;
}

VOID FiltersRemoveAll(VOID)
{
    REGPROBE_REMOVE_FILTER_REPLY unused;
    ULONG slot;

    for (slot = 0; slot < REGPROBE_MAX_FILTERS; slot++) {
        FILTER *filter = probe.filters[slot];

        if (filter != NULL && (filter = Claim(filter->id, 0)) != NULL) {
            FilterDrop(filter, FALSE, &unused);
        }
    }
}
