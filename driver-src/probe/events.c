/*
 * The ring of events.
 *
 * Producers never block and never wait: one compare-exchange on (position, drops) reserves a slot, or counts
 * a drop when the slot at that position has not been drained yet. The sequence number of an event is
 * position + drops + 1, so it rises in ring order and jumps by exactly the events that were dropped.
 * A slot is reserved when a callback is entered and published when its decision is known; a drain stops at
 * the first slot that is not published.
 */
#include "regprobe_internal.h"

#define POSITION(word) ((ULONG)(word))
#define DROPS(word) ((ULONG)((ULONG64)(word) >> 32))
#define RESERVE_WORD(position, drops) ((LONG64)(((ULONG64)(drops) << 32) | (ULONG)(position)))

static LONG64 ReadReserve(VOID)
{
    /* A plain 64-bit read can tear on x86; exchanging a value with itself can not. */
    return __sync_val_compare_and_swap(&probe.ring.reserve, 0, 0);
}

static VOID RingClear(VOID)
{
    RING *ring = &probe.ring;
    ULONG slot;

    for (slot = 0; slot < ring->slots; slot++) {
        ring->turns[slot] = slot;
    }
    ring->reserve = 0;
    ring->head = 0;
    ring->positions = 0;
    ring->drops = 0;
}

NTSTATUS RingCreate(ULONG slots)
{
    RING *ring = &probe.ring;
    ULONG rounded = REGPROBE_RING_SLOTS_MIN;

    if (slots > REGPROBE_RING_SLOTS_MAX) {
        slots = REGPROBE_RING_SLOTS_MAX;
    }
    while (rounded < slots) {
        rounded *= 2;
    }
    ring->slots = rounded;
    ring->records = ProbeAllocate((SIZE_T)rounded * sizeof(RECORD));
    if (ring->records == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ring->turns = ProbeAllocate((SIZE_T)rounded * sizeof(ULONG));
    if (ring->turns == NULL) {
        ProbeFree(ring->records);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ExInitializeFastMutex(&ring->drain);
    RingClear();
    return STATUS_SUCCESS;
}

VOID RingDestroy(VOID)
{
    ProbeFree((PVOID)probe.ring.turns);
    ProbeFree(probe.ring.records);
}

/* Empties the ring and starts the sequence anew; nobody may produce meanwhile. */
VOID RingReset(VOID)
{
    ExAcquireFastMutex(&probe.ring.drain);
    RingClear();
    ExReleaseFastMutex(&probe.ring.drain);
}

/* A slot to fill, or NULL when the ring is full: `sequence` counts either way. */
RECORD *RingReserve(ULONG *sequence)
{
    RING *ring = &probe.ring;
    LONG64 seen = ring->reserve;

    for (;;) {
        ULONG position = POSITION(seen);
        ULONG drops = DROPS(seen);
        ULONG slot = position & (ring->slots - 1);
        LONG lag = (LONG)(ring->turns[slot] - position);
        LONG64 now;

        if (lag > 0) { /* somebody was faster: `seen` is stale */
            seen = ReadReserve();
            continue;
        }
        now = __sync_val_compare_and_swap(
            &ring->reserve, seen, lag == 0 ? RESERVE_WORD(position + 1, drops) : RESERVE_WORD(position, drops + 1));
        if (now == seen) {
            RECORD *record = &ring->records[slot];

            *sequence = position + drops + 1;
            if (lag < 0) {
                return NULL;
            }
            record->event.payload_offset = position; /* until it is published */
            return record;
        }
        seen = now;
    }
}

VOID RingPublish(RECORD *record)
{
    ULONG position = record->event.payload_offset;

    record->event.payload_offset = 0;
    InterlockedExchange((volatile LONG *)&probe.ring.turns[position & (probe.ring.slots - 1)], (LONG)(position + 1));
}

/* Widens both counters; the caller holds `drain`. */
static ULONG64 Widen(VOID)
{
    RING *ring = &probe.ring;
    LONG64 word = ReadReserve();

    ring->positions += POSITION(word) - (ULONG)ring->positions;
    ring->drops += DROPS(word) - (ULONG)ring->drops;
    return ring->positions + ring->drops;
}

VOID RingTotals(uint64_t *recorded, uint64_t *dropped)
{
    ExAcquireFastMutex(&probe.ring.drain);
    Widen();
    *recorded = probe.ring.positions;
    *dropped = probe.ring.drops;
    ExReleaseFastMutex(&probe.ring.drain);
}

/* Events carry the low half of their sequence; it lies at most 2^32 behind the newest one. */
static ULONG64 WidenSequence(ULONG64 newest, ULONG64 sequence)
{
    return newest - (ULONG)((ULONG)newest - (ULONG)sequence);
}

static ULONG RecordBytes(const RECORD *record)
{
    return (ULONG)sizeof(REGPROBE_EVENT) + ((record->event.payload_length + 7) & ~7U);
}

static RECORD *ReadyRecord(ULONG position)
{
    RING *ring = &probe.ring;
    ULONG slot = position & (ring->slots - 1);

    return ring->turns[slot] == position + 1 ? &ring->records[slot] : NULL;
}

/* Moves as many events as fit from the ring to `output`: header, events, payloads. */
NTSTATUS RingDrain(PVOID output, ULONG capacity, ULONG max_events, ULONG *used)
{
    RING *ring = &probe.ring;
    REGPROBE_DRAIN_REPLY *reply = output;
    REGPROBE_EVENT *events = (REGPROBE_EVENT *)(reply + 1);
    ULONG count = 0, bytes = sizeof(*reply), index, payload_offset = 0;
    ULONG64 newest;
    UCHAR *payload;
    RECORD *record;

    if (capacity < sizeof(*reply)) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    ExAcquireFastMutex(&ring->drain);
    while ((max_events == 0 || count < max_events) && count < ring->slots) {
        record = ReadyRecord(ring->head + count);
        if (record == NULL || RecordBytes(record) > capacity - bytes) {
            break;
        }
        bytes += RecordBytes(record);
        count++;
    }
    newest = Widen();
    payload = (UCHAR *)(events + count);
    for (index = 0; index < count; index++) {
        REGPROBE_EVENT *event = &events[index];
        ULONG padded;

        record = ReadyRecord(ring->head);
        RtlCopyMemory(event, &record->event, sizeof(*event));
        padded = (event->payload_length + 7) & ~7U;
        RtlCopyMemory(payload + payload_offset, record->payload, event->payload_length);
        RtlZeroMemory(payload + payload_offset + event->payload_length, padded - event->payload_length);
        event->sequence = WidenSequence(newest, event->sequence);
        if (event->parent != 0) {
            event->parent = WidenSequence(newest, event->parent);
        }
        event->payload_offset = payload_offset;
        payload_offset += padded;
        InterlockedExchange(
            (volatile LONG *)&ring->turns[ring->head & (ring->slots - 1)], (LONG)(ring->head + ring->slots));
        ring->head++;
    }
    reply->count = count;
    reply->remaining = (ULONG)ring->positions - ring->head;
    reply->dropped = ring->drops;
    reply->payload_offset = (ULONG)(payload - (UCHAR *)output);
    reply->payload_length = payload_offset;
    reply->next_sequence = newest + 1;
    ExReleaseFastMutex(&ring->drain);
    *used = bytes;
    return STATUS_SUCCESS;
}

/*
 * Appends up to `limit` of `length` bytes that may be user memory to the payload and describes them in `span`.
 * Returns the bytes stored; fewer than asked for when the payload is full or the bytes can't be read.
 */
ULONG PayloadAppend(RECORD *record, REGPROBE_SPAN *span, const VOID *source, ULONG length, ULONG limit)
{
    REGPROBE_EVENT *event = &record->event;
    ULONG room = REGPROBE_EVENT_PAYLOAD - event->payload_length;
    ULONG bytes = length;

    span->offset = event->payload_length;
    span->full_length = length;
    span->address = Address(source);
    if (bytes > limit) {
        bytes = limit;
    }
    if (bytes > room) {
        bytes = room;
    }
    if (bytes != 0 && !NT_SUCCESS(ProbeCopy(record->payload + event->payload_length, source, bytes))) {
        event->flags |= REGPROBE_EVENT_FAULT;
        bytes = 0;
    }
    span->length = bytes;
    /* Keep every span aligned for text and 64-bit members. */
    bytes = (bytes + 7) & ~7U;
    event->payload_length += bytes < room ? bytes : room;
    return span->length;
}

/* Records what an action of `rule` did inside `notification`. */
VOID EventAction(NOTIFICATION *notification, const RULE *rule, const ACTION_REPORT *report)
{
    const REGPROBE_EVENT *parent = &notification->record->event;
    ULONG sequence;
    RECORD *record = RingReserve(&sequence);
    REGPROBE_EVENT *event;
    ULONG position;

    if (record == NULL) {
        return; /* counted as a drop by RingReserve */
    }
    event = &record->event;
    position = event->payload_offset;
    RtlZeroMemory(event, sizeof(*event));
    event->payload_offset = position;
    event->kind = REGPROBE_KIND_ACTION;
    event->sequence = sequence;
    event->parent = notification->sequence;
    event->time = (ULONG64)report->time;
    event->filter_id = notification->filter->id;
    event->notify_class = notification->notify_class;
    event->rule_id = rule->rule_id;
    event->action = rule->request.action;
    event->process_id = parent->process_id;
    event->thread_id = parent->thread_id;
    event->callback_context = parent->callback_context;
    event->information = parent->information;
    event->irql = parent->irql;
    event->previous_mode = parent->previous_mode;
    event->is_post = parent->is_post;
    event->status = report->status;
    event->object = Address(report->object);
    event->object_id = report->object_id;
    event->transaction = Address(report->transaction);
    event->value = report->value;
    event->disposition = report->disposition;
    event->result_length = report->result_length;
    if (report->data != NULL) {
        if (PayloadAppend(record, &event->data, report->data, report->data_length, REGPROBE_DATA_CAPTURE)
            < report->data_length) {
            event->flags |= REGPROBE_EVENT_DATA_TRUNCATED;
        }
    }
    if (report->key_name != NULL) {
        ULONG length = report->key_name->Length;

        event->key_name.maximum_length = report->key_name->MaximumLength;
        if (PayloadAppend(record, &event->key_name, report->key_name->Buffer, length, REGPROBE_EVENT_PAYLOAD) < length) {
            event->flags |= REGPROBE_EVENT_NAME_TRUNCATED;
        }
    }
    RingPublish(record);
}
