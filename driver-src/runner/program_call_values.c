/* Values, and what describes keys and values. */
#include "program_call.h"

void prepare_set_value(CALL *call)
{
    call->routine = "NtSetValueKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_name(call, FIELD_VALUE_NAME);
    call_pass(call, call_number(call, FIELD_TITLE_INDEX));
    call_pass(call, call_number(call, FIELD_TYPE));
    call_pass_input(call);
}

void prepare_delete_value(CALL *call)
{
    call->routine = "NtDeleteValueKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_name(call, FIELD_VALUE_NAME);
}

void prepare_query_value(CALL *call)
{
    call->routine = "NtQueryValueKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_name(call, FIELD_VALUE_NAME);
    call_pass(call, call_number(call, FIELD_INFO_CLASS));
    call_pass_output(call);
    call_pass_result_length(call);
}

void prepare_enumerate(CALL *call)
{
    call->routine = call->operation->opcode == OP_ENUMERATE_KEY ? "NtEnumerateKey" : "NtEnumerateValueKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_INDEX));
    call_pass(call, call_number(call, FIELD_INFO_CLASS));
    call_pass_output(call);
    call_pass_result_length(call);
}

void prepare_query_key(CALL *call)
{
    call->routine = "NtQueryKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_INFO_CLASS));
    call_pass_output(call);
    call_pass_result_length(call);
}

static void take_entries(CALL *call)
{
    const FIELD_VALUE *names = call_field(call, FIELD_VALUE_NAMES);
    CBOR_READER reader;
    FIELD_VALUE name;
    unsigned index;

    call->entry_count = (unsigned)names->number;
    call->entries = memory_take(&call->memory, call->entry_count * sizeof(VALUE_ENTRY), 0);
    if (call->entries == NULL) {
        return;
    }
    array_begin(&reader, names);
    for (index = 0; index < call->entry_count; index++) {
        array_next_text(&reader, &name);
        call->entries[index].name = memory_string(&call->memory, NULL, &name, NULL);
    }
}

void prepare_query_multiple(CALL *call)
{
    ULONG length = call_number(call, FIELD_LENGTH);

    call->routine = "NtQueryMultipleValueKey";
    take_entries(call);
    call_take_output(call);
    call->buffer_length = memory_copy(&call->memory, &length, sizeof(length));
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_pointer(call, call->entries);
    call_pass(call, call->entry_count);
    call_pass(call, call->output_address);
    call_pass_pointer(call, call->buffer_length);
    if (call_number(call, FIELD_NULL_RESULT)) {
        call_pass(call, 0);
    } else {
        call_pass_result_length(call);
    }
}
