/* What a request takes: its keys, read from the payload and checked before anything is done. */
#ifndef RUNNER_FIELDS_H
#define RUNNER_FIELDS_H

#include <stdint.h>
#include <windows.h>

#include "reply.h"
#include "request.h"

#define MAX_FIELDS 8

typedef enum FIELD_KIND {
    FIELD_UINT,  /* limit: the largest value */
    FIELD_BOOL,
    FIELD_TEXT,  /* limit: UTF-16 units */
    FIELD_BYTES, /* limit: bytes */
    FIELD_MAP    /* text keys to integers, texts or bytes; the handler reads it */
} FIELD_KIND;

typedef struct FIELD {
    const char *name;
    FIELD_KIND kind;
    BOOL required;
    uint64_t limit;
} FIELD;

typedef struct VALUE {
    BOOL given;
    uint64_t number;            /* also FIELD_BOOL */
    wchar_t *text;              /* ends with a NUL, has none inside */
    const unsigned char *bytes; /* inside the request; FIELD_MAP: the encoded map */
    size_t size;
} VALUE;

/* Fill `values`, one for each of `fields`. FALSE with the failure in `reply`; free the values in any case. */
BOOL fields_read(const REQUEST *request, const FIELD *fields, size_t count, VALUE *values, REPLY *reply);
void fields_free(VALUE *values, size_t count);

/* UTF-8 to UTF-16 with a NUL behind; NULL when memory is out. `size` was checked to be UTF-8 by the reader. */
wchar_t *wide_from_utf8(const char *text, size_t size, size_t *units);

#endif
