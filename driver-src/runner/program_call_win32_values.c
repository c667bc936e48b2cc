/*
 * Win32 calls that read and write values or describe keys. What they give back in several places is laid out like
 * the native information class of the same content.
 */
#include "program_call.h"

#include <stdlib.h>
#include <string.h>

/* Room for a name in UTF-16 units, its NUL included: a key's has 255 at most, a value's 16383. */
#define KEY_NAME_UNITS 256
#define VALUE_NAME_UNITS 16384

/* Where a call's numbers lie in `numbers` */
enum { NUMBER_TYPE, NUMBER_SIZE, NUMBER_NAME, NUMBER_TIME_LOW, NUMBER_TIME_HIGH, NUMBER_COUNTS };
#define NUMBERS 16

static void take_numbers(CALL *call)
{
    call->numbers = memory_take(&call->memory, NUMBERS * sizeof(ULONG), 0);
    if (call->numbers == NULL) {
        /* The call won't be made; its arguments need somewhere to point. */
        static ULONG nowhere[NUMBERS];
        call->numbers = nowhere;
    }
}

static void pass_number(CALL *call, unsigned number)
{
    call_pass_pointer(call, &call->numbers[number]);
}

/* The name's characters and their count, in and out. */
static void pass_name_room(CALL *call, ULONG units)
{
    call->characters = memory_take(&call->memory, units * sizeof(wchar_t), PROGRAM_FILL_BYTE);
    call->numbers[NUMBER_NAME] = units;
    call_pass_pointer(call, call->characters);
    pass_number(call, NUMBER_NAME);
}

/* The data's buffer and its size, in and out. */
static void pass_data_room(CALL *call)
{
    call_take_output(call);
    call->numbers[NUMBER_SIZE] = (ULONG)call->output_size;
    call_pass(call, call->output_address);
    pass_number(call, NUMBER_SIZE);
}

/* -- results ----------------------------------------------------------------------------------------------- */

/* The result's buffer: `head` of 32-bit numbers, the name (NULL: none), then the data (NULL: none). */
static void lay_out(RESULT *result, const ULONG *head, unsigned count, const wchar_t *name, size_t name_size,
                    const void *data, size_t data_size)
{
    size_t size = count * sizeof(ULONG);
    unsigned char *buffer = malloc(size + name_size + data_size);

    if (buffer == NULL) {
        return;
    }
    memcpy(buffer, head, size);
    if (name != NULL) {
        memcpy(buffer + size, name, name_size);
        size += name_size;
    }
    if (data != NULL) {
        memcpy(buffer + size, data, data_size);
        size += data_size;
    }
    result->buffer = buffer;
    result->buffer_size = (uint32_t)size;
}

static void tell_size(const CALL *call, RESULT *result)
{
    result->result_length = call->numbers[NUMBER_SIZE];
    result->has |= RESULT_HAS_LENGTH;
}

/* Bytes of data that are in the output buffer. */
static size_t data_held(const CALL *call)
{
    size_t size = call->numbers[NUMBER_SIZE];

    return size < call->output_size ? size : call->output_size;
}

static void compose_partial(const CALL *call, RESULT *result)
{
    ULONG head[3] = {0, call->numbers[NUMBER_TYPE], (ULONG)data_held(call)};

    tell_size(call, result);
    if (result->status == 0 && call->output_size >= call->numbers[NUMBER_SIZE]) {
        lay_out(result, head, 3, NULL, 0, (const void *)call->output_address, data_held(call));
    }
}

static void compose_full(const CALL *call, RESULT *result)
{
    ULONG name_size = call->numbers[NUMBER_NAME] * sizeof(wchar_t);
    ULONG head[5] = {0, call->numbers[NUMBER_TYPE], 20 + name_size, (ULONG)data_held(call), name_size};

    tell_size(call, result);
    if (result->status == 0 && call->output_size >= call->numbers[NUMBER_SIZE] &&
        call->numbers[NUMBER_NAME] < VALUE_NAME_UNITS) {
        lay_out(result, head, 5, call->characters, name_size, (const void *)call->output_address, data_held(call));
    }
}

static void compose_basic(const CALL *call, RESULT *result)
{
    ULONG name_size = call->numbers[NUMBER_NAME] * sizeof(wchar_t);
    ULONG head[4] = {call->numbers[NUMBER_TIME_LOW], call->numbers[NUMBER_TIME_HIGH], 0, name_size};

    if (result->status == 0 && call->numbers[NUMBER_NAME] < KEY_NAME_UNITS) {
        lay_out(result, head, 4, call->characters, name_size, NULL, 0);
    }
}

/* Lengths in bytes, as the native class has them, not in characters. */
static void compose_key(const CALL *call, RESULT *result)
{
    const ULONG *counts = call->numbers + NUMBER_COUNTS;
    ULONG head[11] = {call->numbers[NUMBER_TIME_LOW],
                      call->numbers[NUMBER_TIME_HIGH],
                      0,
                      0xFFFFFFFF, /* no class */
                      0,
                      counts[0],
                      counts[1] * sizeof(wchar_t),
                      counts[2] * sizeof(wchar_t),
                      counts[3],
                      counts[4] * sizeof(wchar_t),
                      counts[5]};

    if (result->status == 0) {
        lay_out(result, head, 11, NULL, 0, NULL, 0);
    }
}

/* -- calls ------------------------------------------------------------------------------------------------- */

void prepare_win32_set_value(CALL *call)
{
    const FIELD_VALUE *data = call_field(call, FIELD_DATA);

    call_win32(call, "RegSetValueExW");
    if (data->given) {
        call->input_address = (ULONG_PTR)memory_copy(&call->memory, data->bytes, data->size);
    }
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_VALUE_NAME);
    call_pass(call, 0);
    call_pass(call, call_number(call, FIELD_TYPE));
    call_pass(call, call->input_address);
    call_pass(call, data->size);
}

void prepare_win32_delete_value(CALL *call)
{
    call_win32(call, "RegDeleteValueW");
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_VALUE_NAME);
}

void prepare_win32_query_value(CALL *call)
{
    call_win32(call, "RegQueryValueExW");
    call->compose = compose_partial;
    take_numbers(call);
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_VALUE_NAME);
    call_pass(call, 0);
    pass_number(call, NUMBER_TYPE);
    pass_data_room(call);
}

void prepare_win32_get_value(CALL *call)
{
    call_win32(call, "RegGetValueW");
    call->compose = compose_partial;
    take_numbers(call);
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_NAME);
    call_pass_text(call, FIELD_VALUE_NAME);
    call_pass(call, call_number(call, FIELD_FLAGS));
    pass_number(call, NUMBER_TYPE);
    pass_data_room(call);
}

/* RegEnumKeyExW(key, index, name, its room, reserved, no class, none, time) */
void prepare_win32_enumerate_key(CALL *call)
{
    call_win32(call, "RegEnumKeyExW");
    call->compose = compose_basic;
    take_numbers(call);
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_INDEX));
    pass_name_room(call, KEY_NAME_UNITS);
    call_pass(call, 0);
    call_pass(call, 0);
    call_pass(call, 0);
    pass_number(call, NUMBER_TIME_LOW);
}

void prepare_win32_enumerate_value(CALL *call)
{
    call_win32(call, "RegEnumValueW");
    call->compose = compose_full;
    take_numbers(call);
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_INDEX));
    pass_name_room(call, VALUE_NAME_UNITS);
    call_pass(call, 0);
    pass_number(call, NUMBER_TYPE);
    pass_data_room(call);
}

/* RegQueryInfoKeyW(key, no class, none, reserved, subkeys, their longest name, their longest class, values, their
 * longest name, their longest data, no security, time) */
void prepare_win32_query_key(CALL *call)
{
    unsigned number;

    call_win32(call, "RegQueryInfoKeyW");
    call->compose = compose_key;
    take_numbers(call);
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, 0);
    call_pass(call, 0);
    call_pass(call, 0);
    for (number = 0; number < 6; number++) {
        pass_number(call, NUMBER_COUNTS + number);
    }
    call_pass(call, 0);
    pass_number(call, NUMBER_TIME_LOW);
}
