#include "program_call.h"

#include <string.h>

#include "program_pretence.h"

#define OBJ_CASE_INSENSITIVE_ 0x40
#define SDDL_REVISION 1
#define STATUS_INVALID_SECURITY_DESCR_ ((NT_STATUS)0xC0000079)
#define STATUS_PROCEDURE_NOT_FOUND_ ((NT_STATUS)0xC000007A)

typedef BOOL(WINAPI *CONVERT_SDDL)(const wchar_t *, DWORD, void **, ULONG *);
typedef DWORD(WINAPI *DESCRIPTOR_LENGTH)(void *);

static PREPARE *const preparations[OP_END] = {
    [OP_CREATE_KEY] = prepare_create_key,
    [OP_OPEN_KEY] = prepare_open_key,
    [OP_CLOSE] = prepare_handle_only,
    [OP_DELETE_KEY] = prepare_handle_only,
    [OP_SET_VALUE] = prepare_set_value,
    [OP_DELETE_VALUE] = prepare_delete_value,
    [OP_QUERY_VALUE] = prepare_query_value,
    [OP_ENUMERATE_VALUE] = prepare_enumerate,
    [OP_ENUMERATE_KEY] = prepare_enumerate,
    [OP_QUERY_KEY] = prepare_query_key,
    [OP_QUERY_MULTIPLE] = prepare_query_multiple,
    [OP_RENAME_KEY] = prepare_rename_key,
    [OP_SET_INFORMATION_KEY] = prepare_set_information_key,
    [OP_FLUSH_KEY] = prepare_handle_only,
    [OP_LOAD_KEY] = prepare_load_key,
    [OP_LOAD_APP_KEY] = prepare_load_app_key,
    [OP_UNLOAD_KEY] = prepare_unload_key,
    [OP_QUERY_SECURITY] = prepare_query_security,
    [OP_SET_SECURITY] = prepare_set_security,
    [OP_QUERY_OBJECT_NAME] = prepare_query_object,
    [OP_QUERY_OBJECT_BASIC] = prepare_query_object,
    [OP_SAVE_KEY] = prepare_save_key,
    [OP_SAVE_MERGED] = prepare_save_merged,
    [OP_RESTORE_KEY] = prepare_restore_key,
    [OP_REPLACE_KEY] = prepare_replace_key,
    [OP_DUPLICATE_HANDLE] = prepare_duplicate_handle,
    [OP_DEVICE_CONTROL] = prepare_device_control,
    [OP_CREATE_TRANSACTION] = prepare_create_transaction,
    [OP_COMMIT] = prepare_end_transaction,
    [OP_ROLLBACK] = prepare_end_transaction,
    [OP_OPEN_KEY_TRANSACTED] = prepare_open_key,
    [OP_CREATE_KEY_TRANSACTED] = prepare_create_key,
    [OP_MARK] = prepare_nothing,
    [OP_CREATE_EVENT] = prepare_create_event,
    [OP_NOTIFY_CHANGE_KEY] = prepare_notify_change_key,
    [OP_DELETE_FILE] = prepare_delete_file,
    [OP_TERMINATE_PROCESS] = prepare_nothing, /* from outside: program.c */
    [OP_WIN32_CREATE_KEY] = prepare_win32_create_key,
    [OP_WIN32_OPEN_KEY] = prepare_win32_open_key,
    [OP_WIN32_CLOSE_KEY] = prepare_win32_handle_only,
    [OP_WIN32_DELETE_KEY] = prepare_win32_delete_key,
    [OP_WIN32_SET_VALUE] = prepare_win32_set_value,
    [OP_WIN32_DELETE_VALUE] = prepare_win32_delete_value,
    [OP_WIN32_QUERY_VALUE] = prepare_win32_query_value,
    [OP_WIN32_GET_VALUE] = prepare_win32_get_value,
    [OP_WIN32_ENUMERATE_KEY] = prepare_win32_enumerate_key,
    [OP_WIN32_ENUMERATE_VALUE] = prepare_win32_enumerate_value,
    [OP_WIN32_QUERY_KEY] = prepare_win32_query_key,
    [OP_WIN32_LOAD_APP_KEY] = prepare_win32_load_app_key,
    [OP_WIN32_LOAD_KEY] = prepare_win32_load_key,
    [OP_WIN32_UNLOAD_KEY] = prepare_win32_unload_key,
    [OP_WIN32_SAVE_KEY] = prepare_win32_save_key,
    [OP_WIN32_RESTORE_KEY] = prepare_win32_restore_key,
    [OP_WIN32_RENAME_KEY] = prepare_win32_rename_key,
    [OP_WIN32_FLUSH_KEY] = prepare_win32_handle_only,
    [OP_ALLOCATE_MEMORY] = prepare_allocate_memory,
    [OP_WRITE_MEMORY] = prepare_write_memory,
    [OP_FREE_MEMORY] = prepare_free_memory,
    [OP_SET_EVENT] = prepare_set_event,
    [OP_WAIT] = prepare_wait,
    [OP_CREATE_REGISTRY_TRANSACTION] = prepare_create_registry_transaction,
    [OP_COMMIT_REGISTRY_TRANSACTION] = prepare_end_registry_transaction,
    [OP_ROLLBACK_REGISTRY_TRANSACTION] = prepare_end_registry_transaction,
    [OP_IMPERSONATE] = prepare_impersonate,
    [OP_REVERT] = prepare_impersonate,
    [OP_WIN32_DELETE_TREE] = prepare_win32_delete_tree,
    [OP_WIN32_COPY_TREE] = prepare_win32_copy_tree,
    [OP_WIN32_GET_SECURITY] = prepare_win32_get_security,
    [OP_WIN32_SET_SECURITY] = prepare_win32_set_security,
    [OP_WIN32_QUERY_MULTIPLE] = prepare_win32_query_multiple,
    [OP_WIN32_NOTIFY_CHANGE_KEY] = prepare_win32_notify_change_key,
    [OP_WIN32_REPLACE_KEY] = prepare_win32_replace_key,
};

void call_prepare(CALL *call)
{
    if (native_is_wine() && pretence_of(call->operation) != NULL) {
        call_end(call, STATUS_NOT_IMPLEMENTED_);
        return;
    }
    call->module = L"ntdll.dll";
    preparations[call->operation->opcode](call);
    if (call->memory.failed) {
        call_end(call, call->memory.failure);
    }
    if (call->routine != NULL && GetProcAddress(GetModuleHandleW(call->module), call->routine) == NULL) {
        call_end(call, STATUS_PROCEDURE_NOT_FOUND_);
    }
}

void call_end(CALL *call, NT_STATUS status)
{
    call->routine = NULL;
    call->status = status;
}

HANDLE call_handle(const CALL *call, FIELD_ID field)
{
    const FIELD_VALUE *slot = call_field(call, field);

    return slot->given ? (HANDLE)(ULONG_PTR)call->slots[slot->number] : NULL;
}

void call_pass(CALL *call, ULONG_PTR argument)
{
    call->arguments[call->count++] = argument;
}

void call_pass_pointer(CALL *call, const void *pointer)
{
    call_pass(call, (ULONG_PTR)pointer);
}

void call_pass_handle(CALL *call, FIELD_ID field)
{
    call_pass_pointer(call, call_handle(call, field));
}

void call_pass_new_handle(CALL *call)
{
    call->handle = memory_take(&call->memory, sizeof(HANDLE), 0);
    call_pass_pointer(call, call->handle);
}

void call_pass_disposition(CALL *call)
{
    if (call_number(call, FIELD_NULL_RESULT)) {
        call_pass(call, 0);
        return;
    }
    call->disposition = memory_take(&call->memory, sizeof(ULONG), PROGRAM_FILL_BYTE);
    call_pass_pointer(call, call->disposition);
}

void call_pass_result_length(CALL *call)
{
    call->result_length = memory_take(&call->memory, sizeof(ULONG), PROGRAM_FILL_BYTE);
    call_pass_pointer(call, call->result_length);
}

/* Memory that the program names: what lies there is its own affair. */
static bool is_foreign(const CALL *call, ULONG_PTR *address)
{
    if (call_field(call, FIELD_BUFFER)->given) {
        *address = (ULONG_PTR)call_handle(call, FIELD_BUFFER);
        return true;
    }
    *address = (ULONG_PTR)call_field(call, FIELD_ADDRESS)->number;
    return call_field(call, FIELD_ADDRESS)->given;
}

void call_take_output(CALL *call)
{
    call->output_size = call_number(call, FIELD_LENGTH);
    call->foreign_output = is_foreign(call, &call->output_address);
    if (call->foreign_output) {
        return;
    }
    if (call->output_size != 0) {
        call->output_address = (ULONG_PTR)memory_take(&call->memory, call->output_size, PROGRAM_FILL_BYTE);
    }
}

void call_pass_output(CALL *call)
{
    call_take_output(call);
    call_pass(call, call->output_address);
    call_pass(call, call->output_size);
}

void call_pass_input(CALL *call)
{
    const FIELD_VALUE *data = call_field(call, FIELD_DATA), *size = call_field(call, FIELD_DATA_SIZE);

    if (!is_foreign(call, &call->input_address) && data->given) {
        call->input_address = (ULONG_PTR)memory_copy(&call->memory, data->bytes, data->size);
    }
    call_pass(call, call->input_address);
    call_pass(call, size->given ? (ULONG)size->number : (ULONG)data->size);
}

void *call_security(CALL *call)
{
    const FIELD_VALUE *security = call_field(call, FIELD_SECURITY), *sddl = call_field(call, FIELD_SDDL);
    HMODULE advapi = GetModuleHandleW(L"advapi32.dll");
    CONVERT_SDDL convert;
    DESCRIPTOR_LENGTH length;
    void *made = NULL, *copy;

    if (security->given) {
        return memory_copy(&call->memory, security->bytes, security->size);
    }
    if (!sddl->given) {
        return NULL;
    }
    convert = (CONVERT_SDDL)(void *)GetProcAddress(advapi, "ConvertStringSecurityDescriptorToSecurityDescriptorW");
    length = (DESCRIPTOR_LENGTH)(void *)GetProcAddress(advapi, "GetSecurityDescriptorLength");
    if (convert == NULL || length == NULL ||
        !convert(memory_text(&call->memory, L"", sddl), SDDL_REVISION, &made, NULL)) {
        call->memory.failed = true;
        call->memory.failure = STATUS_INVALID_SECURITY_DESCR_;
        return NULL;
    }
    copy = memory_copy(&call->memory, made, length(made));
    LocalFree(made);
    return copy;
}

void call_pass_name(CALL *call, FIELD_ID field)
{
    NT_STRING *name = memory_string(&call->memory, NULL, call_field(call, field), call_field(call, FIELD_NAME_MAXIMUM));

    if (name != NULL) {
        call->name_address = (ULONG_PTR)name->buffer;
    }
    call_pass_pointer(call, name);
}

void call_pass_object(CALL *call)
{
    NT_STRING *name =
        memory_string(&call->memory, NULL, call_field(call, FIELD_NAME), call_field(call, FIELD_NAME_MAXIMUM));

    if (name != NULL) {
        call->name_address = (ULONG_PTR)name->buffer;
    }
    call_pass_pointer(call, memory_attributes(&call->memory, call_handle(call, FIELD_ROOT), name,
                                              call_number(call, FIELD_ATTRIBUTES), call_security(call)));
}

NT_ATTRIBUTES *call_file(CALL *call, FIELD_ID field)
{
    NT_STRING *path = memory_string(&call->memory, L"\\??\\", call_field(call, field), NULL);

    return memory_attributes(&call->memory, NULL, path, OBJ_CASE_INSENSITIVE_, NULL);
}
