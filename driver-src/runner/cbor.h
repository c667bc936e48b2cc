/*
 * The part of CBOR (RFC 8949) that requests, programs and replies use: integers, byte strings, text (UTF-8,
 * checked), arrays, maps with text keys, true, false, null. Everything else is refused: tags, floats, indefinite
 * lengths, depth beyond CBOR_MAX_DEPTH, counts and lengths beyond the input. harness/workload/cbor.py is the same.
 *
 * Portable. The reader allocates nothing; what it returns lies inside the input.
 */
#ifndef RUNNER_CBOR_H
#define RUNNER_CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "utf16.h"

#define CBOR_MAX_DEPTH 6 /* arrays and maps inside each other */

typedef enum CBOR_TYPE {
    CBOR_UNSIGNED,
    CBOR_NEGATIVE, /* the value is -1 - number */
    CBOR_BYTES,
    CBOR_TEXT,
    CBOR_ARRAY,
    CBOR_MAP,
    CBOR_BOOL,
    CBOR_NULL
} CBOR_TYPE;

typedef struct CBOR_ITEM {
    CBOR_TYPE type;
    uint64_t number;            /* of an integer; 0 or 1 of a bool; elements of an array; pairs of a map */
    const unsigned char *bytes; /* of a byte string or text, which has no NUL behind it */
    size_t size;
    size_t at; /* where the item begins in the input */
} CBOR_ITEM;

typedef struct CBOR_READER {
    const unsigned char *data;
    size_t size, position;
    const char *error; /* the first one, NULL while all is well; every later read fails too */
    unsigned depth;
    struct {
        uint64_t left; /* items still to come; a map's keys and values count each */
        bool map;
    } level[CBOR_MAX_DEPTH];
} CBOR_READER;

void cbor_reader_init(CBOR_READER *reader, const void *data, size_t size);

/*
 * The next item: a whole scalar, or the head of an array or map whose elements are the next items (a map's: key,
 * value, key, value). Keys are checked to be text; that none comes twice is for the caller to see.
 * false: malformed, `error` and `position` say what and where.
 */
bool cbor_read(CBOR_READER *reader, CBOR_ITEM *item);

/* Read past what is inside `item`, an array or map whose head was the last item read. */
bool cbor_skip_inside(CBOR_READER *reader, const CBOR_ITEM *item);

/* Whether exactly one item has been read to its end and nothing follows; an error otherwise. */
bool cbor_finish(CBOR_READER *reader);

/* Refuse what was read for a reason of the caller's. Returns false. */
bool cbor_refuse(CBOR_READER *reader, const char *error);

/* Whether a text item has exactly these characters. */
bool cbor_is_text(const CBOR_ITEM *item, const char *text);

/* A growing buffer. Once memory is out or `limit` reached it has `failed`, and puts do nothing. */
typedef struct CBOR_WRITER {
    unsigned char *data; /* from malloc */
    size_t size, capacity;
    size_t limit; /* most bytes ever; 0: none */
    bool failed;
} CBOR_WRITER;

void cbor_writer_init(CBOR_WRITER *writer, size_t limit);
void cbor_writer_free(CBOR_WRITER *writer);

void cbor_put_unsigned(CBOR_WRITER *writer, uint64_t number);
void cbor_put_signed(CBOR_WRITER *writer, int64_t number);
void cbor_put_bytes(CBOR_WRITER *writer, const void *data, size_t size);
void cbor_put_text(CBOR_WRITER *writer, const char *text);
/* UTF-8 of `units` UTF-16 units; half a surrogate pair has none and becomes U+FFFD. */
void cbor_put_utf16(CBOR_WRITER *writer, const utf16_t *text, size_t units);
void cbor_put_array(CBOR_WRITER *writer, uint64_t count);
void cbor_put_map(CBOR_WRITER *writer, uint64_t pairs);
void cbor_put_bool(CBOR_WRITER *writer, bool value);
void cbor_put_null(CBOR_WRITER *writer);
/* Encoded items as they are. */
void cbor_put_encoded(CBOR_WRITER *writer, const void *data, size_t size);
/* A pair of a map: `key` and text, or, where it has no UTF-8 form, `key` with 16 behind and UTF-16-LE bytes. */
void cbor_put_counted_text(CBOR_WRITER *writer, const char *key, const utf16_t *text, size_t units);

#endif
