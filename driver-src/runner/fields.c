#include "fields.h"

#include <stdlib.h>
#include <string.h>

#include "protocol.h"
#include "utf16.h"

static BOOL wrong(REPLY *reply, const FIELD *field, const char *what)
{
    reply_fail(reply, REGRUN_ERROR_MALFORMED, "%s must be %s", field->name, what);
    return FALSE;
}

static BOOL beyond(REPLY *reply, const FIELD *field)
{
    reply_fail(reply, REGRUN_ERROR_LIMIT, "%s is beyond the limit, 0x%lX%08lX", field->name,
               (unsigned long)(field->limit >> 32), (unsigned long)field->limit);
    return FALSE;
}

wchar_t *wide_from_utf8(const char *text, size_t size, size_t *units)
{
    wchar_t *wide;

    *units = utf16_units((const unsigned char *)text, size);
    wide = malloc((*units + 1) * sizeof(wchar_t));
    if (wide != NULL) {
        utf16_from_utf8(wide, (const unsigned char *)text, size);
        wide[*units] = 0;
    }
    return wide;
}

static BOOL read_text(const FIELD *field, const CBOR_ITEM *item, VALUE *value, REPLY *reply)
{
    size_t units;

    if (item->type != CBOR_TEXT) {
        return wrong(reply, field, "text");
    }
    if (item->size > 4 * field->limit) {
        return beyond(reply, field);
    }
    value->text = wide_from_utf8((const char *)item->bytes, item->size, &units);
    if (value->text == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for %s", field->name);
        return FALSE;
    }
    if (units > field->limit) {
        return beyond(reply, field);
    }
    if (units != wcslen(value->text)) {
        return wrong(reply, field, "text without NUL characters");
    }
    return TRUE;
}

/* The item just read, into what the handler gets. FALSE with the failure in `reply`. */
static BOOL read_value(CBOR_READER *reader, const FIELD *field, const CBOR_ITEM *item, VALUE *value, REPLY *reply)
{
    switch (field->kind) {
    case FIELD_UINT:
        if (item->type != CBOR_UNSIGNED) {
            return wrong(reply, field, "an unsigned integer");
        }
        value->number = item->number;
        return item->number <= field->limit || beyond(reply, field);
    case FIELD_BOOL:
        value->number = item->number;
        return item->type == CBOR_BOOL || wrong(reply, field, "true or false");
    case FIELD_TEXT:
        return read_text(field, item, value, reply);
    case FIELD_BYTES:
        value->bytes = item->bytes;
        value->size = item->size;
        return (item->type == CBOR_BYTES || wrong(reply, field, "bytes")) &&
               (item->size <= field->limit || beyond(reply, field));
    default:
        if (item->type != CBOR_MAP) {
            return wrong(reply, field, "a map");
        }
        value->bytes = reader->data + item->at;
        if (!cbor_skip_inside(reader, item)) {
            return FALSE; /* told by the caller, with the reader's words */
        }
        value->size = reader->position - item->at;
        return item->number <= field->limit || beyond(reply, field);
    }
}

static BOOL read_pair(CBOR_READER *reader, const FIELD *fields, size_t count, VALUE *values, REPLY *reply)
{
    CBOR_ITEM key, item;
    size_t index;

    if (!cbor_read(reader, &key)) {
        return FALSE;
    }
    for (index = 0; index < count && !cbor_is_text(&key, fields[index].name); index++) {
    }
    if (index == count) {
        /* Another protocol's, or a mistake: a request must not mean less than its sender thinks. */
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "the request has no key %.*s", (int)(key.size < 64 ? key.size : 64),
                   (const char *)key.bytes);
        return FALSE;
    }
    if (values[index].given) {
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "%s is there twice", fields[index].name);
        return FALSE;
    }
    if (!cbor_read(reader, &item)) {
        return FALSE;
    }
    values[index].given = TRUE;
    return read_value(reader, &fields[index], &item, &values[index], reply);
}

BOOL fields_read(const REQUEST *request, const FIELD *fields, size_t count, VALUE *values, REPLY *reply)
{
    CBOR_READER reader;
    CBOR_ITEM top;
    BOOL fine;
    size_t index;
    uint64_t pair;

    cbor_reader_init(&reader, request->payload, request->size);
    fine = cbor_read(&reader, &top);
    if (fine && top.type != CBOR_MAP) {
        fine = cbor_refuse(&reader, "a request is a map");
    }
    for (pair = 0; fine && pair < top.number; pair++) {
        fine = read_pair(&reader, fields, count, values, reply);
    }
    if (!fine || !cbor_finish(&reader)) {
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "%s, at byte %lu of the payload",
                   reader.error != NULL ? reader.error : "malformed", (unsigned long)reader.position);
        return FALSE;
    }
    for (index = 0; index < count; index++) {
        if (fields[index].required && !values[index].given) {
            reply_fail(reply, REGRUN_ERROR_MALFORMED, "%s is missing", fields[index].name);
            return FALSE;
        }
    }
    return TRUE;
}

void fields_free(VALUE *values, size_t count)
{
    size_t index;

    for (index = 0; index < count; index++) {
        free(values[index].text);
    }
}
