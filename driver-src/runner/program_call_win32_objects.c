/* Win32 calls on whole trees, security, several values at once and change notifications. */
#include "program_call.h"

#include <stdlib.h>
#include <string.h>

/* VALENTW */
typedef struct VALUE_ASKED {
    const wchar_t *name;
    DWORD length;
    ULONG_PTR address;
    DWORD type;
} VALUE_ASKED;

void prepare_win32_delete_tree(CALL *call)
{
    call_win32(call, "RegDeleteTreeW");
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_NAME);
}

void prepare_win32_copy_tree(CALL *call)
{
    call_win32(call, "RegCopyTreeW");
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_NAME);
    call_pass_handle(call, FIELD_LOW_HANDLE);
}

void prepare_win32_replace_key(CALL *call)
{
    call_win32(call, "RegReplaceKeyW");
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call_make_folders(call, FIELD_OLD_FILE);
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_NAME);
    call_pass_text(call, FIELD_FILE);
    call_pass_text(call, FIELD_OLD_FILE);
}

void prepare_win32_notify_change_key(CALL *call)
{
    call_win32(call, "RegNotifyChangeKeyValue");
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, FALSE);
    call_pass(call, call_number(call, FIELD_FLAGS));
    call_pass_handle(call, FIELD_EVENT);
    call_pass(call, TRUE);
}

/* The size of the output buffer, in, and what the call says of it, out. */
static void pass_size(CALL *call)
{
    call->result_length = memory_take(&call->memory, sizeof(ULONG), 0);
    if (call->result_length != NULL) {
        *call->result_length = (ULONG)call->output_size;
    }
    call_pass_pointer(call, call->result_length);
}

void prepare_win32_get_security(CALL *call)
{
    call_win32(call, "RegGetKeySecurity");
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_SECURITY_INFORMATION));
    call_take_output(call);
    call_pass(call, call->output_address);
    pass_size(call);
}

void prepare_win32_set_security(CALL *call)
{
    call_win32(call, "RegSetKeySecurity");
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_SECURITY_INFORMATION));
    call_pass_pointer(call, call_security(call));
}

/* The data as it lies in the buffer, and for each name where. */
static void compose_values(const CALL *call, RESULT *result)
{
    const VALUE_ASKED *asked = (const VALUE_ASKED *)call->arguments[1];
    uint32_t count = (uint32_t)call->arguments[2], index;

    if (result->status != 0 || *call->result_length > call->output_size) {
        return;
    }
    result->buffer = malloc(*call->result_length + 1);
    result->entries = calloc(count + 1, sizeof(*result->entries));
    if (result->buffer == NULL || result->entries == NULL) {
        return;
    }
    memcpy(result->buffer, (const void *)call->output_address, *call->result_length);
    result->buffer_size = *call->result_length;
    result->entry_count = count;
    for (index = 0; index < count; index++) {
        result->entries[index].data_length = asked[index].length;
        result->entries[index].data_offset = (uint32_t)(asked[index].address - call->output_address);
        result->entries[index].type = asked[index].type;
    }
}

void prepare_win32_query_multiple(CALL *call)
{
    const FIELD_VALUE *names = call_field(call, FIELD_VALUE_NAMES);
    unsigned count = (unsigned)names->number, index;
    VALUE_ASKED *asked = memory_take(&call->memory, count * sizeof(*asked), 0);
    CBOR_READER reader;
    FIELD_VALUE name;

    array_begin(&reader, names);
    for (index = 0; asked != NULL && index < count; index++) {
        array_next_text(&reader, &name);
        asked[index].name = memory_text(&call->memory, L"", &name);
    }
    call_win32(call, "RegQueryMultipleValuesW");
    call->compose = compose_values;
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_pointer(call, asked);
    call_pass(call, count);
    call_take_output(call);
    call_pass(call, call->output_address);
    pass_size(call);
}
