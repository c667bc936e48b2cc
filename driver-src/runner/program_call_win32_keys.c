/* Win32 calls on keys and hives. */
#include "program_call.h"

void call_win32(CALL *call, const char *routine)
{
    call->module = L"advapi32.dll";
    call->routine = routine;
    call->win32 = true;
}

/* HKEY_xxx are 32 bits with the sign extended. */
void call_pass_base(CALL *call)
{
    if (call_field(call, FIELD_PREDEFINED)->given) {
        call_pass(call, (ULONG_PTR)(LONG_PTR)(LONG)call_number(call, FIELD_PREDEFINED));
    } else {
        call_pass_handle(call, FIELD_ROOT);
    }
}

void call_pass_text(CALL *call, FIELD_ID field)
{
    call_pass_pointer(call, memory_text(&call->memory, NULL, call_field(call, field)));
}

static void pass_attributes(CALL *call)
{
    void *descriptor = call_security(call);
    SECURITY_ATTRIBUTES *attributes = NULL;

    if (descriptor != NULL) {
        attributes = memory_take(&call->memory, sizeof(*attributes), 0);
        if (attributes != NULL) {
            attributes->nLength = sizeof(*attributes);
            attributes->lpSecurityDescriptor = descriptor;
        }
    }
    call_pass_pointer(call, attributes);
}

/* The arguments by which a transacted call differs from the other one. */
static void pass_transaction(CALL *call)
{
    if (call_field(call, FIELD_TRANSACTION)->given) {
        call_pass_handle(call, FIELD_TRANSACTION);
        call_pass(call, 0);
    }
}

void prepare_win32_create_key(CALL *call)
{
    call_win32(call, call_field(call, FIELD_TRANSACTION)->given ? "RegCreateKeyTransactedW" : "RegCreateKeyExW");
    call_pass_base(call);
    call_pass_text(call, FIELD_NAME);
    call_pass(call, 0);
    call_pass_text(call, FIELD_CLASS_NAME);
    call_pass(call, call_number(call, FIELD_OPTIONS));
    call_pass(call, call_number(call, FIELD_ACCESS));
    pass_attributes(call);
    call_pass_new_handle(call);
    call_pass_disposition(call);
    pass_transaction(call);
}

void prepare_win32_open_key(CALL *call)
{
    call_win32(call, call_field(call, FIELD_TRANSACTION)->given ? "RegOpenKeyTransactedW" : "RegOpenKeyExW");
    call_pass_base(call);
    call_pass_text(call, FIELD_NAME);
    call_pass(call, call_number(call, FIELD_OPTIONS));
    call_pass(call, call_number(call, FIELD_ACCESS));
    call_pass_new_handle(call);
    pass_transaction(call);
}

void prepare_win32_handle_only(CALL *call)
{
    call_win32(call, call->operation->opcode == OP_WIN32_CLOSE_KEY ? "RegCloseKey" : "RegFlushKey");
    call_pass_handle(call, FIELD_HANDLE);
}

void prepare_win32_delete_key(CALL *call)
{
    bool transacted = call_field(call, FIELD_TRANSACTION)->given;
    ULONG access = call_number(call, FIELD_ACCESS);

    call_win32(call, transacted ? "RegDeleteKeyTransactedW" : access != 0 ? "RegDeleteKeyExW" : "RegDeleteKeyW");
    call_pass_base(call);
    call_pass_text(call, FIELD_NAME);
    if (transacted || access != 0) {
        call_pass(call, access);
        call_pass(call, 0);
    }
    pass_transaction(call);
}

void prepare_win32_rename_key(CALL *call)
{
    call_win32(call, "RegRenameKey");
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_NAME);
    call_pass_text(call, FIELD_NEW_NAME);
}

void prepare_win32_load_app_key(CALL *call)
{
    call_win32(call, "RegLoadAppKeyW");
    call_make_folders(call, FIELD_FILE);
    call_pass_text(call, FIELD_FILE);
    call_pass_new_handle(call);
    call_pass(call, call_number(call, FIELD_ACCESS));
    call_pass(call, call_number(call, FIELD_OPTIONS));
    call_pass(call, 0);
}

void prepare_win32_load_key(CALL *call)
{
    call_win32(call, "RegLoadKeyW");
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call_make_folders(call, FIELD_FILE);
    call_pass_base(call);
    call_pass_text(call, FIELD_NAME);
    call_pass_text(call, FIELD_FILE);
}

void prepare_win32_unload_key(CALL *call)
{
    call_win32(call, "RegUnLoadKeyW");
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call_pass_base(call);
    call_pass_text(call, FIELD_NAME);
}

void prepare_win32_save_key(CALL *call)
{
    bool format = call_field(call, FIELD_FORMAT)->given;

    call_win32(call, format ? "RegSaveKeyExW" : "RegSaveKeyW");
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call_make_folders(call, FIELD_FILE);
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_FILE);
    call_pass(call, 0);
    if (format) {
        call_pass(call, call_number(call, FIELD_FORMAT));
    }
}

void prepare_win32_restore_key(CALL *call)
{
    call_win32(call, "RegRestoreKeyW");
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_text(call, FIELD_FILE);
    call_pass(call, call_number(call, FIELD_FLAGS));
}
