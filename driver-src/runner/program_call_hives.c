/* Hives: load, unload, save, restore, replace; and deleting their files. */
#include "program_call.h"

#include <string.h>

#define OBJ_CASE_INSENSITIVE_ 0x40
#define REG_APP_HIVE_ 0x10
#define REG_PROCESS_PRIVATE_ 0x20
#define REG_PROCESS_APPKEY_ 1 /* of RegLoadAppKey */
#define FILE_OPEN_ 1
#define FILE_CREATE_ 2
#define FILE_SYNCHRONOUS_IO_NONALERT_ 0x20
#define STATUS_PROCEDURE_NOT_FOUND_ ((NT_STATUS)0xC000007A)
#define STATUS_NO_MEMORY_ ((NT_STATUS)0xC0000017)
#define APP_ROOT L"\\REGISTRY\\A\\"
#define GUID_UNITS 38

typedef BOOLEAN(WINAPI *RANDOM)(void *, ULONG);

void call_make_folders(CALL *call, FIELD_ID field)
{
    wchar_t *path = memory_text(&call->memory, L"", call_field(call, field)), *at;

    for (at = path; at != NULL && (at = wcschr(at, L'\\')) != NULL; at++) {
        *at = 0;
        if (at - path > 2) { /* no folder: C: */
            CreateDirectoryW(path, NULL);
        }
        *at = L'\\';
    }
}

/* OBJECT_ATTRIBUTES of a file that the call may make. */
static NT_ATTRIBUTES *new_file(CALL *call, FIELD_ID field)
{
    call_make_folders(call, field);
    return call_file(call, field);
}

/* NtLoadKeyEx took four arguments up to 5.2, eight from 6.0 on. A system without RtlGetVersion is 5.0. */
static bool loads_with_eight(void)
{
    OSVERSIONINFOEXW version;

    memset(&version, 0, sizeof(version));
    version.dwOSVersionInfoSize = sizeof(version);
    return native()->get_version != NULL && native()->get_version(&version) >= 0 && version.dwMajorVersion >= 6;
}

static void pass_load_tail(CALL *call, ULONG flags, bool wants_handle)
{
    bool eight = loads_with_eight();

    call->routine = "NtLoadKeyEx";
    call_pass(call, flags);
    call_pass_handle(call, FIELD_TRUST);
    if (!eight) {
        if (wants_handle || call_field(call, FIELD_EVENT)->given) {
            call_end(call, STATUS_PROCEDURE_NOT_FOUND_); /* there is one of this name, but it can't do that */
        }
        return;
    }
    call_pass_handle(call, FIELD_EVENT);
    call_pass(call, call_number(call, FIELD_ACCESS));
    if (wants_handle) {
        call_pass_new_handle(call);
    } else {
        call_pass(call, 0);
    }
    call_pass(call, 0);
}

/* CM_EXTENDED_PARAMETER (phnt) */
typedef struct LOAD_ENTRY {
    ULONG64 type;
    ULONG64 value;
} LOAD_ENTRY;

#define LOAD_TRUST_CLASS_KEY 1
#define LOAD_EVENT 2

/* NtLoadKey3(target, file, flags, entries, their number, access, root handle, reserved) */
static void pass_entries(CALL *call)
{
    LOAD_ENTRY *entries = memory_take(&call->memory, 2 * sizeof(*entries), 0);
    const struct {
        FIELD_ID field;
        ULONG64 type;
    } given[] = {{FIELD_TRUST, LOAD_TRUST_CLASS_KEY}, {FIELD_EVENT, LOAD_EVENT}};
    ULONG count = 0;
    size_t index;

    for (index = 0; entries != NULL && index < 2; index++) {
        if (call_field(call, given[index].field)->given) {
            entries[count].type = given[index].type;
            entries[count].value = (ULONG_PTR)call_handle(call, given[index].field);
            count++;
        }
    }
    call->routine = "NtLoadKey3";
    call_pass(call, call_number(call, FIELD_FLAGS));
    call_pass_pointer(call, count != 0 ? entries : NULL);
    call_pass(call, count);
    call_pass(call, call_number(call, FIELD_ACCESS));
    if (call_field(call, FIELD_OUT)->given) {
        call_pass_new_handle(call);
    } else {
        call_pass(call, 0);
    }
    call_pass(call, 0);
}

void prepare_load_key(CALL *call)
{
    ULONG form = call_number(call, FIELD_FORM);

    call->privileges = WITH_BACKUP_AND_RESTORE;
    call_pass_object(call);
    call_pass_pointer(call, new_file(call, FIELD_FILE));
    if (form == 1) {
        call->routine = "NtLoadKey";
    } else if (form == 2) {
        call->routine = "NtLoadKey2";
        call_pass(call, call_number(call, FIELD_FLAGS));
    } else if (form == 3) {
        pass_load_tail(call, call_number(call, FIELD_FLAGS), call_field(call, FIELD_OUT)->given);
    } else {
        pass_entries(call);
    }
}

/* A new GUID in braces, version 4. */
static void random_guid(wchar_t *to)
{
    static const wchar_t digits[] = L"0123456789abcdef";
    RANDOM generate = (RANDOM)(void *)GetProcAddress(GetModuleHandleW(L"advapi32.dll"), "SystemFunction036");
    unsigned char bytes[16];
    LARGE_INTEGER now;
    unsigned index, at = 0;

    if (generate == NULL || !generate(bytes, sizeof(bytes))) {
        QueryPerformanceCounter(&now);
        memcpy(bytes, &now, 8);
        GetSystemTimeAsFileTime((FILETIME *)(void *)(bytes + 8));
    }
    bytes[6] = (bytes[6] & 0x0F) | 0x40;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    to[at++] = L'{';
    for (index = 0; index < sizeof(bytes); index++) {
        if (index == 4 || index == 6 || index == 8 || index == 10) {
            to[at++] = L'-';
        }
        to[at++] = digits[bytes[index] >> 4];
        to[at++] = digits[bytes[index] & 15];
    }
    to[at++] = L'}';
    to[at] = 0;
}

void prepare_load_app_key(CALL *call)
{
    wchar_t generated[sizeof(APP_ROOT) / sizeof(wchar_t) + GUID_UNITS] = APP_ROOT;
    ULONG flags = REG_APP_HIVE_;
    FIELD_VALUE none;
    NT_STRING *name;

    memset(&none, 0, sizeof(none));
    if (call_field(call, FIELD_NAME)->given && call_field(call, FIELD_NAME)->size != 0) {
        name = memory_string(&call->memory, APP_ROOT, call_field(call, FIELD_NAME), NULL);
    } else {
        random_guid(generated + sizeof(APP_ROOT) / sizeof(wchar_t) - 1);
        name = memory_string(&call->memory, generated, &none, NULL);
    }
    if (name != NULL) {
        call->name_address = (ULONG_PTR)name->buffer;
    }
    if (call_number(call, FIELD_OPTIONS) & REG_PROCESS_APPKEY_) {
        flags |= REG_PROCESS_PRIVATE_;
    }
    call_pass_pointer(call, memory_attributes(&call->memory, NULL, name, OBJ_CASE_INSENSITIVE_, NULL));
    call_pass_pointer(call, new_file(call, FIELD_FILE));
    pass_load_tail(call, flags, true);
}

void prepare_unload_key(CALL *call)
{
    ULONG form = call_number(call, FIELD_FORM);

    call->privileges = WITH_BACKUP_AND_RESTORE;
    call_pass_object(call);
    if (form == 2) {
        call->routine = "NtUnloadKey2";
        call_pass(call, call_number(call, FIELD_FLAGS));
    } else if (form == 3) {
        call->routine = "NtUnloadKeyEx";
        call_pass_handle(call, FIELD_EVENT);
    } else {
        call->routine = "NtUnloadKey";
    }
}

/* Open `file` for the time of the call. false: the operation has ended with the reason. */
static bool open_file(CALL *call, ULONG access, ULONG disposition)
{
    NT_ATTRIBUTES *attributes = (disposition == FILE_CREATE_ ? new_file : call_file)(call, FIELD_FILE);
    NT_IO_STATUS io = {{0}, 0};
    NT_STATUS status;

    if (attributes == NULL || native()->create_file == NULL) {
        call_end(call, attributes == NULL ? STATUS_NO_MEMORY_ : STATUS_PROCEDURE_NOT_FOUND_);
        return false;
    }
    status = native()->create_file(&call->close_after, access | SYNCHRONIZE, attributes, &io, NULL,
                                   FILE_ATTRIBUTE_NORMAL, 0, disposition, FILE_SYNCHRONOUS_IO_NONALERT_, NULL, 0);
    if (!NT_IS_SUCCESS(status)) {
        call->close_after = NULL;
        call_end(call, status);
        return false;
    }
    return true;
}

void prepare_save_key(CALL *call)
{
    if (!open_file(call, GENERIC_WRITE, FILE_CREATE_)) {
        return;
    }
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_pointer(call, call->close_after);
    if (call_field(call, FIELD_FORMAT)->given) {
        call->routine = "NtSaveKeyEx";
        call_pass(call, call_number(call, FIELD_FORMAT));
    } else {
        call->routine = "NtSaveKey";
    }
}

void prepare_save_merged(CALL *call)
{
    if (!open_file(call, GENERIC_WRITE, FILE_CREATE_)) {
        return;
    }
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call->routine = "NtSaveMergedKeys";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_handle(call, FIELD_LOW_HANDLE);
    call_pass_pointer(call, call->close_after);
}

void prepare_restore_key(CALL *call)
{
    if (!open_file(call, GENERIC_READ, FILE_OPEN_)) {
        return;
    }
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call->routine = "NtRestoreKey";
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_pointer(call, call->close_after);
    call_pass(call, call_number(call, FIELD_FLAGS));
}

void prepare_replace_key(CALL *call)
{
    call->privileges = WITH_BACKUP_AND_RESTORE;
    call->routine = "NtReplaceKey";
    call_pass_pointer(call, call_file(call, FIELD_FILE));
    call_pass_handle(call, FIELD_HANDLE);
    call_pass_pointer(call, new_file(call, FIELD_OLD_FILE));
}

void prepare_delete_file(CALL *call)
{
    call->routine = "NtDeleteFile";
    call_pass_pointer(call, call_file(call, FIELD_FILE));
}
