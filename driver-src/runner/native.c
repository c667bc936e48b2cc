#include "native.h"

#include <stdlib.h>

#define MAX_SYSTEM_QUERY 0x400000

static NATIVE calls;
static volatile LONG looked_up;

static FARPROC find(const char *name)
{
    return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), name);
}

#define FIND(member, name) calls.member = (__typeof__(calls.member))(void *)find(name)

const NATIVE *native(void)
{
    /* Two threads may do this at once: both write the same values. */
    if (!looked_up) {
        FIND(load_driver, "NtLoadDriver");
        FIND(unload_driver, "NtUnloadDriver");
        FIND(create_file, "NtCreateFile");
        FIND(device_control, "NtDeviceIoControlFile");
        FIND(read_file, "NtReadFile");
        FIND(write_file, "NtWriteFile");
        FIND(close, "NtClose");
        FIND(query_system, "NtQuerySystemInformation");
        FIND(query_open_keys, "NtQueryOpenSubKeysEx");
        FIND(query_firmware, "NtQuerySystemEnvironmentValueEx");
        FIND(set_system_time, "NtSetSystemTime");
        FIND(raise_hard_error, "NtRaiseHardError");
        FIND(set_process, "NtSetInformationProcess");
        FIND(adjust_privilege, "RtlAdjustPrivilege");
        FIND(get_version, "RtlGetVersion");
        FIND(wine_version, "wine_get_version");
        looked_up = 1;
    }
    return &calls;
}

BOOL native_has(const char *name)
{
    return find(name) != NULL;
}

BOOL native_is_wine(void)
{
    return native()->wine_version != NULL;
}

BOOL native_is_wow64(void)
{
    SYSTEM_INFO info;

    GetNativeSystemInfo(&info);
    return sizeof(void *) == 4 && info.wProcessorArchitecture != PROCESSOR_ARCHITECTURE_INTEL;
}

NT_STATUS native_enable(ULONG privilege)
{
    BOOLEAN before;

    return native()->adjust_privilege == NULL ? STATUS_NOT_IMPLEMENTED_
                                              : native()->adjust_privilege(privilege, TRUE, FALSE, &before);
}

void *native_query_system(ULONG class, ULONG *size, NT_STATUS *status)
{
    ULONG capacity = 0x10000, needed;
    void *data, *larger;

    *status = STATUS_NOT_IMPLEMENTED_;
    data = malloc(capacity);
    while (data != NULL && native()->query_system != NULL) {
        needed = 0;
        *status = native()->query_system(class, data, capacity, &needed);
        if (NT_IS_SUCCESS(*status)) {
            *size = needed < capacity ? needed : capacity;
            return data;
        }
        if (*status != STATUS_LENGTH_MISMATCH_ || capacity >= MAX_SYSTEM_QUERY) {
            break;
        }
        capacity *= 2;
        larger = realloc(data, capacity);
        if (larger == NULL) {
            break;
        }
        data = larger;
    }
    free(data);
    return NULL;
}

void native_string(NT_STRING *string, const wchar_t *text)
{
    string->length = (USHORT)(wcslen(text) * sizeof(wchar_t));
    string->maximum = string->length;
    string->buffer = text;
}
