#include "cbor.h"

#include <stdlib.h>
#include <string.h>

/* Major types, and the simple values this format has */
#define MAJOR_UNSIGNED 0
#define MAJOR_NEGATIVE 1
#define MAJOR_BYTES 2
#define MAJOR_TEXT 3
#define MAJOR_ARRAY 4
#define MAJOR_MAP 5
#define MAJOR_TAG 6
#define SIMPLE_FALSE 0xF4
#define SIMPLE_TRUE 0xF5
#define SIMPLE_NULL 0xF6

#define FIRST_CAPACITY 4096

void cbor_reader_init(CBOR_READER *reader, const void *data, size_t size)
{
    memset(reader, 0, sizeof(*reader));
    reader->data = data;
    reader->size = size;
}

bool cbor_refuse(CBOR_READER *reader, const char *error)
{
    if (reader->error == NULL) {
        reader->error = error;
    }
    return false;
}

/* The number in or behind a head byte. */
static bool read_argument(CBOR_READER *reader, unsigned info, uint64_t *argument)
{
    size_t size, index;

    if (info < 24) {
        *argument = info;
        return true;
    }
    if (info > 27) {
        return cbor_refuse(reader, "indefinite or reserved length");
    }
    size = (size_t)1 << (info - 24);
    if (size > reader->size - reader->position) {
        return cbor_refuse(reader, "the data ends inside a number");
    }
    *argument = 0;
    for (index = 0; index < size; index++) {
        *argument = *argument << 8 | reader->data[reader->position + index];
    }
    reader->position += size;
    return true;
}

static bool read_string(CBOR_READER *reader, CBOR_ITEM *item)
{
    if (item->number > reader->size - reader->position) {
        return cbor_refuse(reader, "a string is longer than what is left of the data");
    }
    item->bytes = reader->data + reader->position;
    item->size = (size_t)item->number;
    if (item->type == CBOR_TEXT && !utf8_is_valid(item->bytes, item->size)) {
        return cbor_refuse(reader, "a text is not UTF-8");
    }
    reader->position += item->size;
    return true;
}

static bool enter(CBOR_READER *reader, const CBOR_ITEM *item)
{
    /* An element takes a byte at least, a pair two: a count beyond that can't be honest. */
    size_t left = reader->size - reader->position;
    bool map = item->type == CBOR_MAP;

    if (reader->depth == CBOR_MAX_DEPTH) {
        return cbor_refuse(reader, "too many levels");
    }
    if (item->number > (map ? left / 2 : left)) {
        return cbor_refuse(reader, "more elements announced than what is left of the data can hold");
    }
    reader->level[reader->depth].left = map ? 2 * item->number : item->number;
    reader->level[reader->depth].map = map;
    reader->depth++;
    return true;
}

/* An item has ended; with it, perhaps, the arrays and maps around it. */
static void leave(CBOR_READER *reader)
{
    while (reader->depth != 0 && reader->level[reader->depth - 1].left == 0) {
        reader->depth--;
    }
}

static bool read_simple(CBOR_READER *reader, CBOR_ITEM *item, unsigned char head)
{
    if (head == SIMPLE_NULL) {
        item->type = CBOR_NULL;
    } else if (head == SIMPLE_FALSE || head == SIMPLE_TRUE) {
        item->type = CBOR_BOOL;
        item->number = head == SIMPLE_TRUE;
    } else {
        return cbor_refuse(reader, "neither integer, string, array, map, bool nor null");
    }
    leave(reader);
    return true;
}

bool cbor_read(CBOR_READER *reader, CBOR_ITEM *item)
{
    static const CBOR_TYPE types[] = {CBOR_UNSIGNED, CBOR_NEGATIVE, CBOR_BYTES, CBOR_TEXT, CBOR_ARRAY, CBOR_MAP};
    bool key = false;
    unsigned char head;

    memset(item, 0, sizeof(*item));
    item->at = reader->position;
    if (reader->error != NULL) {
        return false;
    }
    if (reader->position == reader->size) {
        return cbor_refuse(reader, "the data ends where an item should start");
    }
    if (reader->depth != 0) {
        key = reader->level[reader->depth - 1].map && reader->level[reader->depth - 1].left % 2 == 0;
        reader->level[reader->depth - 1].left--;
    }
    head = reader->data[reader->position++];
    if (key && head >> 5 != MAJOR_TEXT) {
        return cbor_refuse(reader, "a map key is not text");
    }
    if (head >> 5 == 7) {
        return read_simple(reader, item, head);
    }
    if (head >> 5 == MAJOR_TAG) {
        return cbor_refuse(reader, "tags are not part of this format");
    }
    item->type = types[head >> 5];
    if (!read_argument(reader, head & 0x1F, &item->number)) {
        return false;
    }
    if (item->type == CBOR_BYTES || item->type == CBOR_TEXT) {
        if (!read_string(reader, item)) {
            return false;
        }
    } else if (item->type == CBOR_ARRAY || item->type == CBOR_MAP) {
        if (!enter(reader, item)) {
            return false;
        }
    }
    leave(reader);
    return true;
}

bool cbor_skip_inside(CBOR_READER *reader, const CBOR_ITEM *item)
{
    CBOR_ITEM inside;
    uint64_t left = item->type == CBOR_MAP ? 2 * item->number : item->type == CBOR_ARRAY ? item->number : 0;

    /* Every element read may bring elements of its own; each takes a byte at least, so that this ends. */
    for (; left != 0; left--) {
        if (!cbor_read(reader, &inside)) {
            return false;
        }
        left += inside.type == CBOR_MAP ? 2 * inside.number : inside.type == CBOR_ARRAY ? inside.number : 0;
    }
    return true;
}

bool cbor_finish(CBOR_READER *reader)
{
    if (reader->error != NULL) {
        return false;
    }
    if (reader->depth != 0 || reader->position == 0) {
        return cbor_refuse(reader, "the item was not read to its end");
    }
    return reader->position == reader->size || cbor_refuse(reader, "bytes follow the item");
}

bool cbor_is_text(const CBOR_ITEM *item, const char *text)
{
    return item->type == CBOR_TEXT && item->size == strlen(text) && memcmp(item->bytes, text, item->size) == 0;
}

/* -- writing ----------------------------------------------------------------------------------------------- */

void cbor_writer_init(CBOR_WRITER *writer, size_t limit)
{
    memset(writer, 0, sizeof(*writer));
    writer->limit = limit;
}

void cbor_writer_free(CBOR_WRITER *writer)
{
    free(writer->data);
    cbor_writer_init(writer, writer->limit);
}

/* Room for `size` more bytes, counted as written; NULL once the writer has failed. */
static unsigned char *grow(CBOR_WRITER *writer, size_t size)
{
    size_t capacity = writer->capacity;
    unsigned char *data;

    if (writer->failed || size > SIZE_MAX / 2 - writer->size ||
        (writer->limit != 0 && size > writer->limit - writer->size)) {
        writer->failed = true;
        return NULL;
    }
    if (size > capacity - writer->size) {
        capacity = capacity < FIRST_CAPACITY ? FIRST_CAPACITY : capacity;
        while (size > capacity - writer->size) {
            capacity *= 2;
        }
        data = realloc(writer->data, capacity);
        if (data == NULL) {
            writer->failed = true;
            return NULL;
        }
        writer->data = data;
        writer->capacity = capacity;
    }
    writer->size += size;
    return writer->data + writer->size - size;
}

void cbor_put_encoded(CBOR_WRITER *writer, const void *data, size_t size)
{
    unsigned char *to = grow(writer, size);

    if (to != NULL && size != 0) {
        memcpy(to, data, size);
    }
}

/* Head and argument in the shortest form. */
static void put_head(CBOR_WRITER *writer, unsigned major, uint64_t argument)
{
    unsigned size = argument < 24            ? 0
                    : argument <= 0xFF       ? 1
                    : argument <= 0xFFFF     ? 2
                    : argument <= 0xFFFFFFFF ? 4
                                             : 8;
    unsigned info = size == 0 ? (unsigned)argument : size == 1 ? 24 : size == 2 ? 25 : size == 4 ? 26 : 27;
    unsigned char *to = grow(writer, 1 + size);

    if (to != NULL) {
        *to = (unsigned char)(major << 5 | info);
        for (; size != 0; size--) {
            to[size] = (unsigned char)argument;
            argument >>= 8;
        }
    }
}

void cbor_put_unsigned(CBOR_WRITER *writer, uint64_t number)
{
    put_head(writer, MAJOR_UNSIGNED, number);
}

void cbor_put_signed(CBOR_WRITER *writer, int64_t number)
{
    if (number < 0) {
        put_head(writer, MAJOR_NEGATIVE, (uint64_t)(-1 - number));
    } else {
        put_head(writer, MAJOR_UNSIGNED, (uint64_t)number);
    }
}

void cbor_put_bytes(CBOR_WRITER *writer, const void *data, size_t size)
{
    put_head(writer, MAJOR_BYTES, size);
    cbor_put_encoded(writer, data, size);
}

void cbor_put_text(CBOR_WRITER *writer, const char *text)
{
    put_head(writer, MAJOR_TEXT, strlen(text));
    cbor_put_encoded(writer, text, strlen(text));
}

void cbor_put_utf16(CBOR_WRITER *writer, const utf16_t *text, size_t units)
{
    size_t size = utf8_size(text, units);
    unsigned char *to;

    put_head(writer, MAJOR_TEXT, size);
    to = grow(writer, size);
    if (to != NULL) {
        utf8_from_utf16(to, text, units);
    }
}

void cbor_put_array(CBOR_WRITER *writer, uint64_t count)
{
    put_head(writer, MAJOR_ARRAY, count);
}

void cbor_put_map(CBOR_WRITER *writer, uint64_t pairs)
{
    put_head(writer, MAJOR_MAP, pairs);
}

void cbor_put_bool(CBOR_WRITER *writer, bool value)
{
    unsigned char head = value ? SIMPLE_TRUE : SIMPLE_FALSE;

    cbor_put_encoded(writer, &head, 1);
}

void cbor_put_null(CBOR_WRITER *writer)
{
    unsigned char head = SIMPLE_NULL;

    cbor_put_encoded(writer, &head, 1);
}

void cbor_put_counted_text(CBOR_WRITER *writer, const char *key, const utf16_t *text, size_t units)
{
    if (utf16_is_paired(text, units)) {
        cbor_put_text(writer, key);
        cbor_put_utf16(writer, text, units);
    } else {
        put_head(writer, MAJOR_TEXT, strlen(key) + 2);
        cbor_put_encoded(writer, key, strlen(key));
        cbor_put_encoded(writer, "16", 2);
        cbor_put_bytes(writer, text, units * sizeof(utf16_t)); /* every Windows is little-endian */
    }
}
