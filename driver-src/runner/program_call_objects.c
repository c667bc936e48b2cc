/* Any handle: security, names, duplicates; events, transactions, devices. */
#include "program_call.h"

#include <string.h>

#define OBJ_CASE_INSENSITIVE_ 0x40
#define FILE_OPEN_ 1
#define FILE_SYNCHRONOUS_IO_NONALERT_ 0x20
#define OBJECT_BASIC_INFORMATION_ 0
#define OBJECT_NAME_INFORMATION_ 1
#define EVENT_ALL_ACCESS_ 0x1F0003
#define NOTIFICATION_EVENT_ 0
#define TRANSACTION_ALL_ACCESS_ 0x1F003F
#define DUPLICATE_SAME_ATTRIBUTES_ 4
#define STATUS_INVALID_HANDLE_ ((NT_STATUS)0xC0000008)
#define STATUS_PROCEDURE_NOT_FOUND_ ((NT_STATUS)0xC000007A)
#define STATUS_NO_MEMORY_ ((NT_STATUS)0xC0000017)

void prepare_nothing(CALL *call)
{
    call_end(call, 0);
}

void prepare_query_security(CALL *call)
{
    call->routine = "NtQuerySecurityObject";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_SECURITY_INFORMATION));
    call_pass_output(call);
    call_pass_result_length(call);
}

void prepare_set_security(CALL *call)
{
    call->routine = "NtSetSecurityObject";
    call->input_address = (ULONG_PTR)call_security(call);
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, call_number(call, FIELD_SECURITY_INFORMATION));
    call_pass(call, call->input_address);
}

void prepare_query_object(CALL *call)
{
    bool name = call->operation->opcode == OP_QUERY_OBJECT_NAME;

    call->routine = "NtQueryObject";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, name ? OBJECT_NAME_INFORMATION_ : OBJECT_BASIC_INFORMATION_);
    call_pass_output(call);
    call_pass_result_length(call);
}

void prepare_duplicate_handle(CALL *call)
{
    ULONG access = call_number(call, FIELD_ACCESS);

    if (call->target == NULL) {
        call_end(call, STATUS_INVALID_HANDLE_);
        return;
    }
    call->routine = "NtDuplicateObject";
    call_pass_pointer(call, GetCurrentProcess());
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_pointer(call, call->target);
    call_pass_new_handle(call);
    call_pass(call, access);
    call_pass(call, 0);
    call_pass(call, DUPLICATE_SAME_ATTRIBUTES_ | (access == 0 ? DUPLICATE_SAME_ACCESS : 0));
}

void prepare_create_event(CALL *call)
{
    call->routine = "NtCreateEvent";
    call_pass_new_handle(call);
    call_pass(call, EVENT_ALL_ACCESS_);
    call_pass(call, 0);
    call_pass(call, NOTIFICATION_EVENT_);
    call_pass(call, FALSE);
}

/* NtCreateTransaction(handle, access, no attributes, no UOW, no manager, options, isolation level and flags, ...) */
void prepare_create_transaction(CALL *call)
{
    unsigned index;

    call->routine = "NtCreateTransaction";
    call_pass_new_handle(call);
    call_pass(call, TRANSACTION_ALL_ACCESS_);
    for (index = 0; index < 8; index++) {
        call_pass(call, 0);
    }
}

void prepare_end_transaction(CALL *call)
{
    call->routine = call->operation->opcode == OP_COMMIT ? "NtCommitTransaction" : "NtRollbackTransaction";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, TRUE);
}

void prepare_set_event(CALL *call)
{
    call->routine = "NtSetEvent";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, 0);
}

void prepare_wait(CALL *call)
{
    LARGE_INTEGER *timeout = NULL;

    if (call_field(call, FIELD_MILLISECONDS)->given) {
        timeout = memory_take(&call->memory, sizeof(*timeout), 0);
        if (timeout != NULL) {
            timeout->QuadPart = -10000 * (LONGLONG)call_field(call, FIELD_MILLISECONDS)->number;
        }
    }
    call->routine = "NtWaitForSingleObject";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, FALSE);
    call_pass_pointer(call, timeout);
}

/* NtCreateRegistryTransaction(handle, access, no attributes, no options) */
void prepare_create_registry_transaction(CALL *call)
{
    call->routine = "NtCreateRegistryTransaction";
    call_pass_new_handle(call);
    call_pass(call, TRANSACTION_ALL_ACCESS_);
    call_pass(call, 0);
    call_pass(call, 0);
}

void prepare_end_registry_transaction(CALL *call)
{
    bool commits = call->operation->opcode == OP_COMMIT_REGISTRY_TRANSACTION;

    call->routine = commits ? "NtCommitRegistryTransaction" : "NtRollbackRegistryTransaction";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass(call, 0);
}

/* -- devices ----------------------------------------------------------------------------------------------- */

/* \\.\Name and \\?\Name are \??\Name to the kernel, so is a bare name; what begins with one \ is native already. */
static NT_STRING *device_path(CALL *call)
{
    wchar_t *text = memory_text(&call->memory, L"", call_field(call, FIELD_DEVICE));
    bool dos;
    FIELD_VALUE rest;

    if (text == NULL) {
        return NULL;
    }
    memset(&rest, 0, sizeof(rest));
    dos = wcsncmp(text, L"\\\\.\\", 4) == 0 || wcsncmp(text, L"\\\\?\\", 4) == 0;
    rest.given = rest.wide = true;
    rest.bytes = (const unsigned char *)(dos ? text + 4 : text);
    rest.size = (text_units(call_field(call, FIELD_DEVICE)) - (dos ? 4 : 0)) * sizeof(wchar_t);
    return memory_string(&call->memory, !dos && text[0] == L'\\' ? L"" : L"\\??\\", &rest, NULL);
}

static bool open_device(CALL *call)
{
    NT_STRING *path = device_path(call);
    NT_ATTRIBUTES *attributes = memory_attributes(&call->memory, NULL, path, OBJ_CASE_INSENSITIVE_, NULL);
    NT_IO_STATUS io = {{0}, 0};
    NT_STATUS status;

    if (attributes == NULL || native()->create_file == NULL) {
        call_end(call, attributes == NULL ? STATUS_NO_MEMORY_ : STATUS_PROCEDURE_NOT_FOUND_);
        return false;
    }
    status = native()->create_file(&call->close_after, GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE, attributes, &io,
                                   NULL, 0, FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN_,
                                   FILE_SYNCHRONOUS_IO_NONALERT_, NULL, 0);
    if (!NT_IS_SUCCESS(status)) {
        call->close_after = NULL;
        call_end(call, status);
    }
    return NT_IS_SUCCESS(status);
}

/* The data with the handles that `patches` names in their places. */
static void take_request(CALL *call)
{
    const FIELD_VALUE *data = call_field(call, FIELD_DATA), *patches = call_field(call, FIELD_PATCHES);
    unsigned char *copy = NULL;
    CBOR_READER reader;
    uint32_t offset;
    uint64_t left;
    unsigned slot;

    if (data->given && data->size != 0) {
        copy = memory_copy(&call->memory, data->bytes, data->size);
    }
    array_begin(&reader, patches);
    for (left = copy != NULL ? patches->number : 0; left != 0; left--) {
        array_next_patch(&reader, &offset, &slot);
        memcpy(copy + offset, &call->slots[slot], sizeof(uint64_t));
    }
    call_pass_pointer(call, copy);
    call_pass(call, copy != NULL ? data->size : 0);
}

/* NtDeviceIoControlFile(device, no event, no APC, status block, code, input, output) */
void prepare_device_control(CALL *call)
{
    call->io = memory_take(&call->memory, sizeof(*call->io), 0);
    if (call->io == NULL || !open_device(call)) {
        return;
    }
    call->routine = "NtDeviceIoControlFile";
    call_pass_pointer(call, call->close_after);
    call_pass(call, 0);
    call_pass(call, 0);
    call_pass(call, 0);
    call_pass_pointer(call, call->io);
    call_pass(call, call_number(call, FIELD_CODE));
    take_request(call);
    call_take_output(call);
    call_pass(call, call->output_address);
    call_pass(call, call->output_size);
}
