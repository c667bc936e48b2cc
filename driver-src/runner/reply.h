/* Building the reply of one request: a map, key by key, or a failure. */
#ifndef RUNNER_REPLY_H
#define RUNNER_REPLY_H

#include <stdint.h>
#include <windows.h>

#include "cbor.h"

typedef struct REPLY {
    CBOR_WRITER body; /* the pairs of the map, without its head */
    unsigned pairs;
    unsigned error; /* REGRUN_ERROR_xxx; 0 when all is well */
    char message[256];
    BOOL has_status, has_win32;
    LONG status;
    DWORD win32;
    /* A payload that is no map of ours: taken as it is when not NULL. From malloc. */
    unsigned char *raw;
    size_t raw_size;
} REPLY;

void reply_key(REPLY *reply, const char *key);
void reply_uint(REPLY *reply, const char *key, uint64_t value);
void reply_bool(REPLY *reply, const char *key, BOOL value);
void reply_null(REPLY *reply, const char *key);
void reply_bytes(REPLY *reply, const char *key, const void *data, size_t size);
void reply_ascii(REPLY *reply, const char *key, const char *text);
/* `text` may be NULL: null then. Halves of surrogate pairs become U+FFFD. */
void reply_text(REPLY *reply, const char *key, const wchar_t *text);
/* Without a key, as an item of an array. */
void reply_item_text(REPLY *reply, const wchar_t *text);

/* `text` takes the runtime's printf formats. The first failure of a request is the one that is told. */
void reply_fail(REPLY *reply, unsigned error, const char *text, ...);
void reply_fail_win32(REPLY *reply, const char *what, DWORD win32);
void reply_fail_status(REPLY *reply, const char *what, LONG status);

#endif
