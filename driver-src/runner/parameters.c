#include "parameters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "protocol.h"

#define SERVICES L"SYSTEM\\CurrentControlSet\\Services\\"

static HKEY create_key(const wchar_t *service, const wchar_t *below, REPLY *reply)
{
    size_t units = wcslen(SERVICES) + wcslen(service) + 1 + wcslen(below) + 1;
    wchar_t *path = malloc(units * sizeof(wchar_t));
    HKEY key = NULL;
    LONG error;

    if (path == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for the key's path");
        return NULL;
    }
    _snwprintf(path, units, L"%ls%ls\\%ls", SERVICES, service, below);
    error = RegCreateKeyExW(HKEY_LOCAL_MACHINE, path, 0, NULL, 0, KEY_WRITE, NULL, &key, NULL);
    free(path);
    if (error != ERROR_SUCCESS) {
        reply_fail_win32(reply, "a key of the service was not created", (DWORD)error);
        return NULL;
    }
    return key;
}

/* FALSE with the failure in `reply`. */
static BOOL write_value(HKEY key, const wchar_t *name, const CBOR_ITEM *item, REPLY *reply)
{
    wchar_t *text = NULL;
    const void *data = item->bytes;
    size_t size = item->size, units;
    DWORD type = REG_BINARY;
    LONG error;

    switch (item->type) {
    case CBOR_UNSIGNED:
        type = item->number > 0xFFFFFFFF ? REG_QWORD : REG_DWORD;
        data = &item->number;
        size = type == REG_QWORD ? 8 : 4;
        break;
    case CBOR_TEXT:
        text = wide_from_utf8((const char *)item->bytes, item->size, &units);
        if (text == NULL) {
            reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for a parameter");
            return FALSE;
        }
        type = REG_SZ;
        data = text;
        size = (units + 1) * sizeof(wchar_t);
        break;
    case CBOR_BYTES:
        break;
    default:
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "a parameter must be an unsigned integer, text or bytes");
        return FALSE;
    }
    error = RegSetValueExW(key, name, 0, type, data, (DWORD)size);
    free(text);
    if (error != ERROR_SUCCESS) {
        reply_fail_win32(reply, "a parameter was not written", (DWORD)error);
        return FALSE;
    }
    return TRUE;
}

BOOL parameters_write(const wchar_t *service, const wchar_t *below, const unsigned char *map, size_t size,
                      REPLY *reply)
{
    HKEY key = create_key(service, below, reply);
    CBOR_READER reader;
    CBOR_ITEM top, name, item;
    BOOL fine = key != NULL;
    wchar_t *wide;
    size_t units;
    uint64_t pair;

    if (!fine) {
        return FALSE;
    }
    cbor_reader_init(&reader, map, size);
    fine = cbor_read(&reader, &top);
    for (pair = 0; fine && pair < top.number; pair++) {
        fine = cbor_read(&reader, &name) && cbor_read(&reader, &item);
        if (!fine) {
            break;
        }
        wide = wide_from_utf8((const char *)name.bytes, name.size, &units);
        if (wide == NULL) {
            reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for a parameter's name");
            fine = FALSE;
        } else if (wcslen(wide) != units) {
            reply_fail(reply, REGRUN_ERROR_MALFORMED, "a parameter's name must have no NUL character");
            fine = FALSE;
        } else {
            fine = write_value(key, wide, &item, reply);
        }
        free(wide);
    }
    if (!fine) {
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "the parameters are malformed");
    }
    RegCloseKey(key);
    return fine;
}
