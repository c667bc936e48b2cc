/* One operation as a native call: arguments, and where the call leaves what it gives. */
#ifndef RUNNER_PROGRAM_CALL_H
#define RUNNER_PROGRAM_CALL_H

#include "program_memory.h"
#include "program_result.h"

#define CALL_MAX_ARGUMENTS 12

/* KEY_VALUE_ENTRY */
typedef struct VALUE_ENTRY {
    NT_STRING *name;
    ULONG data_length, data_offset, type;
} VALUE_ENTRY;

/* Privileges enabled for the time of the call, as bits of their numbers */
#define PRIVILEGE_SECURITY 8
#define PRIVILEGE_BACKUP 17
#define PRIVILEGE_RESTORE 18
#define WITH_PRIVILEGE(number) (1u << (number))
#define WITH_BACKUP_AND_RESTORE (WITH_PRIVILEGE(PRIVILEGE_BACKUP) | WITH_PRIVILEGE(PRIVILEGE_RESTORE))

typedef struct CALL {
    const OPERATION *operation;
    const uint64_t *slots; /* raw handle values */
    HANDLE target;         /* the process that receives a duplicate; NULL: none could be opened */
    MEMORY memory;

    const char *routine; /* of `module`; NULL: the runner ends the operation itself, with `status` */
    const wchar_t *module;
    bool win32; /* the call returns a Win32 error */
    NT_STATUS status;
    unsigned count;
    ULONG_PTR arguments[CALL_MAX_ARGUMENTS];
    ULONG privileges;

    /* Outputs: NULL where the call has none */
    HANDLE *handle;
    ULONG *result_length, *buffer_length, *disposition; /* PROGRAM_UNWRITTEN: not written */
    VALUE_ENTRY *entries;
    unsigned entry_count;
    NT_IO_STATUS *io; /* a device request: the output is what Information counts */
    size_t output_size;
    bool foreign_output; /* at an address of the program's: read with care */

    /* Passed to the call, and reported */
    ULONG_PTR input_address, output_address, name_address;

    HANDLE close_after; /* opened for this call */

    /* Win32 calls: numbers the call gives back, and who makes a buffer of the result from them */
    ULONG *numbers;
    wchar_t *characters;
    void (*compose)(const struct CALL *call, RESULT *result);
} CALL;

/* Get everything ready. What can't be done ends in a status without a routine. */
void call_prepare(CALL *call);

/* Each opcode's part; used by call_prepare. */
typedef void PREPARE(CALL *call);
PREPARE prepare_create_key, prepare_open_key, prepare_handle_only, prepare_rename_key, prepare_notify_change_key,
    prepare_set_information_key;
PREPARE prepare_set_value, prepare_delete_value, prepare_query_value, prepare_enumerate, prepare_query_key,
    prepare_query_multiple;
PREPARE prepare_load_key, prepare_load_app_key, prepare_unload_key, prepare_save_key, prepare_save_merged,
    prepare_restore_key, prepare_replace_key, prepare_delete_file;
PREPARE prepare_query_security, prepare_set_security, prepare_query_object, prepare_duplicate_handle,
    prepare_device_control, prepare_create_transaction, prepare_end_transaction, prepare_create_event, prepare_nothing;
PREPARE prepare_allocate_memory, prepare_write_memory, prepare_free_memory;
PREPARE prepare_set_event, prepare_wait, prepare_create_registry_transaction, prepare_end_registry_transaction,
    prepare_impersonate;

PREPARE prepare_win32_create_key, prepare_win32_open_key, prepare_win32_handle_only, prepare_win32_delete_key,
    prepare_win32_load_app_key, prepare_win32_load_key, prepare_win32_unload_key, prepare_win32_save_key,
    prepare_win32_restore_key, prepare_win32_rename_key;
PREPARE prepare_win32_delete_tree, prepare_win32_copy_tree, prepare_win32_get_security, prepare_win32_set_security,
    prepare_win32_query_multiple, prepare_win32_notify_change_key, prepare_win32_replace_key;
PREPARE prepare_win32_set_value, prepare_win32_delete_value, prepare_win32_query_value, prepare_win32_get_value,
    prepare_win32_enumerate_key, prepare_win32_enumerate_value, prepare_win32_query_key;

/* -- what the preparations share ---------------------------------------------------------------------------- */

static inline const FIELD_VALUE *call_field(const CALL *call, FIELD_ID field)
{
    return &call->operation->fields[field];
}

static inline ULONG call_number(const CALL *call, FIELD_ID field)
{
    return (ULONG)call_field(call, field)->number;
}

/* The raw handle of a field's slot; NULL for an absent field. */
HANDLE call_handle(const CALL *call, FIELD_ID field);

/* Append an argument. */
void call_pass(CALL *call, ULONG_PTR argument);
void call_pass_pointer(CALL *call, const void *pointer);
void call_pass_handle(CALL *call, FIELD_ID field);

/* End without a call. */
void call_end(CALL *call, NT_STATUS status);

/* Outputs to append and read back. */
void call_pass_new_handle(CALL *call);
void call_pass_disposition(CALL *call);
void call_pass_result_length(CALL *call);
/* `length` bytes of PROGRAM_FILL_BYTE, NULL for 0, or `address`; then the length itself. */
void call_take_output(CALL *call);
void call_pass_output(CALL *call);
/* `data` or `address`, then the size. */
void call_pass_input(CALL *call);

/* OBJECT_ATTRIBUTES of root, name, attributes, security. */
void call_pass_object(CALL *call);
/* A UNICODE_STRING of this field, its address reported. */
void call_pass_name(CALL *call, FIELD_ID field);
/* OBJECT_ATTRIBUTES of the file that a field names. */
NT_ATTRIBUTES *call_file(CALL *call, FIELD_ID field);
/* Every folder above the file that isn't there: programs name files, and a reference guest's need no folders. What
 * can't be made shows in the call. */
void call_make_folders(CALL *call, FIELD_ID field);
/* `security`, or `sddl` converted; NULL for neither. */
void *call_security(CALL *call);

/* -- what those of Win32 calls share ------------------------------------------------------------------------ */

void call_win32(CALL *call, const char *routine);
/* `predefined`, `root` or NULL. */
void call_pass_base(CALL *call);
/* The characters of a field; NULL for an absent one. */
void call_pass_text(CALL *call, FIELD_ID field);

#endif
