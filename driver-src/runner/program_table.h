/*
 * The tables of harness/workload/fields.py and harness/workload/opcodes.py: what an operation may say, and the
 * numbers. A test compares both sides on valid, mutated and random programs.
 */
#ifndef RUNNER_PROGRAM_TABLE_H
#define RUNNER_PROGRAM_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRAM_FORMAT_VERSION 1
#define PROGRAM_MAX_ENCODED 0x08000000 /* bytes of a program or result */
#define PROGRAM_MAX_OPERATIONS 65536
#define PROGRAM_MAX_HANDLES 4096
#define PROGRAM_MAX_TEXT 32767 /* UTF-16 units: UNICODE_STRING.Length is a USHORT of bytes */
#define PROGRAM_MAX_BUFFER 0x01000000
#define PROGRAM_MAX_NAMES 1024
#define PROGRAM_MAX_PATCHES 64
#define PROGRAM_MAX_PROCESSES 4
#define PROGRAM_MAX_THREADS 16

/* What output buffers hold before a call. */
#define PROGRAM_FILL_BYTE 0xA5
#define PROGRAM_UNWRITTEN 0xA5A5A5A5u

typedef enum VALUE_TYPE {
    TYPE_HANDLE,   /* slot index */
    TYPE_UNSIGNED, /* up to `maximum` */
    TYPE_FLAG,
    TYPE_TEXT,    /* text under the name, or UTF-16-LE bytes under the name with 16 behind */
    TYPE_TEXTS,   /* array of those, up to `maximum` */
    TYPE_BYTES,   /* up to `maximum` */
    TYPE_PATCHES, /* array of [offset, slot], up to `maximum` */
} VALUE_TYPE;

#define U32 0xFFFFFFFFu
#define U64 0xFFFFFFFFFFFFFFFFu

/* symbol, name, type, maximum, default; ABSENT: a field that was not given has no value */
#define ABSENT (-1)
#define PROGRAM_FIELDS(X)                                                                                              \
    X(PROCESS, "process", TYPE_UNSIGNED, PROGRAM_MAX_PROCESSES - 1, 0)                                                 \
    X(THREAD, "thread", TYPE_UNSIGNED, PROGRAM_MAX_THREADS - 1, 0)                                                     \
    X(BACKGROUND, "background", TYPE_FLAG, 1, 0)                                                                       \
    X(OUT, "out", TYPE_HANDLE, U32, ABSENT)                                                                            \
    X(HANDLE, "handle", TYPE_HANDLE, U32, ABSENT)                                                                      \
    X(ROOT, "root", TYPE_HANDLE, U32, ABSENT)                                                                          \
    X(PREDEFINED, "predefined", TYPE_UNSIGNED, U32, ABSENT)                                                            \
    X(LOW_HANDLE, "low_handle", TYPE_HANDLE, U32, ABSENT)                                                              \
    X(TRANSACTION, "transaction", TYPE_HANDLE, U32, ABSENT)                                                            \
    X(EVENT, "event", TYPE_HANDLE, U32, ABSENT)                                                                        \
    X(BUFFER, "buffer", TYPE_HANDLE, U32, ABSENT)                                                                      \
    X(TRUST, "trust", TYPE_HANDLE, U32, ABSENT)                                                                        \
    X(NAME, "name", TYPE_TEXT, U32, ABSENT)                                                                            \
    X(ATTRIBUTES, "attributes", TYPE_UNSIGNED, U32, 0x40)                                                              \
    X(SDDL, "sddl", TYPE_TEXT, U32, ABSENT)                                                                            \
    X(SECURITY, "security", TYPE_BYTES, 65535, ABSENT)                                                                 \
    X(NAME_MAXIMUM, "name_maximum", TYPE_UNSIGNED, 65535, ABSENT)                                                      \
    X(ACCESS, "access", TYPE_UNSIGNED, U32, 0)                                                                         \
    X(OPTIONS, "options", TYPE_UNSIGNED, U32, ABSENT)                                                                  \
    X(TITLE_INDEX, "title_index", TYPE_UNSIGNED, U32, 0)                                                               \
    X(TYPE, "type", TYPE_UNSIGNED, U32, 0)                                                                             \
    X(INDEX, "index", TYPE_UNSIGNED, U32, 0)                                                                           \
    X(INFO_CLASS, "info_class", TYPE_UNSIGNED, U32, 0)                                                                 \
    X(LENGTH, "length", TYPE_UNSIGNED, PROGRAM_MAX_BUFFER, 0)                                                          \
    X(FLAGS, "flags", TYPE_UNSIGNED, U32, 0)                                                                           \
    X(MILLISECONDS, "milliseconds", TYPE_UNSIGNED, U32, ABSENT)                                                        \
    X(FORM, "form", TYPE_UNSIGNED, 4, 1)                                                                               \
    X(FORMAT, "format", TYPE_UNSIGNED, U32, ABSENT)                                                                    \
    X(SECURITY_INFORMATION, "security_information", TYPE_UNSIGNED, U32, 0)                                             \
    X(TARGET_PROCESS, "target_process", TYPE_UNSIGNED, PROGRAM_MAX_PROCESSES - 1, 0)                                   \
    X(CODE, "code", TYPE_UNSIGNED, U32, 0)                                                                             \
    X(ADDRESS, "address", TYPE_UNSIGNED, U64, ABSENT)                                                                  \
    X(NULL_RESULT, "null_result", TYPE_FLAG, 1, 0)                                                                     \
    X(DATA, "data", TYPE_BYTES, PROGRAM_MAX_BUFFER, ABSENT)                                                            \
    X(DATA_SIZE, "data_size", TYPE_UNSIGNED, U32, ABSENT)                                                              \
    X(VALUE_NAME, "value_name", TYPE_TEXT, U32, ABSENT)                                                                \
    X(VALUE_NAMES, "value_names", TYPE_TEXTS, PROGRAM_MAX_NAMES, 0)                                                    \
    X(CLASS_NAME, "class_name", TYPE_TEXT, U32, ABSENT)                                                                \
    X(NEW_NAME, "new_name", TYPE_TEXT, U32, ABSENT)                                                                    \
    X(FILE, "file", TYPE_TEXT, U32, ABSENT)                                                                            \
    X(OLD_FILE, "old_file", TYPE_TEXT, U32, ABSENT)                                                                    \
    X(DEVICE, "device", TYPE_TEXT, U32, ABSENT)                                                                        \
    X(LABEL, "label", TYPE_TEXT, U32, ABSENT)                                                                          \
    X(PATCHES, "patches", TYPE_PATCHES, PROGRAM_MAX_PATCHES, 0)

#define ENUMERATE(symbol, name, type, maximum, fallback) FIELD_##symbol,
typedef enum FIELD_ID { PROGRAM_FIELDS(ENUMERATE) FIELD_COUNT } FIELD_ID;
#undef ENUMERATE

typedef enum OPCODE {
    OP_CREATE_KEY = 1,
    OP_OPEN_KEY,
    OP_CLOSE,
    OP_DELETE_KEY,
    OP_SET_VALUE,
    OP_DELETE_VALUE,
    OP_QUERY_VALUE,
    OP_ENUMERATE_VALUE,
    OP_ENUMERATE_KEY,
    OP_QUERY_KEY,
    OP_QUERY_MULTIPLE,
    OP_RENAME_KEY,
    OP_SET_INFORMATION_KEY,
    OP_FLUSH_KEY,
    OP_LOAD_KEY,
    OP_LOAD_APP_KEY,
    OP_UNLOAD_KEY,
    OP_QUERY_SECURITY,
    OP_SET_SECURITY,
    OP_QUERY_OBJECT_NAME,
    OP_QUERY_OBJECT_BASIC,
    OP_SAVE_KEY,
    OP_SAVE_MERGED,
    OP_RESTORE_KEY,
    OP_REPLACE_KEY,
    OP_DUPLICATE_HANDLE,
    OP_DEVICE_CONTROL,
    OP_CREATE_TRANSACTION,
    OP_COMMIT,
    OP_ROLLBACK,
    OP_OPEN_KEY_TRANSACTED,
    OP_CREATE_KEY_TRANSACTED,
    OP_MARK,
    OP_CREATE_EVENT,
    OP_NOTIFY_CHANGE_KEY,
    OP_DELETE_FILE,
    OP_TERMINATE_PROCESS,
    OP_WIN32_CREATE_KEY,
    OP_WIN32_OPEN_KEY,
    OP_WIN32_CLOSE_KEY,
    OP_WIN32_DELETE_KEY,
    OP_WIN32_SET_VALUE,
    OP_WIN32_DELETE_VALUE,
    OP_WIN32_QUERY_VALUE,
    OP_WIN32_GET_VALUE,
    OP_WIN32_ENUMERATE_KEY,
    OP_WIN32_ENUMERATE_VALUE,
    OP_WIN32_QUERY_KEY,
    OP_WIN32_LOAD_APP_KEY,
    OP_WIN32_LOAD_KEY,
    OP_WIN32_UNLOAD_KEY,
    OP_WIN32_SAVE_KEY,
    OP_WIN32_RESTORE_KEY,
    OP_WIN32_RENAME_KEY,
    OP_WIN32_FLUSH_KEY,
    OP_ALLOCATE_MEMORY,
    OP_WRITE_MEMORY,
    OP_FREE_MEMORY,
    OP_SET_EVENT,
    OP_WAIT,
    OP_CREATE_REGISTRY_TRANSACTION,
    OP_COMMIT_REGISTRY_TRANSACTION,
    OP_ROLLBACK_REGISTRY_TRANSACTION,
    OP_IMPERSONATE,
    OP_REVERT,
    OP_WIN32_DELETE_TREE,
    OP_WIN32_COPY_TREE,
    OP_WIN32_GET_SECURITY,
    OP_WIN32_SET_SECURITY,
    OP_WIN32_QUERY_MULTIPLE,
    OP_WIN32_NOTIFY_CHANGE_KEY,
    OP_WIN32_REPLACE_KEY,
    OP_END
} OPCODE;

typedef struct FIELD_RULE {
    const char *name;
    VALUE_TYPE type;
    uint64_t maximum;
    int fallback; /* the default, or ABSENT; 0 of arrays: empty */
} FIELD_RULE;

typedef struct OPCODE_RULE {
    uint64_t required, accepted; /* a bit for each FIELD_ID; accepted includes required */
} OPCODE_RULE;

extern const FIELD_RULE field_rules[FIELD_COUNT];
extern const OPCODE_RULE opcode_rules[OP_END]; /* by opcode; 0 is none */

#endif
