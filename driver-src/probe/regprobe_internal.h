/*
 * The parts of the probe and how they hang together.
 *
 *   driver.c    entry, unload, device, IOCTL dispatch
 *   filters.c   registrations: slots, callback routines, removal, the way of a notification
 *   classes.c   which member of which structure holds what, per notify class
 *   capture.c   a notification becomes an event record
 *   names.c     object ids and key names, where asking for them is allowed
 *   rules.c     copy-on-write rule tables
 *   matching.c  the conditions of a rule
 *   actions.c   what a matched rule does
 *   completion.c  actions that take an operation's place or change what it gave
 *   calls.c     registry calls made by the probe itself
 *   gates.c     where operations stand until they are let through
 *   events.c    the ring, draining, action events
 *   memory.c    counted pool
 *   compat.c    routines resolved at run time
 *
 * Locks: `control` (fast mutex) serialises requests that change filters and rules; it is never held across
 * a Cm or Zw routine, because CmUnRegisterCallback waits for callbacks. `rules_lock` (spin lock) guards the
 * table pointer of each filter for the few instructions it takes to reference it. `drain` (fast mutex)
 * serialises the consumers of the ring; producers take no lock at all.
 */
#ifndef REGPROBE_INTERNAL_H
#define REGPROBE_INTERNAL_H

#include "compat.h"

#define REGPROBE_STDINT
#include "regprobe.h"

#define PROBE_TAG 'pRgR'
/* Of memory that an operation may point into after its rule is gone: it stays until the driver unloads. */
#define PROBE_KEPT_TAG 'kRgR'
#define INIT_CODE __attribute__((section("INIT")))
#define QUIET_THREADS 8

typedef struct _RECORD {
    REGPROBE_EVENT event;
    UCHAR payload[REGPROBE_EVENT_PAYLOAD];
} RECORD;

/* The producers' half is one 64-bit word: position in the low half, drops in the high half. */
typedef struct _RING {
    RECORD *records;
    volatile ULONG *turns; /* per slot: position it is free for, or position + 1 when it can be read */
    ULONG slots;           /* a power of two */
    volatile LONG64 reserve;
    ULONG head;            /* the consumers' position, under `drain` */
    ULONG64 positions;     /* `reserve` widened to 64 bits when it was last looked at, under `drain` */
    ULONG64 drops;
    FAST_MUTEX drain;
} RING;

typedef struct _RULE {
    volatile LONG references;
    volatile LONG hits;
    ULONG rule_id;
    ULONG keeps_input; /* an operation may still point into this rule (ACTION_EDIT_INPUT) */
    UNICODE_STRING key;  /* upper case, no trailing backslash */
    UNICODE_STRING value_name; /* upper case */
    UNICODE_STRING target;
    UNICODE_STRING call_value_name;
    struct _RULE *next_kept;
    REGPROBE_RULE request;
} RULE;

typedef struct _RULE_TABLE {
    volatile LONG references;
    ULONG count;
    RULE *rules[1];
} RULE_TABLE;

typedef enum _FILTER_STATE { FILTER_REGISTERING = 1, FILTER_ACTIVE, FILTER_REMOVING } FILTER_STATE;

typedef struct _FILTER {
    ULONG id;
    ULONG slot;
    ULONG flags; /* REGPROBE_FILTER_* */
    FILTER_STATE state;
    LARGE_INTEGER cookie;
    volatile LONG in_flight;
    volatile LONG cleanups;
    volatile ULONG rule_classes[2]; /* union of the classes of the rules: read without a lock */
    RULE_TABLE *rules;
    RECORD *volatile spare; /* for notifications that are matched but not recorded */
} FILTER;

#define NO_MEMBER 0xFF

/* Offsets of the members of one structure; NO_MEMBER where it has none. */
typedef struct _SHAPE {
    UCHAR size;
    UCHAR short_size; /* before Vista */
    UCHAR object;
    UCHAR root_object;
    UCHAR name;
    UCHAR second_name;
    UCHAR class_name;
    UCHAR data;        /* input buffer */
    UCHAR data_length; /* ULONG */
    UCHAR output;      /* output buffer */
    UCHAR capacity;    /* ULONG, bytes at `output` */
    UCHAR capacity_pointer; /* PULONG instead: in the bytes available, out the bytes produced */
    UCHAR result_length;    /* PULONG */
    UCHAR call_context;
    UCHAR object_context;
} SHAPE;

typedef enum _NAME_SOURCE { NAME_NONE, NAME_BORROWED, NAME_EX, NAME_POOL } NAME_SOURCE;

typedef struct _KEY_NAME {
    PCUNICODE_STRING text;
    NAME_SOURCE source;
} KEY_NAME;

/* One call of a callback, on its stack. */
typedef struct _NOTIFICATION {
    FILTER *filter;
    RECORD *record; /* in the ring, or the spare of the filter */
    ULONG sequence; /* 0: not in the ring */
    ULONG notify_class;
    ULONG pre_class; /* the class whose structure `pre` is */
    const SHAPE *shape; /* of `pre`; NULL for classes this driver does not know */
    PUCHAR information;
    PUCHAR pre; /* the structure of the pre notification: `information` itself, or PreInformation */
    REG_POST_OPERATION_INFORMATION *post; /* NULL in a pre notification */
    NTSTATUS status;
    PVOID object;
    PVOID root_object;
    BOOLEAN is_create_or_open;
    BOOLEAN may_name_object;
    UCHAR previous_mode;
    KEY_NAME object_name; /* of the root object in create and open */
    UNICODE_STRING name;  /* captured CompleteName, ValueName, NewName ... */
    BOOLEAN name_complete;
} NOTIFICATION;

typedef struct _DECISION {
    BOOLEAN decided;
    BOOLEAN raise;
    NTSTATUS returned;
    NTSTATUS raise_status; /* 0: write through NULL */
    ULONG rule_id;
} DECISION;

/* One registry call of the probe; results are in the second half. Buffers are non-paged. */
typedef struct _REGISTRY_CALL {
    ULONG call; /* REGPROBE_CALL_* */
    ULONG flags;
    BOOLEAN create; /* create the target whatever the call is */
    ACCESS_MASK access;
    ULONG value_type;
    ULONG index;
    HANDLE root; /* kernel handle the target is relative to, or NULL */
    const UNICODE_STRING *target;
    const UNICODE_STRING *value_name;
    PVOID data;
    ULONG data_length; /* input bytes, or size of the output buffer */
    NTSTATUS status;
    NTSTATUS open_status;
    ULONG disposition;
    ULONG result_length;
    PVOID object;
    HANDLE process_id;
    HANDLE thread_id;
    LONG64 time_begin;
    LONG64 time_end;
} REGISTRY_CALL;

/* What an action event tells beside what its notification told. */
typedef struct _ACTION_REPORT {
    NTSTATUS status;
    LONG64 time;
    ULONG64 value;
    PVOID object;
    ULONG64 object_id;
    PVOID transaction;
    ULONG disposition;
    ULONG result_length;
    PCUNICODE_STRING key_name;
    const VOID *data;
    ULONG data_length;
} ACTION_REPORT;

/* A thread that is running rules of a filter; see RulesApply. */
typedef struct _ACTING {
    struct _ACTING *next;
    const FILTER *filter;
    HANDLE thread;
} ACTING;

typedef struct _PROBE {
    PDRIVER_OBJECT driver;
    PDEVICE_OBJECT device;
    ULONG os_major;
    ULONG os_minor;
    ULONG os_build;
    ULONG os_service_pack;
    BOOLEAN short_structures; /* before Vista: members up to CallContext only (B-VER-11) */
    POOL_TYPE pool_type;
    ROUTINES routines;
    ULONG callback_major;
    ULONG callback_minor;
    LONG64 time_frequency;
    RING ring;
    FAST_MUTEX control;
    KSPIN_LOCK rules_lock;
    FILTER *volatile filters[REGPROBE_MAX_FILTERS];
    ULONG next_filter_id;
    ULONG next_rule_id;
    ULONG rule_count;
    ACTING *acting; /* under `rules_lock` */
    RULE *kept_rules; /* rules an operation may still point into; freed at unload */
    volatile LONG quiet_threads;
    PVOID volatile quiet[QUIET_THREADS];
    volatile LONG faults;
    volatile LONG live_contexts;
    volatile LONG pool_allocations;
    volatile LONG pool_bytes;
} PROBE;

extern PROBE probe;

/* memory.c */
PVOID ProbeAllocate(SIZE_T size);
/* As ProbeAllocate, with PROBE_KEPT_TAG, and not counted as outstanding. */
PVOID ProbeAllocateKept(SIZE_T size);
VOID ProbeFree(PVOID memory);
/* seh_copy that counts faults. */
NTSTATUS ProbeCopy(PVOID destination, const VOID *source, SIZE_T length);

/* events.c */
NTSTATUS RingCreate(ULONG slots);
VOID RingDestroy(VOID);
RECORD *RingReserve(ULONG *sequence);
VOID RingPublish(RECORD *record);
VOID RingReset(VOID);
VOID RingTotals(uint64_t *recorded, uint64_t *dropped);
NTSTATUS RingDrain(PVOID output, ULONG capacity, ULONG max_events, ULONG *used);
VOID EventAction(NOTIFICATION *notification, const RULE *rule, const ACTION_REPORT *report);
ULONG PayloadAppend(RECORD *record, REGPROBE_SPAN *span, const VOID *source, ULONG length, ULONG limit);

/* classes.c */
const SHAPE *ClassShape(ULONG notify_class, ULONG *pre_class, BOOLEAN *is_post);
ULONG ClassSize(const SHAPE *shape, ULONG pre_class, const UCHAR *information);
BOOLEAN ClassHasValueName(ULONG pre_class);

static inline BOOLEAN ClassIsCreateOrOpen(ULONG pre_class)
{
    return pre_class == CLASS_PRE_CREATE_EX || pre_class == CLASS_PRE_OPEN_EX;
}

/* Members of a structure, NULL and 0 where it has none. */
static inline PVOID MemberPointer(const UCHAR *information, UCHAR offset)
{
    return offset == NO_MEMBER ? NULL : *(PVOID *)(information + offset);
}

static inline ULONG MemberUlong(const UCHAR *information, UCHAR offset)
{
    return offset == NO_MEMBER ? 0 : *(const ULONG *)(information + offset);
}

/* capture.c */
VOID CaptureNotification(NOTIFICATION *notification, PVOID context, PVOID information);

/* names.c */
NTSTATUS KeyNameFetch(FILTER *filter, PVOID object, KEY_NAME *name, ULONG64 *object_id);
VOID KeyNameRelease(KEY_NAME *name);
NTSTATUS ObjectNameAllocate(PVOID object, PUNICODE_STRING name);
WCHAR FoldCharacter(WCHAR character);
/* Compares `first` + '\' + `second` (either may be empty) with an upper-case path. */
BOOLEAN PathMatches(PCUNICODE_STRING first, PCUNICODE_STRING second, PCUNICODE_STRING path, BOOLEAN or_below);

/* rules.c */
NTSTATUS RuleAdd(const REGPROBE_RULE *request, uint32_t *rule_id);
NTSTATUS RulesClear(ULONG filter_id, ULONG rule_id);
VOID RulesDetach(FILTER *filter);
VOID RulesApply(NOTIFICATION *notification, DECISION *decision);
VOID RuleKeep(RULE *rule);
VOID RulesFreeKept(VOID);

/* matching.c */
BOOLEAN RuleMatches(NOTIFICATION *notification, RULE *rule);

/* actions.c */
VOID ActionRun(NOTIFICATION *notification, RULE *rule, DECISION *decision);

/* completion.c */
/* The create or open structure of a notification, from Vista on; else NULL. */
PREG_CREATE_KEY_INFORMATION ActionCreateStructure(const NOTIFICATION *notification);
/* The object an action is about; NULL where there is none. */
PVOID ActionSubject(const NOTIFICATION *notification, const RULE *rule);
NTSTATUS ActionOpenBase(const NOTIFICATION *notification, const RULE *rule, HANDLE *handle);
/* Each gives what the callback is to return. */
NTSTATUS CompleteWithKey(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report);
NTSTATUS CompleteFailedWithKey(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report);
NTSTATUS CompleteWithOutput(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report);
NTSTATUS CompleteElsewhere(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report);
/* Gives the action's status. */
NTSTATUS OutputEdit(NOTIFICATION *notification, const RULE *rule, ACTION_REPORT *report);

/* calls.c */
VOID RegistryCallRun(REGISTRY_CALL *call);
NTSTATUS RegistryCallRunInWorker(REGISTRY_CALL *call);
NTSTATUS KeyOpenByPointer(PVOID object, ACCESS_MASK access, HANDLE *handle);
NTSTATUS KernelCall(const REGPROBE_KERNEL_CALL *request, REGPROBE_KERNEL_CALL_REPLY *reply);

/* gates.c */
VOID GatesCreate(VOID);
VOID GatesOpen(VOID);
VOID GatesClose(VOID);
/* STATUS_SUCCESS when the gate was open, or was opened, STATUS_TIMEOUT when it was not in time. */
NTSTATUS GateStand(ULONG number, ULONG milliseconds);
NTSTATUS GateRequest(const REGPROBE_GATE *request, REGPROBE_GATE_REPLY *reply);

/* crash.c */
NTSTATUS CrashSystem(const REGPROBE_CRASH *request);

/* filters.c */
NTSTATUS FilterAdd(const REGPROBE_ADD_FILTER *request, REGPROBE_ADD_FILTER_REPLY *reply);
NTSTATUS FilterRemove(const REGPROBE_REMOVE_FILTER *request, REGPROBE_REMOVE_FILTER_REPLY *reply);
VOID FiltersRemoveAll(VOID);
FILTER *FilterFind(ULONG id);
ULONG FiltersCount(uint32_t *in_flight);
/* The calls a thread makes between these are no workload: its notifications are passed unseen. */
VOID QuietEnter(VOID);
VOID QuietLeave(VOID);

/* Widen a pointer without its sign: addresses are 64-bit unsigned in the ABI. */
static inline ULONG64 Address(const VOID *pointer)
{
    return (ULONG64)(ULONG_PTR)pointer;
}

#endif
