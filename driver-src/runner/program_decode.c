#include "program_decode.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef _WIN32
#define vsnprintf _vsnprintf
#endif

#define MAX_SHOWN 48 /* characters of a name from outside in a message */

static bool fail(DECODE_ERROR *error, const char *text, ...)
{
    va_list arguments;

    error->limit = false;
    va_start(arguments, text);
    vsnprintf(error->text, sizeof(error->text) - 1, text, arguments);
    va_end(arguments);
    error->text[sizeof(error->text) - 1] = 0;
    return false;
}

static bool fail_cbor(DECODE_ERROR *error, const CBOR_READER *reader)
{
    return fail(error, "CBOR: %s at byte %lu", reader->error, (unsigned long)reader->position);
}

/* -- fields ------------------------------------------------------------------------------------------------ */

static bool is_named(const CBOR_ITEM *key, size_t size, const char *name)
{
    return strlen(name) == size && memcmp(key->bytes, name, size) == 0;
}

/* Which field a key names; FIELD_COUNT for none. *wide: by its name with 16 behind. */
static FIELD_ID find_field(const CBOR_ITEM *key, bool *wide)
{
    unsigned field;

    *wide = false;
    for (field = 0; field < FIELD_COUNT; field++) {
        if (is_named(key, key->size, field_rules[field].name)) {
            return field;
        }
    }
    if (key->size > 2 && memcmp(key->bytes + key->size - 2, "16", 2) == 0) {
        *wide = true;
        for (field = 0; field < FIELD_COUNT; field++) {
            if (field_rules[field].type == TYPE_TEXT && is_named(key, key->size - 2, field_rules[field].name)) {
                return field;
            }
        }
    }
    return FIELD_COUNT;
}

static bool fail_key(DECODE_ERROR *error, const CBOR_ITEM *key, const char *what)
{
    char shown[MAX_SHOWN + 1];
    size_t size = key->size < MAX_SHOWN ? key->size : MAX_SHOWN, index;

    for (index = 0; index < size; index++) {
        shown[index] = key->bytes[index] >= 0x20 && key->bytes[index] < 0x7F ? (char)key->bytes[index] : '?';
    }
    shown[size] = 0;
    return fail(error, "%s: %s", shown, what);
}

size_t text_units(const FIELD_VALUE *text)
{
    return text->wide ? text->size / 2 : utf16_units(text->bytes, text->size);
}

void text_copy(utf16_t *to, const FIELD_VALUE *text)
{
    size_t unit;

    if (!text->wide) {
        utf16_from_utf8(to, text->bytes, text->size);
        return;
    }
    for (unit = 0; unit < text->size / 2; unit++) {
        to[unit] = (utf16_t)(text->bytes[2 * unit] | text->bytes[2 * unit + 1] << 8);
    }
}

/* NULL when `item` is a text of this format, otherwise what is wrong. */
static const char *take_text(FIELD_VALUE *value, const CBOR_ITEM *item)
{
    value->wide = item->type == CBOR_BYTES;
    value->bytes = item->bytes;
    value->size = item->size;
    if (item->type != CBOR_TEXT && item->type != CBOR_BYTES) {
        return "must be text or UTF-16 bytes";
    }
    if (value->wide && value->size % 2 != 0) {
        return "has an odd number of UTF-16 bytes";
    }
    return text_units(value) > PROGRAM_MAX_TEXT ? "has more than 32767 UTF-16 units" : NULL;
}

static bool take_texts(FIELD_VALUE *value, CBOR_READER *reader, const char **wrong)
{
    FIELD_VALUE text;
    CBOR_ITEM item;
    uint64_t left;

    for (left = value->number; left != 0 && *wrong == NULL; left--) {
        if (!cbor_read(reader, &item)) {
            return false;
        }
        *wrong = take_text(&text, &item);
    }
    return true;
}

/* Of one [offset, slot]; whether they fit the data and the program is seen when both are known. */
static bool take_patches(FIELD_VALUE *value, CBOR_READER *reader, const char **wrong)
{
    CBOR_ITEM pair, offset, slot;
    uint64_t left;

    for (left = value->number; left != 0 && *wrong == NULL; left--) {
        if (!cbor_read(reader, &pair)) {
            return false;
        }
        if (pair.type != CBOR_ARRAY || pair.number != 2) {
            *wrong = "must hold [offset, slot] pairs";
        } else if (!cbor_read(reader, &offset) || !cbor_read(reader, &slot)) {
            return false;
        } else if (offset.type != CBOR_UNSIGNED || offset.number > U32) {
            *wrong = "has an offset beyond 32 bits";
        } else if (slot.type != CBOR_UNSIGNED || slot.number >= PROGRAM_MAX_HANDLES) {
            *wrong = "has a handle slot out of bounds";
        }
    }
    return true;
}

static bool take_array(const FIELD_RULE *rule, FIELD_VALUE *value, CBOR_READER *reader, const CBOR_ITEM *item,
                       const char **wrong)
{
    size_t start = reader->position;

    if (item->type != CBOR_ARRAY || item->number > rule->maximum) {
        *wrong = "must be an array, and has its limit";
        return true;
    }
    value->number = item->number;
    value->bytes = reader->data + start;
    if (!(rule->type == TYPE_TEXTS ? take_texts : take_patches)(value, reader, wrong)) {
        return false;
    }
    value->size = reader->position - start;
    return true;
}

/* false: malformed CBOR. Otherwise *wrong says what is wrong with the value, if anything is. */
static bool take_value(FIELD_ID field, bool wide, FIELD_VALUE *value, CBOR_READER *reader, const char **wrong)
{
    const FIELD_RULE *rule = &field_rules[field];
    CBOR_ITEM item;

    *wrong = NULL;
    memset(value, 0, sizeof(*value));
    value->given = true;
    if (!cbor_read(reader, &item)) {
        return false;
    }
    value->number = item.number;
    value->bytes = item.bytes;
    value->size = item.size;
    switch (rule->type) {
    case TYPE_HANDLE:
        if (item.type != CBOR_UNSIGNED || item.number >= PROGRAM_MAX_HANDLES) {
            *wrong = "must be a handle slot";
        }
        break;
    case TYPE_UNSIGNED:
        if (item.type != CBOR_UNSIGNED || item.number > rule->maximum) {
            *wrong = "must be an integer, and has its limit";
        }
        break;
    case TYPE_FLAG:
        if (item.type != CBOR_BOOL) {
            *wrong = "must be true or false";
        }
        break;
    case TYPE_TEXT:
        if (item.type != (wide ? CBOR_BYTES : CBOR_TEXT)) {
            *wrong = wide ? "must be bytes" : "must be text";
        } else {
            *wrong = take_text(value, &item);
        }
        break;
    case TYPE_BYTES:
        if (item.type != CBOR_BYTES || item.size > rule->maximum) {
            *wrong = "must be bytes, and has its limit";
        }
        break;
    default:
        return take_array(rule, value, reader, &item, wrong);
    }
    return true;
}

static void set_defaults(OPERATION *operation)
{
    unsigned field;

    memset(operation->fields, 0, sizeof(operation->fields));
    for (field = 0; field < FIELD_COUNT; field++) {
        if (field_rules[field].fallback != ABSENT) {
            operation->fields[field].given = true;
            operation->fields[field].number = (uint64_t)field_rules[field].fallback;
        }
    }
}

/* A field that says what it says anyway may be there, also where the operation has no use for it. */
static bool is_default(FIELD_ID field, const FIELD_VALUE *value)
{
    return field_rules[field].fallback != ABSENT && value->number == (uint64_t)field_rules[field].fallback;
}

static bool take_fields(OPERATION *operation, CBOR_READER *reader, uint64_t pairs, DECODE_ERROR *error)
{
    uint64_t seen = 0;
    const char *wrong;
    FIELD_VALUE value;
    FIELD_ID field;
    CBOR_ITEM key;
    bool wide;

    for (; pairs != 0; pairs--) {
        if (!cbor_read(reader, &key)) {
            return fail_cbor(error, reader);
        }
        field = find_field(&key, &wide);
        if (field == FIELD_COUNT) {
            return fail_key(error, &key, "unknown field");
        }
        if (seen & 1ull << field) {
            return fail_key(error, &key, "comes twice");
        }
        seen |= 1ull << field;
        if (!take_value(field, wide, &value, reader, &wrong)) {
            return fail_cbor(error, reader);
        }
        if (wrong != NULL) {
            return fail_key(error, &key, wrong);
        }
        if (!is_default(field, &value) && !(opcode_rules[operation->opcode].accepted & 1ull << field)) {
            return fail_key(error, &key, "the operation takes no such field");
        }
        operation->fields[field] = value;
    }
    return true;
}

/* -- operations -------------------------------------------------------------------------------------------- */

void array_begin(CBOR_READER *reader, const FIELD_VALUE *array)
{
    cbor_reader_init(reader, array->bytes, array->size);
}

void array_next_text(CBOR_READER *reader, FIELD_VALUE *text)
{
    CBOR_ITEM item;

    memset(text, 0, sizeof(*text));
    text->given = true;
    cbor_read(reader, &item);
    take_text(text, &item);
}

void array_next_patch(CBOR_READER *reader, uint32_t *offset, unsigned *slot)
{
    CBOR_ITEM pair, first, second;

    cbor_read(reader, &pair);
    cbor_read(reader, &first);
    cbor_read(reader, &second);
    *offset = (uint32_t)first.number;
    *slot = (unsigned)second.number;
}

static bool check_patches(const OPERATION *operation, unsigned handle_count, DECODE_ERROR *error)
{
    const FIELD_VALUE *patches = &operation->fields[FIELD_PATCHES];
    uint64_t left, size = operation->fields[FIELD_DATA].size;
    CBOR_READER reader;
    uint32_t offset;
    unsigned slot;

    array_begin(&reader, patches);
    for (left = patches->number; left != 0; left--) {
        array_next_patch(&reader, &offset, &slot);
        if ((uint64_t)offset + 8 > size) {
            return fail(error, "a handle patch at offset %lu lies outside the data", (unsigned long)offset);
        }
        if (slot >= handle_count) {
            return fail(error, "a patch names handle slot %u, the program has %u", slot, handle_count);
        }
    }
    return true;
}

static bool check_operation(const OPERATION *operation, unsigned handle_count, DECODE_ERROR *error)
{
    unsigned field;

    for (field = 0; field < FIELD_COUNT; field++) {
        const FIELD_VALUE *value = &operation->fields[field];

        if (!value->given && opcode_rules[operation->opcode].required & 1ull << field) {
            return fail(error, "%s is missing", field_rules[field].name);
        }
        if (value->given && field_rules[field].type == TYPE_HANDLE && value->number >= handle_count) {
            return fail(error, "%s is handle slot %u, the program has %u", field_rules[field].name,
                        (unsigned)value->number, handle_count);
        }
    }
    if ((uintptr_t)operation->fields[FIELD_ADDRESS].number != operation->fields[FIELD_ADDRESS].number) {
        return fail(error, "address lies beyond the runner's pointers, which have %u bytes", (unsigned)sizeof(void *));
    }
    if (operation->opcode == OP_TERMINATE_PROCESS && operation->fields[FIELD_PROCESS].number == 0) {
        return fail(error, "the runner (process 0) can't be ended");
    }
    if ((operation->opcode == OP_IMPERSONATE || operation->opcode == OP_REVERT) &&
        (operation->fields[FIELD_PROCESS].number != 0 || operation->fields[FIELD_THREAD].number == 0)) {
        return fail(error, "threads 1 and on of the runner can impersonate");
    }
    if (operation->fields[FIELD_BACKGROUND].number != 0 &&
        (operation->opcode == OP_TERMINATE_PROCESS ||
         (operation->fields[FIELD_PROCESS].number == 0 && operation->fields[FIELD_THREAD].number == 0))) {
        return fail(error, "the operation can't go on in the background");
    }
    return check_patches(operation, handle_count, error);
}

bool operation_decode(OPERATION *operation, const unsigned char *data, size_t size, unsigned handle_count,
                      DECODE_ERROR *error)
{
    CBOR_ITEM pair, opcode, fields;
    CBOR_READER reader;

    cbor_reader_init(&reader, data, size);
    if (!cbor_read(&reader, &pair)) {
        return fail_cbor(error, &reader);
    }
    if (pair.type != CBOR_ARRAY || pair.number != 2) {
        return fail(error, "must be [opcode, {field: value}]");
    }
    if (!cbor_read(&reader, &opcode) || !cbor_read(&reader, &fields)) {
        return fail_cbor(error, &reader);
    }
    if (opcode.type != CBOR_UNSIGNED || fields.type != CBOR_MAP) {
        return fail(error, "must be [opcode, {field: value}]");
    }
    if (opcode.number == 0 || opcode.number >= OP_END) {
        return fail(error, "has an unknown opcode");
    }
    operation->opcode = (OPCODE)opcode.number;
    set_defaults(operation);
    if (!take_fields(operation, &reader, fields.number, error) || !check_operation(operation, handle_count, error)) {
        return false;
    }
    operation->encoded = data;
    operation->encoded_size = reader.position;
    return true;
}

/* -- programs ---------------------------------------------------------------------------------------------- */

static bool fail_limit(DECODE_ERROR *error, const char *text)
{
    fail(error, "%s", text);
    error->limit = true;
    return false;
}

static bool take_top(PROGRAM *program, CBOR_READER *reader, DECODE_ERROR *error)
{
    CBOR_ITEM top, version, handles, operations;

    if (!cbor_read(reader, &top)) {
        return fail_cbor(error, reader);
    }
    if (top.type != CBOR_ARRAY || top.number != 3) {
        return fail(error, "a program must be an array of three");
    }
    if (!cbor_read(reader, &version) || !cbor_read(reader, &handles) || !cbor_read(reader, &operations)) {
        return fail_cbor(error, reader);
    }
    if (version.type != CBOR_UNSIGNED || version.number != PROGRAM_FORMAT_VERSION) {
        return fail(error, "a program of another format; this runner speaks %d", PROGRAM_FORMAT_VERSION);
    }
    if (handles.type != CBOR_UNSIGNED) {
        return fail(error, "a program's handle count must be an integer");
    }
    if (operations.type != CBOR_ARRAY) {
        return fail(error, "a program's operations must be an array");
    }
    if (handles.number > PROGRAM_MAX_HANDLES) {
        return fail_limit(error, "more than 4096 handle slots in one program");
    }
    if (operations.number > PROGRAM_MAX_OPERATIONS) {
        return fail_limit(error, "more than 65536 operations in one program");
    }
    program->count = (unsigned)operations.number;
    program->handle_count = (unsigned)handles.number;
    program->operations = reader->data + reader->position;
    program->size = reader->size - reader->position;
    return true;
}

bool program_decode(PROGRAM *program, const void *data, size_t size, DECODE_ERROR *error)
{
    DECODE_ERROR inner;
    OPERATION operation;
    CBOR_READER reader;
    size_t position = 0;
    unsigned index;

    if (size > PROGRAM_MAX_ENCODED) {
        return fail_limit(error, "a program of more than 128 MB");
    }
    cbor_reader_init(&reader, data, size);
    if (!take_top(program, &reader, error)) {
        return false;
    }
    for (index = 0; index < program->count; index++) {
        if (!operation_decode(&operation, program->operations + position, program->size - position,
                              program->handle_count, &inner)) {
            return fail(error, "operation %u: %s", index, inner.text);
        }
        position += operation.encoded_size;
    }
    return position == program->size || fail(error, "bytes follow the program");
}
