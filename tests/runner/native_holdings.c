/*
 * POOL_TAGS, POOL_VERIFIED and OPEN_KEYS on their own, for tests on the host: a scripted kernel in, the reply out.
 *
 * stdin: the request's type, its argument, and the kernel's answers; all numbers 32-bit little-endian, bytes with
 * their count before them. An answer: system information class (OPEN_KEYS_CLASS for NtQueryOpenSubKeysEx), status,
 * needed (0: as many as there are), bytes, and offsets of pointers in them, which come as offsets too.
 * stdout: a map, or the number, status and message of the failure.
 */
#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "open_keys.h"
#include "pool.h"
#include "protocol.h"

#define OPEN_KEYS_CLASS 0xFFFF
#define STATUS_INVALID_PARAMETER_ ((NT_STATUS)0xC000000D)
#define STATUS_BUFFER_OVERFLOW_ ((NT_STATUS)0x80000005)
#define MAX_ANSWERS 4

typedef struct BLOB {
    ULONG size;
    unsigned char *data;
} BLOB;

typedef struct ANSWERED {
    ULONG class, status, needed;
    BLOB bytes, pointers;
} ANSWERED;

static ANSWERED answers[MAX_ANSWERS];
static size_t count;
static BLOB hive; /* UTF-16; any other key is no root of a hive */

size_t short_wcslen(const wchar_t *text)
{
    size_t units = 0;

    while (text[units] != 0) {
        units++;
    }
    return units;
}

wchar_t *short_wcsrchr(const wchar_t *text, wchar_t letter)
{
    size_t at = short_wcslen(text) + 1;

    while (at-- > 0) {
        if (text[at] == letter) {
            return (wchar_t *)text + at;
        }
    }
    return NULL;
}

static wchar_t lower(wchar_t letter)
{
    return letter >= L'A' && letter <= L'Z' ? letter + 32 : letter;
}

int short_wcsnicmp(const wchar_t *one, const wchar_t *other, size_t units)
{
    size_t at;

    for (at = 0; at < units; at++) {
        if (lower(one[at]) != lower(other[at]) || one[at] == 0) {
            return lower(one[at]) - lower(other[at]);
        }
    }
    return 0;
}

DWORD GetCurrentProcessId(void)
{
    return 1234;
}

/* The answer, with its pointers made real, in a buffer that has not a byte more than was asked for. */
static NT_STATUS answer(ULONG class, void *buffer, ULONG capacity, ULONG *needed)
{
    ULONG at, where;
    ULONG_PTR pointer;
    size_t index;

    for (index = 0; index < count && answers[index].class != class; index++) {
    }
    if (index == count) {
        return (NT_STATUS)0xC0000003; /* STATUS_INVALID_INFO_CLASS */
    }
    *needed = answers[index].needed != 0 ? answers[index].needed : answers[index].bytes.size;
    if (!NT_IS_SUCCESS((NT_STATUS)answers[index].status)) {
        return (NT_STATUS)answers[index].status;
    }
    if (answers[index].bytes.size > capacity) {
        return STATUS_LENGTH_MISMATCH_;
    }
    memset(buffer, 0xCC, capacity);
    memcpy(buffer, answers[index].bytes.data, answers[index].bytes.size);
    for (at = 0; at + 4 <= answers[index].pointers.size; at += 4) {
        memcpy(&where, answers[index].pointers.data + at, sizeof(where));
        memcpy(&pointer, (unsigned char *)buffer + where, sizeof(pointer));
        pointer += (ULONG_PTR)buffer;
        memcpy((unsigned char *)buffer + where, &pointer, sizeof(pointer));
    }
    return 0;
}

static NT_STATUS query_open_keys(NT_ATTRIBUTES *attributes, ULONG capacity, void *buffer, ULONG *needed)
{
    NT_STATUS status;

    if (attributes->name->length != hive.size || memcmp(attributes->name->buffer, hive.data, hive.size) != 0) {
        return STATUS_INVALID_PARAMETER_;
    }
    status = answer(OPEN_KEYS_CLASS, buffer, capacity, needed);
    return status == STATUS_LENGTH_MISMATCH_ ? STATUS_BUFFER_OVERFLOW_ : status;
}

const NATIVE *native(void)
{
    static NATIVE calls;

    calls.query_open_keys = query_open_keys;
    return &calls;
}

void *native_query_system(ULONG class, ULONG *size, NT_STATUS *status)
{
    ULONG capacity = 0x10, needed = 0;
    void *data = NULL;

    do {
        free(data);
        capacity *= 2;
        data = malloc(capacity);
        *status = answer(class, data, capacity, &needed);
    } while (*status == STATUS_LENGTH_MISMATCH_ && capacity < 0x400000);
    if (!NT_IS_SUCCESS(*status)) {
        free(data);
        return NULL;
    }
    *size = needed < capacity ? needed : capacity;
    return data;
}

BOOL native_is_wow64(void)
{
    return FALSE;
}

NT_STATUS native_enable(ULONG privilege)
{
    return privilege == PRIVILEGE_RESTORE ? 0 : STATUS_PRIVILEGE_NOT_HELD_;
}

void native_string(NT_STRING *string, const wchar_t *text)
{
    string->length = string->maximum = (USHORT)(wcslen(text) * sizeof(wchar_t));
    string->buffer = text;
}

static ULONG read_number(void)
{
    ULONG number;

    if (fread(&number, 1, sizeof(number), stdin) != sizeof(number)) {
        exit(2);
    }
    return number;
}

static BLOB read_blob(void)
{
    BLOB blob = {read_number(), NULL};

    blob.data = malloc(blob.size + 1);
    if (blob.data == NULL || fread(blob.data, 1, blob.size, stdin) != blob.size) {
        exit(2);
    }
    return blob;
}

int main(void)
{
    ULONG type = read_number();
    BLOB argument = read_blob();
    VALUE value = {0};
    REPLY reply = {0};
    CBOR_WRITER head;

    hive = read_blob();
    for (count = 0; count < MAX_ANSWERS && !feof(stdin); count++) {
        if (fread(&answers[count].class, 1, sizeof(ULONG), stdin) != sizeof(ULONG)) {
            break;
        }
        answers[count].status = read_number();
        answers[count].needed = read_number();
        answers[count].bytes = read_blob();
        answers[count].pointers = read_blob();
    }
    cbor_writer_init(&reply.body, 0);
    value.given = TRUE;
    value.bytes = argument.data;
    value.size = argument.size;
    value.text = (wchar_t *)argument.data; /* the sender puts a NUL behind */
    if (type == REGRUN_POOL_TAGS) {
        pool_tags(NULL, &value, &reply);
    } else if (type == REGRUN_POOL_VERIFIED) {
        pool_verified(NULL, &value, &reply);
    } else {
        open_keys(NULL, &value, &reply);
    }
    cbor_writer_init(&head, 0);
    if (reply.error != 0) {
        cbor_put_array(&head, 3);
        cbor_put_unsigned(&head, reply.error);
        cbor_put_unsigned(&head, (uint32_t)reply.status);
        cbor_put_text(&head, reply.message);
    } else {
        cbor_put_map(&head, reply.pairs);
        cbor_put_encoded(&head, reply.body.data, reply.body.size);
    }
    fwrite(head.data, 1, head.size, stdout);
    cbor_writer_free(&head);
    cbor_writer_free(&reply.body);
    while (count-- > 0) {
        free(answers[count].bytes.data);
        free(answers[count].pointers.data);
    }
    free(hive.data);
    free(argument.data);
    return 0;
}
