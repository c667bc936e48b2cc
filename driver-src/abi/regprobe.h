/*
 * The contract between the probe driver (regprobe.sys) and everything that talks to it.
 *
 * This is the only definition of IOCTL codes, rule records and event records. The driver and the
 * runner include it; Python parses the very same file (harness/probe/abi.py, dissect.cstruct).
 * Only fixed-width members, natural alignment and explicit padding, so that x64, x86 and Python
 * agree on every offset; tests/driver/test_abi.py proves it with the compilers.
 *
 * Rules of change: a new member or code raises REGPROBE_ABI_MINOR, a moved or reused one raises
 * REGPROBE_ABI_MAJOR. The driver refuses a request of another major version with
 * STATUS_REVISION_MISMATCH; REGPROBE_INFO is answered to anybody so that both sides can be named.
 */
#ifndef REGPROBE_H
#define REGPROBE_H

#ifdef REGPROBE_STDINT
#include <stdint.h>
#endif

#define REGPROBE_ABI_MAJOR 1
#define REGPROBE_ABI_MINOR 2
#define REGPROBE_ABI_VERSION 0x00010002

#define REGPROBE_MAX_FILTERS 64
#define REGPROBE_MAX_RULES 256
#define REGPROBE_MAX_ALTITUDE 1024
#define REGPROBE_MAX_KEY 512
#define REGPROBE_MAX_VALUE 256
#define REGPROBE_MAX_DATA 512
#define REGPROBE_EVENT_PAYLOAD 1792
#define REGPROBE_DATA_CAPTURE 256
#define REGPROBE_RING_SLOTS 4096
#define REGPROBE_RING_SLOTS_MIN 16
#define REGPROBE_RING_SLOTS_MAX 65536
#define REGPROBE_GATES 8
#define REGPROBE_MAX_GATE_MS 60000         /* the longest wait at a gate */

/* IOCTL codes: CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + n, METHOD_BUFFERED, FILE_READ_DATA | FILE_WRITE_DATA) */
#define IOCTL_REGPROBE_INFO 0x0022E000
#define IOCTL_REGPROBE_ADD_FILTER 0x0022E004
#define IOCTL_REGPROBE_REMOVE_FILTER 0x0022E008
#define IOCTL_REGPROBE_SET_RULE 0x0022E00C
#define IOCTL_REGPROBE_CLEAR_RULES 0x0022E010
#define IOCTL_REGPROBE_DRAIN 0x0022E014
#define IOCTL_REGPROBE_STATISTICS 0x0022E018
#define IOCTL_REGPROBE_KERNEL_CALL 0x0022E01C
#define IOCTL_REGPROBE_RESET 0x0022E020         /* removes every filter and rule, empties the ring, sequence from 1 again */
#define IOCTL_REGPROBE_CRASH 0x0022E024         /* since 1.1: brings the system down; no answer is the success */
#define IOCTL_REGPROBE_GATE 0x0022E028          /* since 1.2: opens or closes a gate, or waits until somebody stands there */

/* REGPROBE_INFO_REPLY.routines: what MmGetSystemRoutineAddress found */
#define REGPROBE_HAS_REGISTER_CALLBACK 0x00000001
#define REGPROBE_HAS_REGISTER_CALLBACK_EX 0x00000002
#define REGPROBE_HAS_GET_CALLBACK_VERSION 0x00000004
#define REGPROBE_HAS_SET_OBJECT_CONTEXT 0x00000008
#define REGPROBE_HAS_GET_KEY_OBJECT_ID 0x00000010
#define REGPROBE_HAS_GET_KEY_OBJECT_ID_EX 0x00000020
#define REGPROBE_HAS_RELEASE_KEY_OBJECT_ID_EX 0x00000040
#define REGPROBE_HAS_GET_BOUND_TRANSACTION 0x00000080
#define REGPROBE_HAS_UNREGISTER_CALLBACK 0x00000100

/* REGPROBE_ADD_FILTER.flags and REGPROBE_REMOVE_FILTER.flags */
#define REGPROBE_FILTER_LEGACY 0x00000001      /* CmRegisterCallback instead of CmRegisterCallbackEx */
#define REGPROBE_FILTER_AT_APC_LEVEL 0x00000002 /* make the call at APC_LEVEL (B-REG-16) */
#define REGPROBE_FILTER_SILENT 0x00000004      /* apply rules, record no notification */
#define REGPROBE_FILTER_NO_NAMES 0x00000008    /* skip the object id and key name look-ups */
#define REGPROBE_FILTER_NO_RAW 0x00000010      /* skip the structure bytes */
#define REGPROBE_REMOVE_BY_COOKIE 0x00000020   /* CmUnRegisterCallback with the given cookie, whatever it is (B-REG-20) */
#define REGPROBE_FILTER_SHARED_ROUTINE 0x00000040 /* one routine for all such filters (B-REG-11); context is then the filter id */

/* REGPROBE_EVENT.kind */
#define REGPROBE_KIND_NOTIFICATION 1           /* a callback was entered */
#define REGPROBE_KIND_ACTION 2                 /* a rule's action ran inside notification `parent` */

/* REGPROBE_EVENT.flags */
#define REGPROBE_EVENT_FAULT 0x00000001        /* a pointer of the structure could not be read */
#define REGPROBE_EVENT_NAME_TRUNCATED 0x00000002
#define REGPROBE_EVENT_DATA_TRUNCATED 0x00000004
#define REGPROBE_EVENT_NO_OBJECT_ID 0x00000008 /* no identifier: routine missing, refused or object undefined */
#define REGPROBE_EVENT_HAS_DISPOSITION 0x00000010
#define REGPROBE_EVENT_HAS_RESULT_LENGTH 0x00000020
#define REGPROBE_EVENT_HAS_RESULT_OBJECT 0x00000040

/* REGPROBE_RULE.match: which of the conditions below apply; all of them must hold */
#define REGPROBE_MATCH_PROCESS 0x00000001
#define REGPROBE_MATCH_KEY_EXACT 0x00000002
#define REGPROBE_MATCH_KEY_PREFIX 0x00000004   /* the key itself or anything below it */
#define REGPROBE_MATCH_KEY_HANDLE 0x00000008   /* at or under the key of `handle`, resolved when the rule is set */
#define REGPROBE_MATCH_VALUE_NAME 0x00000010
#define REGPROBE_MATCH_STATUS 0x00000020       /* post: Status on entry equals match_status */
#define REGPROBE_MATCH_THREAD 0x00000040
#define REGPROBE_MATCH_PREVIOUS_MODE 0x00000080

/* REGPROBE_RULE.action. T: terminal, decides the return value; the others run and matching goes on. */
#define REGPROBE_ACTION_PASS 1                 /* T  return STATUS_SUCCESS */
#define REGPROBE_ACTION_RETURN 2               /* T  return `status` as it is: informational success, block, or a plain failure from post */
#define REGPROBE_ACTION_BYPASS 3               /* T  STATUS_CALLBACK_BYPASS, nothing filled */
#define REGPROBE_ACTION_BYPASS_KEY 4           /* T  create/open: complete with the key at target (created when ACTION_CREATE) */
#define REGPROBE_ACTION_BYPASS_OUTPUT 5        /* T  query/enumerate: complete with `data` as the output buffer */
#define REGPROBE_ACTION_REDIRECT 6             /* T  set/delete value: do it to value name `target` instead, then bypass */
#define REGPROBE_ACTION_OVERRIDE 7             /* T  post: ReturnStatus = status, return STATUS_CALLBACK_BYPASS */
#define REGPROBE_ACTION_OVERRIDE_KEY 8         /* T  post create/open: failure to success with the key at target */
#define REGPROBE_ACTION_WRITE_RETURN_STATUS 9  /*    post: write ReturnStatus, go on (B-NOT-22) */
#define REGPROBE_ACTION_EDIT_OUTPUT 10         /*    post: overwrite the output buffer at `offset` with `data` */
#define REGPROBE_ACTION_SET_CALL_CONTEXT 11    /*    pre: CallContext = value */
#define REGPROBE_ACTION_SET_OBJECT_CONTEXT 12  /*    CmSetCallbackObjectContext(value); reports OldContext */
#define REGPROBE_ACTION_CALL 13                /*    registry call(s) from inside the callback */
#define REGPROBE_ACTION_FETCH_NAME 14          /*    CmCallbackGetKeyObjectID or Ex; reports id and name */
#define REGPROBE_ACTION_FETCH_TRANSACTION 15   /*    CmGetBoundTransaction; reports the pointer */
#define REGPROBE_ACTION_RAISE 16               /* T  raise `status` (0: write through NULL): crash tests only */
#define REGPROBE_ACTION_DELAY 17               /*    wait `value` milliseconds */
#define REGPROBE_ACTION_OPEN_OBJECT 18         /*    ObOpenObjectByPointer on the subject, then close; reports the status */
#define REGPROBE_ACTION_UNDO 19                /*    post set value: delete the value that was set (B-NOT-25) */
#define REGPROBE_ACTION_EDIT_INPUT 20          /*    pre: point ValueName, DesiredAccess or Data at other input (B-NOT-28) */
#define REGPROBE_ACTION_STAND 21               /*    wait at gate `value` until it is open, `offset` milliseconds at most (0: the longest); reports how it ended */

/* REGPROBE_RULE.action_flags */
#define REGPROBE_ACTION_CREATE 0x00000001         /* BYPASS_KEY, OVERRIDE_KEY, CALL: create the key at target, not only open it */
#define REGPROBE_ACTION_NO_GRANTED_ACCESS 0x00000002 /* BYPASS_KEY, OVERRIDE_KEY: leave GrantedAccess alone (B-NOT-16) */
#define REGPROBE_ACTION_USE_EX 0x00000004         /* FETCH_NAME: CmCallbackGetKeyObjectIDEx */
#define REGPROBE_ACTION_BAD_COOKIE 0x00000008     /* FETCH_*, SET_OBJECT_CONTEXT: pass a cookie that matches nothing */
#define REGPROBE_ACTION_BAD_FLAGS 0x00000010      /* FETCH_NAME with USE_EX: Flags = 1 */
#define REGPROBE_ACTION_BAD_OBJECT 0x00000020     /* FETCH_*, SET_OBJECT_CONTEXT: pass NULL as the object */
#define REGPROBE_ACTION_AT_APC_LEVEL 0x00000040
#define REGPROBE_ACTION_NO_ID 0x00000080          /* FETCH_NAME: pass NULL for the identifier */
#define REGPROBE_ACTION_NO_NAME 0x00000100        /* FETCH_NAME: pass NULL for the name */
#define REGPROBE_ACTION_SET_RESULT_LENGTH 0x00000200 /* EDIT_OUTPUT: also write `value` to *ResultLength */
#define REGPROBE_ACTION_FAIL_INNER 0x00000400     /* CALL: return the inner call's failure from the callback */
#define REGPROBE_ACTION_WORK_ITEM 0x00000800      /* CALL: from a system worker thread, awaited (B-LAY-13) */

/* REGPROBE_RULE.subject: which object an action is about */
#define REGPROBE_SUBJECT_DEFAULT 0             /* Object; pre create/open: RootObject; post create/open: *ResultObject on success */
#define REGPROBE_SUBJECT_OBJECT 1
#define REGPROBE_SUBJECT_ROOT_OBJECT 2
#define REGPROBE_SUBJECT_RESULT_OBJECT 3

/* REGPROBE_RULE.base, REGPROBE_KERNEL_CALL.base: what a target path is relative to */
#define REGPROBE_BASE_ABSOLUTE 0
#define REGPROBE_BASE_SUBJECT 1                /* a handle opened by pointer on the subject object */

/*
 * REGPROBE_RULE.call and REGPROBE_KERNEL_CALL.call: key calls open (or create) target first and close it last.
 * Output is what the system writes: KEY_VALUE_PARTIAL_INFORMATION, KEY_BASIC_INFORMATION (enumerate),
 * KEY_FULL_INFORMATION (query key), OBJECT_NAME_INFORMATION (query name).
 */
#define REGPROBE_CALL_OPEN_KEY 1
#define REGPROBE_CALL_CREATE_KEY 2
#define REGPROBE_CALL_DELETE_KEY 3
#define REGPROBE_CALL_QUERY_VALUE 4
#define REGPROBE_CALL_SET_VALUE 5
#define REGPROBE_CALL_DELETE_VALUE 6
#define REGPROBE_CALL_ENUMERATE_KEY 7
#define REGPROBE_CALL_QUERY_KEY 8
#define REGPROBE_CALL_FLUSH_KEY 9
#define REGPROBE_CALL_QUERY_NAME 10            /* ObQueryNameString on the opened key */

/* REGPROBE_KERNEL_CALL.flags */
#define REGPROBE_CALL_WORK_ITEM 0x00000001     /* from a system worker thread instead of the caller's */
#define REGPROBE_CALL_FORCE_ACCESS_CHECK 0x00000002
#define REGPROBE_CALL_OPEN_LINK 0x00000004

/* REGPROBE_GATE.what */
#define REGPROBE_GATE_OPEN 1                   /* whoever stands there goes on, and nobody stands there any more */
#define REGPROBE_GATE_CLOSE 2                  /* as all gates are after a reset */
#define REGPROBE_GATE_AWAIT 3                  /* wait until somebody stands there */

/* REGPROBE_CRASH.how */
#define REGPROBE_CRASH_BUGCHECK 1              /* KeBugCheckEx(code, parameters) */
#define REGPROBE_CRASH_SPIN 2                  /* a loop that never ends, in the requester's thread at PASSIVE_LEVEL */
#define REGPROBE_CRASH_WAIT 3                  /* a wait in kernel mode for an event that nobody sets */

/* Every request starts with this header. */
typedef struct _REGPROBE_HEADER {
    uint32_t abi_version;
    uint32_t size;                  /* bytes of the whole request record */
} REGPROBE_HEADER;

typedef struct _REGPROBE_INFO_REPLY {
    uint32_t abi_version;
    uint32_t size;
    uint32_t os_major;
    uint32_t os_minor;
    uint32_t os_build;
    uint32_t os_service_pack;
    uint32_t callback_major;        /* CmGetCallbackVersion; 0.0 where the routine does not exist */
    uint32_t callback_minor;
    uint32_t routines;              /* REGPROBE_HAS_* */
    uint32_t pointer_size;
    uint32_t max_filters;
    uint32_t ring_slots;
    uint32_t event_size;
    uint32_t reserved;
    uint64_t time_frequency;        /* QPC ticks per second */
    uint64_t time;
} REGPROBE_INFO_REPLY;

typedef struct _REGPROBE_ADD_FILTER {
    uint32_t abi_version;
    uint32_t size;
    uint32_t flags;                 /* REGPROBE_FILTER_* */
    uint32_t altitude_length;       /* bytes */
    uint64_t context;               /* first argument of the callback as the system will deliver it; 0: NULL */
    uint16_t altitude[1024];
} REGPROBE_ADD_FILTER;

typedef struct _REGPROBE_ADD_FILTER_REPLY {
    uint32_t filter_id;             /* 0 when status is a failure */
    int32_t status;                 /* of CmRegisterCallback(Ex) */
    uint64_t cookie;
} REGPROBE_ADD_FILTER_REPLY;

typedef struct _REGPROBE_REMOVE_FILTER {
    uint32_t abi_version;
    uint32_t size;
    uint32_t filter_id;
    uint32_t flags;                 /* REGPROBE_REMOVE_BY_COOKIE, REGPROBE_FILTER_AT_APC_LEVEL */
    uint64_t cookie;
} REGPROBE_REMOVE_FILTER;

typedef struct _REGPROBE_REMOVE_FILTER_REPLY {
    int32_t status;                 /* of CmUnRegisterCallback */
    uint32_t cleanups;              /* context cleanups delivered during the call (B-REG-25) */
    uint64_t time;                  /* QPC when CmUnRegisterCallback returned; since 1.2 */
} REGPROBE_REMOVE_FILTER_REPLY;

typedef struct _REGPROBE_RULE {
    uint32_t abi_version;
    uint32_t size;
    uint32_t filter_id;
    uint32_t match;                 /* REGPROBE_MATCH_* */
    uint64_t classes;               /* bit n: notify class n */
    uint64_t process_id;
    uint64_t thread_id;
    uint64_t handle;                /* REGPROBE_MATCH_KEY_HANDLE: a key handle of the calling process */
    uint32_t nth_first;             /* 1-based occurrence of a match at which the rule begins to apply; 0: from the first */
    uint32_t nth_count;             /* how many occurrences; 0: all */
    int32_t match_status;
    uint32_t previous_mode;
    uint32_t action;                /* REGPROBE_ACTION_* */
    uint32_t action_flags;
    int32_t status;
    uint32_t subject;
    uint64_t value;
    uint32_t base;
    uint32_t call;
    uint32_t granted_access;
    uint32_t disposition;
    uint32_t value_type;            /* REG_xxx for calls and redirects that write */
    uint32_t offset;
    uint32_t key_length;            /* bytes used of each text below */
    uint32_t value_name_length;
    uint32_t target_length;
    uint32_t data_length;
    uint32_t call_value_name_length;
    uint32_t reserved;
    uint16_t key[512];              /* match: absolute path, \REGISTRY\... */
    uint16_t value_name[256];       /* match */
    uint16_t target[512];           /* key path, or value name for REDIRECT and EDIT_INPUT */
    uint16_t call_value_name[256];  /* CALL: the value to act on */
    uint8_t data[512];
} REGPROBE_RULE;

typedef struct _REGPROBE_RULE_REPLY {
    uint32_t rule_id;
    uint32_t reserved;
} REGPROBE_RULE_REPLY;

typedef struct _REGPROBE_CLEAR_RULES {
    uint32_t abi_version;
    uint32_t size;
    uint32_t filter_id;             /* 0: of every filter */
    uint32_t rule_id;               /* 0: all of the filter */
} REGPROBE_CLEAR_RULES;

typedef struct _REGPROBE_KERNEL_CALL {
    uint32_t abi_version;
    uint32_t size;
    uint32_t call;                  /* REGPROBE_CALL_* */
    uint32_t flags;
    uint32_t access;
    uint32_t value_type;
    uint32_t index;
    uint32_t reserved;
    uint32_t target_length;
    uint32_t value_name_length;
    uint32_t data_length;           /* set value: bytes of data; else size of the output buffer, 0: all of it */
    uint32_t reserved2;
    uint16_t target[512];
    uint16_t value_name[256];
    uint8_t data[512];
} REGPROBE_KERNEL_CALL;

typedef struct _REGPROBE_KERNEL_CALL_REPLY {
    int32_t status;                 /* of the call named in the request */
    int32_t open_status;            /* of opening or creating the target */
    uint32_t disposition;
    uint32_t result_length;
    uint64_t process_id;            /* where it ran */
    uint64_t thread_id;
    uint64_t time_begin;
    uint64_t time_end;
    uint64_t object;                /* key object of the opened handle */
    uint64_t data_address;          /* kernel address of the data or output buffer that was passed (B-CAP-02) */
    uint64_t name_address;
    uint8_t data[512];
} REGPROBE_KERNEL_CALL_REPLY;

/* Crash drills: what the harness must notice, forced where everything about it is known. */
typedef struct _REGPROBE_CRASH {
    uint32_t abi_version;
    uint32_t size;
    uint32_t how;                   /* REGPROBE_CRASH_* */
    uint32_t code;                  /* BUGCHECK: the stop code */
    uint64_t parameters[4];         /* BUGCHECK; the lower 32 bits of each on x86 */
} REGPROBE_CRASH;

typedef struct _REGPROBE_GATE {
    uint32_t abi_version;
    uint32_t size;
    uint32_t gate;                  /* below REGPROBE_GATES */
    uint32_t what;                  /* REGPROBE_GATE_* */
    uint32_t milliseconds;          /* AWAIT: at most so long; 0: REGPROBE_MAX_GATE_MS */
    uint32_t reserved;
} REGPROBE_GATE;

typedef struct _REGPROBE_GATE_REPLY {
    int32_t status;                 /* AWAIT: STATUS_SUCCESS or STATUS_TIMEOUT */
    uint32_t standing;              /* operations at the gate */
    uint64_t time;                  /* QPC */
} REGPROBE_GATE_REPLY;

/* Text and bytes of an event live in the payload; offsets count from the start of its payload. */
typedef struct _REGPROBE_SPAN {
    uint32_t offset;
    uint32_t length;                /* bytes present */
    uint32_t full_length;           /* bytes there were */
    uint32_t maximum_length;        /* UNICODE_STRING.MaximumLength as found; 0 elsewhere */
    uint64_t address;               /* where the bytes were read from */
} REGPROBE_SPAN;

typedef struct _REGPROBE_EVENT {
    uint32_t kind;                  /* REGPROBE_KIND_* */
    uint32_t flags;                 /* REGPROBE_EVENT_* */
    uint64_t sequence;              /* counts from 1; a gap is a drop */
    uint64_t parent;                /* ACTION: sequence of the notification it ran in */
    uint64_t time;                  /* QPC at entry */
    uint32_t filter_id;
    uint32_t notify_class;
    uint32_t rule_id;               /* NOTIFICATION: the terminal rule that decided, 0 for none; ACTION: the rule */
    uint32_t action;                /* ACTION: REGPROBE_ACTION_* */
    uint64_t process_id;
    uint64_t thread_id;
    uint64_t callback_context;      /* first argument */
    uint64_t information;           /* third argument */
    int32_t status;                 /* post: Status on entry; ACTION: status of the routine called */
    int32_t return_status;          /* post: ReturnStatus on entry */
    int32_t returned;               /* what the callback returned */
    uint8_t irql;
    uint8_t previous_mode;          /* 0 kernel, 1 user */
    uint8_t is_post;
    uint8_t reserved;
    uint64_t object;
    uint64_t root_object;
    uint64_t object_id;
    uint64_t root_object_id;
    uint64_t object_context;        /* RootObjectContext for create/open */
    uint64_t call_context;          /* as found on entry */
    uint64_t result_object;         /* *ResultObject */
    uint64_t transaction;
    uint32_t disposition;           /* *Disposition */
    uint32_t result_length;         /* *ResultLength, *ReturnLength, *Length */
    uint64_t value;                 /* ACTION: OldContext, object id, transaction, inner disposition */
    uint32_t payload_offset;        /* from the start of the payload area of a drain */
    uint32_t payload_length;
    REGPROBE_SPAN structure;        /* raw bytes of the structure */
    REGPROBE_SPAN pre_structure;    /* post, Vista+: raw bytes behind PreInformation */
    REGPROBE_SPAN key_name;         /* absolute path of the object (root object for pre create/open) */
    REGPROBE_SPAN name;             /* CompleteName, ValueName, NewName, KeyName or OldFileName */
    REGPROBE_SPAN second_name;      /* RemainingName, SourceFile or NewFileName */
    REGPROBE_SPAN class_name;       /* Class of a create */
    REGPROBE_SPAN data;             /* Data, or the output buffer in post */
} REGPROBE_EVENT;

typedef struct _REGPROBE_DRAIN {
    uint32_t abi_version;
    uint32_t size;
    uint32_t max_events;            /* 0: as many as fit */
    uint32_t reserved;
} REGPROBE_DRAIN;

/* A drain answers this header, then `count` REGPROBE_EVENT records, then the payload area. */
typedef struct _REGPROBE_DRAIN_REPLY {
    uint32_t count;
    uint32_t remaining;             /* events still in the ring */
    uint64_t dropped;               /* since load or reset */
    uint32_t payload_offset;        /* from the start of the reply */
    uint32_t payload_length;
    uint64_t next_sequence;
} REGPROBE_DRAIN_REPLY;

typedef struct _REGPROBE_STATISTICS_REPLY {
    uint64_t recorded;
    uint64_t dropped;
    uint64_t faults;                /* protected reads that faulted */
    uint64_t live_contexts;         /* object contexts set and not yet cleaned up */
    uint64_t pool_allocations;      /* outstanding */
    uint64_t pool_bytes;
    uint32_t filters;
    uint32_t rules;
    uint32_t ring_slots;
    uint32_t in_flight;             /* callbacks running right now */
} REGPROBE_STATISTICS_REPLY;

#endif
