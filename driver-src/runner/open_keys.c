/*
 * NtQueryOpenSubKeysEx: which processes have keys of a hive open, the kernel's own handles among them (System, 4),
 * and keys that are only pointed to. It takes the root of a hive alone and refuses any other key with
 * STATUS_INVALID_PARAMETER, so the hive of a key is found by asking upwards from it. A key that was deleted while
 * it was open is in no hive any more, and not told. Its caller needs SeRestorePrivilege. Windows has it since Server
 * 2003; its structures are those of phnt's ntregapi.h.
 */
#include "open_keys.h"

#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "protocol.h"

#define STATUS_INVALID_PARAMETER_ ((NT_STATUS)0xC000000D)
#define STATUS_NAME_NOT_FOUND ((NT_STATUS)0xC0000034)
#define STATUS_BUFFER_OVERFLOW_ ((NT_STATUS)0x80000005)
#define STATUS_BUFFER_TOO_SMALL_ ((NT_STATUS)0xC0000023)
#define CASE_INSENSITIVE 0x40 /* OBJ_CASE_INSENSITIVE */
#define CLASS_PROCESSES 5
#define FIRST_CAPACITY 0x10000
#define MAX_CAPACITY 0x1000000

/* KEY_PID_ARRAY and KEY_OPEN_SUBKEYS_INFORMATION; the names' buffers lie behind the array. */
typedef struct OPEN_KEY {
    HANDLE process; /* that opened it */
    NT_STRING name;
} OPEN_KEY;

typedef struct OPEN_KEYS {
    ULONG count;
    OPEN_KEY key[];
} OPEN_KEYS;

/* The start of winternl.h's SYSTEM_PROCESS_INFORMATION. */
typedef struct PROCESS {
    ULONG next, threads;
    unsigned char reserved[48];
    NT_STRING image;
    LONG priority;
    HANDLE id;
} PROCESS;

static BOOL wants_more(NT_STATUS status)
{
    return status == STATUS_BUFFER_OVERFLOW_ || status == STATUS_BUFFER_TOO_SMALL_ || status == STATUS_LENGTH_MISMATCH_;
}

/* What came back for the key's hive, `size` bytes from malloc; NULL with the last status. */
static OPEN_KEYS *ask(wchar_t *key, ULONG *size, NT_STATUS *status)
{
    NT_ATTRIBUTES attributes = {sizeof(attributes), NULL, NULL, CASE_INSENSITIVE, NULL, NULL};
    ULONG capacity, needed;
    NT_STRING name;
    void *data;

    native_string(&name, key);
    attributes.name = &name;
    for (capacity = FIRST_CAPACITY;; capacity *= 2) {
        data = calloc(1, capacity);
        if (data == NULL) {
            return NULL;
        }
        needed = 0;
        *status = native()->query_open_keys(&attributes, capacity, data, &needed);
        if (NT_IS_SUCCESS(*status)) {
            *size = needed != 0 && needed < capacity ? needed : capacity;
            return data;
        }
        free(data);
        if (!wants_more(*status) || capacity >= MAX_CAPACITY) {
            return NULL;
        }
    }
}

/* Ask upwards; `key` is cut to the one that was asked in the end. */
static OPEN_KEYS *ask_hive(wchar_t *key, ULONG *size, NT_STATUS *status)
{
    OPEN_KEYS *found;
    wchar_t *cut;

    for (;;) {
        found = ask(key, size, status);
        cut = wcsrchr(key, L'\\');
        if (found != NULL || (*status != STATUS_INVALID_PARAMETER_ && *status != STATUS_NAME_NOT_FOUND) ||
            cut == NULL || cut == key) {
            return found;
        }
        *cut = 0;
    }
}

/* No name at all is all right. */
static BOOL lies_inside(const NT_STRING *name, const void *data, ULONG size)
{
    ULONG_PTR first = (ULONG_PTR)name->buffer - (ULONG_PTR)data;

    return name->length == 0 || (name->length % sizeof(wchar_t) == 0 && first % sizeof(wchar_t) == 0 && first <= size &&
                                 name->length <= size - first);
}

/* The key itself or one below it. The keys that tests make have names without letters beyond ASCII. */
static BOOL is_below(const NT_STRING *name, const wchar_t *key)
{
    size_t units = wcslen(key), given = name->length / sizeof(wchar_t);

    return given >= units && _wcsnicmp(name->buffer, key, units) == 0 &&
           (given == units || name->buffer[units] == L'\\');
}

/* The process's program, or null: it may have ended since. */
static void put_program(CBOR_WRITER *keys, const unsigned char *processes, ULONG size, HANDLE id)
{
    ULONG at = 0;
    PROCESS process;

    while (processes != NULL && size - at >= sizeof(process)) {
        memcpy(&process, processes + at, sizeof(process));
        if (process.id == id && process.image.length != 0 && lies_inside(&process.image, processes, size)) {
            cbor_put_utf16(keys, process.image.buffer, process.image.length / sizeof(wchar_t));
            return;
        }
        if (process.next == 0 || process.next > size - at) {
            break;
        }
        at += process.next;
    }
    cbor_put_null(keys);
}

static void put_key(CBOR_WRITER *keys, const OPEN_KEY *key, const void *processes, ULONG size)
{
    cbor_put_map(keys, 3);
    cbor_put_text(keys, "process");
    cbor_put_unsigned(keys, (ULONG)(ULONG_PTR)key->process);
    cbor_put_text(keys, "program");
    put_program(keys, processes, size, key->process);
    cbor_put_text(keys, "name");
    cbor_put_utf16(keys, key->name.buffer, key->name.length / sizeof(wchar_t));
}

/* How many keys there are; FALSE when what came back can't be right. */
static BOOL put_keys(CBOR_WRITER *keys, const OPEN_KEYS *found, ULONG size, const wchar_t *key, ULONG *total)
{
    ULONG room = size < offsetof(OPEN_KEYS, key) ? 0 : (size - offsetof(OPEN_KEYS, key)) / sizeof(OPEN_KEY);
    ULONG index, processes_size = 0;
    NT_STATUS ignored;
    void *processes = NULL;

    *total = 0;
    if (size < sizeof(found->count) || found->count > room) {
        return FALSE;
    }
    for (index = 0; index < found->count; index++) {
        /* The names lie behind the array: one that does not lie inside shows that the array doesn't either. */
        if (!lies_inside(&found->key[index].name, found, size)) {
            break;
        }
        if (is_below(&found->key[index].name, key) && ++*total <= REGRUN_MAX_OPEN_KEYS) {
            if (*total == 1) { /* most often there is none to be named */
                processes = native_query_system(CLASS_PROCESSES, &processes_size, &ignored);
            }
            put_key(keys, &found->key[index], processes, processes_size);
        }
    }
    free(processes);
    return index == found->count;
}

static void reply_keys(REPLY *reply, const OPEN_KEYS *found, ULONG size, const wchar_t *key, const wchar_t *hive)
{
    CBOR_WRITER keys;
    ULONG total;

    cbor_writer_init(&keys, REGRUN_MAX_PAYLOAD);
    if (!put_keys(&keys, found, size, key, &total)) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "what NtQueryOpenSubKeysEx says is laid out in no known way");
    } else {
        reply_text(reply, "hive", hive);
        reply_uint(reply, "runner", GetCurrentProcessId());
        reply_uint(reply, "count", total);
        reply_key(reply, "keys");
        cbor_put_array(&reply->body, total < REGRUN_MAX_OPEN_KEYS ? total : REGRUN_MAX_OPEN_KEYS);
        cbor_put_encoded(&reply->body, keys.data, keys.size);
    }
    cbor_writer_free(&keys);
}

/* key */
void open_keys(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    NT_STATUS status = STATUS_NOT_IMPLEMENTED_;
    size_t units = wcslen(values[0].text) + 1;
    OPEN_KEYS *found;
    wchar_t *hive;
    ULONG size;

    (void)request;
    if (native()->query_open_keys == NULL || native_is_wow64()) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "no NtQueryOpenSubKeysEx here tells who has keys open");
        return;
    }
    hive = malloc(units * sizeof(wchar_t));
    if (hive == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for the key's path");
        return;
    }
    memcpy(hive, values[0].text, units * sizeof(wchar_t));
    native_enable(PRIVILEGE_RESTORE); /* without it the call itself says so */
    found = ask_hive(hive, &size, &status);
    if (found == NULL) {
        reply_fail_status(reply, "NtQueryOpenSubKeysEx does not tell who has keys open", status);
    } else {
        reply_keys(reply, found, size, values[0].text, hive);
        free(found);
    }
    free(hive);
}
