#include "environment.h"

#include "native.h"

#ifndef KEY_WOW64_64KEY
#define KEY_WOW64_64KEY 0x0100
#endif

static LONG machine_value(const wchar_t *path, const wchar_t *name, DWORD *type, void *data, DWORD *size)
{
    HKEY key;
    LONG error = RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, KEY_QUERY_VALUE | KEY_WOW64_64KEY, &key);

    if (error == ERROR_SUCCESS) {
        error = RegQueryValueExW(key, name, NULL, type, data, size);
        RegCloseKey(key);
    }
    return error;
}

BOOL machine_number(const wchar_t *key, const wchar_t *name, DWORD *number)
{
    DWORD type, size = sizeof(*number);

    return machine_value(key, name, &type, number, &size) == ERROR_SUCCESS && type == REG_DWORD &&
           size == sizeof(*number);
}

BOOL machine_text(const wchar_t *key, const wchar_t *name, wchar_t *text, DWORD units)
{
    DWORD type, size = (units - 1) * sizeof(wchar_t);

    if (machine_value(key, name, &type, text, &size) != ERROR_SUCCESS || type != REG_SZ) {
        return FALSE;
    }
    text[size / sizeof(wchar_t)] = 0; /* the registry keeps no promise of a NUL */
    return TRUE;
}

void environment(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    (void)request;
    (void)values;
    environment_system(reply);
    environment_security(reply);
    environment_kernel(reply);
    environment_calls(reply);
}
