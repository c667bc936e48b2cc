/*
 * A notification becomes an event record.
 *
 * Structures and object pointers are kernel memory; strings, data and output buffers may be the requester's
 * own (B-CAP-01..14) and are read through seh_copy only. Nothing is kept beyond the callback.
 */
#include "regprobe_internal.h"

#define NAME_LIMIT 1024

static BOOLEAN CaptureText(RECORD *record, REGPROBE_SPAN *span, const UNICODE_STRING *text, ULONG limit)
{
    UNICODE_STRING header;

    if (text == NULL) {
        return FALSE;
    }
    if (!NT_SUCCESS(ProbeCopy(&header, text, sizeof(header)))) {
        record->event.flags |= REGPROBE_EVENT_FAULT;
        return FALSE;
    }
    /* Only Length is checked by the system (B-CAP-11). */
    span->maximum_length = header.MaximumLength;
    if (PayloadAppend(record, span, header.Buffer, header.Length & ~1U, limit) < (header.Length & ~1U)) {
        record->event.flags |= REGPROBE_EVENT_NAME_TRUNCATED;
        return FALSE;
    }
    return TRUE;
}

static BOOLEAN ReadUlong(RECORD *record, const VOID *source, uint32_t *value)
{
    if (source == NULL) {
        return FALSE;
    }
    if (!NT_SUCCESS(ProbeCopy(value, source, sizeof(*value)))) {
        record->event.flags |= REGPROBE_EVENT_FAULT;
        *value = 0;
        return FALSE;
    }
    return TRUE;
}

static VOID CaptureData(RECORD *record, const VOID *source, ULONG length)
{
    if (PayloadAppend(record, &record->event.data, source, length, REGPROBE_DATA_CAPTURE) < length) {
        record->event.flags |= REGPROBE_EVENT_DATA_TRUNCATED;
    }
}

/* Output of a finished query: as many bytes as the operation says it produced, within the buffer. */
static VOID CaptureOutput(NOTIFICATION *notification)
{
    RECORD *record = notification->record;
    REGPROBE_EVENT *event = &record->event;
    const SHAPE *shape = notification->shape;
    PVOID output = MemberPointer(notification->pre, shape->output);
    uint32_t capacity = MemberUlong(notification->pre, shape->capacity);
    uint32_t produced = 0;

    if (shape->capacity_pointer != NO_MEMBER) {
        ReadUlong(record, MemberPointer(notification->pre, shape->capacity_pointer), &capacity);
    }
    if (ReadUlong(record, MemberPointer(notification->pre, shape->result_length), &produced)) {
        event->flags |= REGPROBE_EVENT_HAS_RESULT_LENGTH;
        event->result_length = produced;
    } else {
        produced = capacity;
    }
    if (notification->status != STATUS_SUCCESS && notification->status != STATUS_BUFFER_OVERFLOW) {
        return;
    }
    if (output != NULL) {
        CaptureData(record, output, produced < capacity ? produced : capacity);
    }
}

/* The members only create and open have (ns-wdm-_reg_create_key_information). */
static VOID CaptureCreate(NOTIFICATION *notification)
{
    const REG_CREATE_KEY_INFORMATION *create = (const REG_CREATE_KEY_INFORMATION *)notification->pre;
    REGPROBE_EVENT *event = &notification->record->event;

    event->transaction = Address(create->Transaction);
    if (!notification->post) {
        return;
    }
    if (ReadUlong(notification->record, create->Disposition, &event->disposition)) {
        event->flags |= REGPROBE_EVENT_HAS_DISPOSITION;
    }
    if (create->ResultObject != NULL) {
        PVOID result = NULL;

        if (NT_SUCCESS(ProbeCopy(&result, create->ResultObject, sizeof(result)))) {
            event->flags |= REGPROBE_EVENT_HAS_RESULT_OBJECT;
            event->result_object = Address(result);
        }
    }
}

/* May the routines that name a key be asked about the object of this notification? */
static BOOLEAN MayNameObject(const NOTIFICATION *notification)
{
    switch (notification->notify_class) {
    case CLASS_POST_CLOSE:      /* B-OBJ-06 */
    case CLASS_CONTEXT_CLEANUP: /* B-INF-14 */
    case CLASS_POST_UNLOAD:     /* the hive is gone */
        return FALSE;
    case CLASS_PRE_CLOSE:
        /* B-OBJ-05 allows the Cm routines; ObQueryNameString would be a driver support routine (B-OBJ-04). */
        return probe.routines.get_key_object_id != NULL;
    default:
        return notification->object != NULL;
    }
}

/* Finds the structures and the object; the record gets every scalar of them. */
static VOID CaptureStructure(NOTIFICATION *notification, PVOID information)
{
    REGPROBE_EVENT *event = &notification->record->event;
    const SHAPE *shape = notification->shape;
    BOOLEAN is_post = event->is_post;

    notification->information = information;
    if (!is_post) {
        notification->pre = information;
        notification->object = MemberPointer(information, shape->object);
    } else if (notification->notify_class == CLASS_XP_POST_CREATE || notification->notify_class == CLASS_XP_POST_OPEN) {
        const REG_POST_CREATE_KEY_INFORMATION *post = information;

        notification->pre = information;
        notification->status = post->Status;
        notification->object = post->Status == STATUS_SUCCESS ? post->Object : NULL;
        event->object = Address(post->Object);
        event->status = event->return_status = post->Status;
        return;
    } else {
        REG_POST_OPERATION_INFORMATION *post = information;

        notification->post = post;
        notification->status = post->Status;
        /* Defined with STATUS_SUCCESS only, not with other success codes (B-OBJ-01, 02, 07). */
        notification->object = post->Status == STATUS_SUCCESS ? post->Object : NULL;
        event->object = Address(post->Object);
        event->status = event->return_status = post->Status;
        if (probe.short_structures) {
            return;
        }
        event->return_status = post->ReturnStatus;
        event->call_context = Address(post->CallContext);
        event->object_context = Address(post->ObjectContext);
        notification->pre = post->PreInformation;
        if (notification->pre == NULL) {
            return;
        }
        if (notification->object == NULL && !notification->is_create_or_open
            && notification->notify_class != CLASS_POST_LOAD) {
            /* Of a failed operation on a handle the object is alive: the requester's handle holds it. */
            notification->object = MemberPointer(notification->pre, shape->object);
        }
    }
    notification->root_object = MemberPointer(notification->pre, shape->root_object);
    event->root_object = Address(notification->root_object);
    if (!is_post) {
        event->object = Address(notification->object);
        if (!probe.short_structures) {
            event->call_context = Address(MemberPointer(information, shape->call_context));
            event->object_context = Address(MemberPointer(information, shape->object_context));
        }
    }
}

static VOID CaptureRaw(NOTIFICATION *notification)
{
    RECORD *record = notification->record;
    REGPROBE_EVENT *event = &record->event;
    ULONG size;

    if (notification->post != NULL) {
        size = probe.short_structures ? (ULONG)FIELD_OFFSET(REG_POST_OPERATION_INFORMATION, PreInformation)
                                      : (ULONG)sizeof(*notification->post);
        PayloadAppend(record, &event->structure, notification->information, size, size);
        if (notification->pre != NULL) {
            size = ClassSize(notification->shape, notification->pre_class, notification->pre);
            PayloadAppend(record, &event->pre_structure, notification->pre, size, size);
        }
    } else {
        size = ClassSize(notification->shape, notification->pre_class, notification->information);
        PayloadAppend(record, &event->structure, notification->information, size, size);
    }
}

static VOID CaptureBuffers(NOTIFICATION *notification)
{
    RECORD *record = notification->record;
    const SHAPE *shape = notification->shape;
    const UCHAR *pre = notification->pre;

    if (shape->data != NO_MEMBER && notification->post == NULL) {
        PVOID data = MemberPointer(pre, shape->data);

        if (data != NULL) { /* NULL is legal for zero bytes (B-CAP-10) */
            CaptureData(record, data, MemberUlong(pre, shape->data_length));
        }
    } else if (shape->output != NO_MEMBER && notification->post != NULL) {
        CaptureOutput(notification);
    }
    if (shape->name != NO_MEMBER) {
        REGPROBE_SPAN *span = &record->event.name;

        notification->name_complete = CaptureText(record, span, MemberPointer(pre, shape->name), NAME_LIMIT);
        notification->name.Buffer = (PWSTR)(record->payload + span->offset);
        notification->name.Length = notification->name.MaximumLength = (USHORT)span->length;
    }
}

static VOID CaptureIdentity(NOTIFICATION *notification)
{
    RECORD *record = notification->record;
    REGPROBE_EVENT *event = &record->event;
    /* Create and open are told by where they start; a finished one by what it gave. */
    BOOLEAN of_root = notification->is_create_or_open && notification->post == NULL;
    PVOID object = of_root ? notification->root_object : notification->object;
    ULONG64 id;

    if (object == NULL || !(of_root || notification->may_name_object)
        || !NT_SUCCESS(KeyNameFetch(notification->filter, object, &notification->object_name, &id))) {
        event->flags |= REGPROBE_EVENT_NO_OBJECT_ID;
        return;
    }
    if (of_root) {
        event->root_object_id = id;
    } else {
        event->object_id = id;
    }
    if (probe.routines.get_key_object_id == NULL) {
        event->flags |= REGPROBE_EVENT_NO_OBJECT_ID; /* a name, but no identifier */
    }
    if (notification->object_name.text != NULL) {
        event->key_name.maximum_length = notification->object_name.text->MaximumLength;
        if (PayloadAppend(record, &event->key_name, notification->object_name.text->Buffer,
                notification->object_name.text->Length, REGPROBE_EVENT_PAYLOAD)
            < notification->object_name.text->Length) {
            event->flags |= REGPROBE_EVENT_NAME_TRUNCATED;
        }
    }
}

/* Fills `notification` and its record from the arguments of a callback. */
VOID CaptureNotification(NOTIFICATION *notification, PVOID context, PVOID information)
{
    RECORD *record = notification->record;
    REGPROBE_EVENT *event = &record->event;
    const FILTER *filter = notification->filter;
    ULONG position = event->payload_offset;
    BOOLEAN is_post;

    RtlZeroMemory(event, sizeof(*event));
    event->payload_offset = position;
    event->kind = REGPROBE_KIND_NOTIFICATION;
    event->sequence = notification->sequence;
    event->time = (ULONG64)KeQueryPerformanceCounter(NULL).QuadPart;
    event->filter_id = filter->id;
    event->notify_class = notification->notify_class;
    event->process_id = Address(PsGetCurrentProcessId());
    event->thread_id = Address(PsGetCurrentThreadId());
    event->callback_context = Address(context);
    event->information = Address(information);
    event->irql = KeGetCurrentIrql();
    event->previous_mode = notification->previous_mode = (UCHAR)ExGetPreviousMode();

    notification->shape = ClassShape(notification->notify_class, &notification->pre_class, &is_post);
    event->is_post = is_post;
    if (notification->shape == NULL || information == NULL) {
        event->flags |= REGPROBE_EVENT_NO_OBJECT_ID;
        return;
    }
    notification->is_create_or_open = ClassIsCreateOrOpen(notification->pre_class);
    CaptureStructure(notification, information);
    notification->may_name_object = MayNameObject(notification);
    if (!(filter->flags & REGPROBE_FILTER_NO_RAW)) {
        CaptureRaw(notification);
    }
    if (notification->pre != NULL) {
        if (notification->is_create_or_open && !probe.short_structures) {
            CaptureCreate(notification);
        }
        CaptureBuffers(notification);
    }
    if (!(filter->flags & REGPROBE_FILTER_NO_NAMES)) {
        CaptureIdentity(notification);
    } else {
        event->flags |= REGPROBE_EVENT_NO_OBJECT_ID;
    }
    if (notification->pre != NULL && notification->shape->second_name != NO_MEMBER) {
        /* RemainingName exists in the V1 structure only, which says so itself (B-VER-06). */
        if (!notification->is_create_or_open
            || (!probe.short_structures && ((REG_CREATE_KEY_INFORMATION *)notification->pre)->Reserved != NULL)) {
            const UNICODE_STRING *text = MemberPointer(notification->pre, notification->shape->second_name);

            CaptureText(record, &event->second_name, text, NAME_LIMIT);
        }
    }
    if (notification->pre != NULL && notification->shape->class_name != NO_MEMBER && !probe.short_structures) {
        const UNICODE_STRING *text = MemberPointer(notification->pre, notification->shape->class_name);

        CaptureText(record, &event->class_name, text, NAME_LIMIT);
    }
}
