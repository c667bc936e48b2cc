/* Keys: create, open, delete, rename, notify; and every call that takes nothing but a handle. */
#include "program_call.h"

#define REG_OPTION_BACKUP_RESTORE_ 4
#define ACCESS_SYSTEM_SECURITY_ 0x01000000

/* Completions may come when the program is over: one status block after the other is used, none is freed. */
#define NOTIFICATIONS 4096

static bool is_transacted(const CALL *call)
{
    return call_field(call, FIELD_TRANSACTION)->given;
}

/* What regcreatekeyexa says REG_OPTION_BACKUP_RESTORE attempts, and what reading a SACL takes. */
static ULONG privileges_to_open(const CALL *call)
{
    ULONG privileges = 0;

    if (call_field(call, FIELD_OPTIONS)->given && call_number(call, FIELD_OPTIONS) & REG_OPTION_BACKUP_RESTORE_) {
        privileges |= WITH_BACKUP_AND_RESTORE;
    }
    if (call_number(call, FIELD_ACCESS) & ACCESS_SYSTEM_SECURITY_) {
        privileges |= WITH_PRIVILEGE(PRIVILEGE_SECURITY);
    }
    return privileges;
}

void prepare_create_key(CALL *call)
{
    call->routine = is_transacted(call) ? "NtCreateKeyTransacted" : "NtCreateKey";
    call->privileges = privileges_to_open(call);
    call_pass_new_handle(call);
    call_pass(call, call_number(call, FIELD_ACCESS));
    call_pass_object(call);
    call_pass(call, call_number(call, FIELD_TITLE_INDEX));
    call_pass_pointer(call, call_field(call, FIELD_CLASS_NAME)->given
                                ? memory_string(&call->memory, NULL, call_field(call, FIELD_CLASS_NAME), NULL)
                                : NULL);
    call_pass(call, call_number(call, FIELD_OPTIONS)); /* absent: 0 */
    if (is_transacted(call)) {
        call_pass_handle(call, FIELD_TRANSACTION);
    }
    call_pass_disposition(call);
}

void prepare_open_key(CALL *call)
{
    bool options = call_field(call, FIELD_OPTIONS)->given;

    call->privileges = privileges_to_open(call);
    call_pass_new_handle(call);
    call_pass(call, call_number(call, FIELD_ACCESS));
    call_pass_object(call);
    if (options) {
        call_pass(call, call_number(call, FIELD_OPTIONS));
    }
    if (is_transacted(call)) {
        call->routine = options ? "NtOpenKeyTransactedEx" : "NtOpenKeyTransacted";
        call_pass_handle(call, FIELD_TRANSACTION);
    } else {
        call->routine = options ? "NtOpenKeyEx" : "NtOpenKey";
    }
}

void prepare_handle_only(CALL *call)
{
    switch (call->operation->opcode) {
    case OP_CLOSE:
        call->routine = "NtClose";
        break;
    case OP_DELETE_KEY:
        call->routine = "NtDeleteKey";
        break;
    default:
        call->routine = "NtFlushKey";
        break;
    }
    call_pass_handle(call, FIELD_HANDLE);
}

void prepare_rename_key(CALL *call)
{
    call->routine = "NtRenameKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_name(call, FIELD_NEW_NAME);
}

void prepare_set_information_key(CALL *call)
{
    call->routine = "NtSetInformationKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_INFO_CLASS));
    call_pass_input(call);
}

/* NtNotifyChangeKey(key, event, no APC, status block, filter, this key alone, no buffer, asynchronous) */
void prepare_notify_change_key(CALL *call)
{
    static NT_IO_STATUS blocks[NOTIFICATIONS];
    static LONG used;
    ULONG index = (ULONG)InterlockedIncrement(&used) % NOTIFICATIONS;

    call->routine = "NtNotifyChangeKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_handle(call, FIELD_EVENT);
    call_pass(call, 0);
    call_pass(call, 0);
    call_pass_pointer(call, &blocks[index]);
    call_pass(call, call_number(call, FIELD_FLAGS));
    call_pass(call, FALSE);
    call_pass(call, 0);
    call_pass(call, 0);
    call_pass(call, TRUE);
}
