/*
 * Which native registry calls this system has, and which of those only pretend.
 *
 * Wine reports success from some routines that do nothing. They are found by asking for the impossible: a call
 * on a handle that is none fails everywhere but in a stub. Only Wine is asked; nothing else is known to do so.
 */
#include <string.h>

#include "environment.h"
#include "native.h"

static const char *const routines[] = {
    "NtCommitTransaction",     "NtCompactKeys",         "NtCompressKey",
    "NtCreateKeyTransacted",   "NtCreateTransaction",   "NtFreezeRegistry",
    "NtLoadKey2",              "NtLoadKey3",            "NtLoadKeyEx",
    "NtLockRegistryKey",       "NtNotifyChangeKey",     "NtNotifyChangeMultipleKeys",
    "NtOpenKeyEx",             "NtOpenKeyTransacted",   "NtOpenKeyTransactedEx",
    "NtQueryMultipleValueKey", "NtQueryOpenSubKeysEx",  "NtQuerySecurityObject",
    "NtRenameKey",             "NtReplaceKey",          "NtRestoreKey",
    "NtRollbackTransaction",   "NtSaveKey",             "NtSaveKeyEx",
    "NtSaveMergedKeys",        "NtSetInformationKey",   "NtSetSecurityObject",
    "NtThawRegistry",          "NtUnloadKey2",          "NtUnloadKeyEx",
};

static FARPROC find(const char *name)
{
    return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), name);
}

static BOOL rename_pretends(FARPROC routine)
{
    NT_STRING name;

    native_string(&name, L"x");
    return NT_IS_SUCCESS(((NT_STATUS(NTAPI *)(HANDLE, NT_STRING *))(void *)routine)(NULL, &name));
}

static BOOL set_information_pretends(FARPROC routine)
{
    LARGE_INTEGER written = {{0, 0}};

    return NT_IS_SUCCESS(
        ((NT_STATUS(NTAPI *)(HANDLE, ULONG, void *, ULONG))(void *)routine)(NULL, 0, &written, sizeof(written)));
}

static BOOL query_multiple_pretends(FARPROC routine)
{
    ULONG entry[4] = {0}, size = 0, needed = 0;
    unsigned char buffer[8];

    return NT_IS_SUCCESS(((NT_STATUS(NTAPI *)(HANDLE, void *, ULONG, void *, ULONG *, ULONG *))(void *)routine)(
        NULL, entry, 0, buffer, &size, &needed));
}

static BOOL restore_pretends(FARPROC routine)
{
    return NT_IS_SUCCESS(((NT_STATUS(NTAPI *)(HANDLE, HANDLE, ULONG))(void *)routine)(NULL, NULL, 0));
}

static BOOL replace_pretends(FARPROC routine)
{
    NT_ATTRIBUTES attributes = {sizeof(attributes), NULL, NULL, 0, NULL, NULL};
    NT_STRING name;

    native_string(&name, L"\\??\\C:\\no such folder\\x");
    attributes.name = &name;
    return NT_IS_SUCCESS(((NT_STATUS(NTAPI *)(NT_ATTRIBUTES *, HANDLE, NT_ATTRIBUTES *))(void *)routine)(
        &attributes, NULL, &attributes));
}

static BOOL app_key_pretends(FARPROC routine)
{
    HKEY key;

    return ((LONG(WINAPI *)(const wchar_t *, HKEY *, REGSAM, DWORD, DWORD))(void *)routine)(
               L"C:\\no such folder\\x", &key, KEY_READ, 0, 0) == ERROR_SUCCESS;
}

static const struct {
    const wchar_t *library;
    const char *name;
    BOOL (*pretends)(FARPROC routine);
} suspects[] = {
    {L"ntdll.dll", "NtQueryMultipleValueKey", query_multiple_pretends},
    {L"ntdll.dll", "NtRenameKey", rename_pretends},
    {L"ntdll.dll", "NtReplaceKey", replace_pretends},
    {L"ntdll.dll", "NtRestoreKey", restore_pretends},
    {L"ntdll.dll", "NtSetInformationKey", set_information_pretends},
    {L"advapi32.dll", "RegLoadAppKeyW", app_key_pretends},
};

void environment_calls(REPLY *reply)
{
    const size_t count = sizeof(routines) / sizeof(routines[0]), asked = sizeof(suspects) / sizeof(suspects[0]);
    BOOL pretends[sizeof(suspects) / sizeof(suspects[0])];
    unsigned found = 0;
    FARPROC routine;
    size_t index;

    for (index = 0; index < count; index++) {
        found += find(routines[index]) != NULL;
    }
    reply_key(reply, "calls");
    cbor_put_array(&reply->body, found);
    for (index = 0; index < count; index++) {
        if (find(routines[index]) != NULL) {
            cbor_put_text(&reply->body, routines[index]);
        }
    }
    found = 0;
    for (index = 0; index < asked; index++) {
        routine = native_is_wine() ? GetProcAddress(GetModuleHandleW(suspects[index].library), suspects[index].name)
                                   : NULL;
        pretends[index] = routine != NULL && suspects[index].pretends(routine);
        found += pretends[index] != FALSE;
    }
    reply_key(reply, "pretends");
    cbor_put_array(&reply->body, found);
    for (index = 0; index < asked; index++) {
        if (pretends[index]) {
            cbor_put_text(&reply->body, suspects[index].name);
        }
    }
}
