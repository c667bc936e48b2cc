/* What runs in the kernel: Driver Verifier, loaded drivers, file system minifilters. */
#include <stdlib.h>
#include <string.h>

#include "environment.h"
#include "native.h"

#define CLASS_MODULES 11
#define CLASS_VERIFIER 51
#define MEMORY_MANAGEMENT L"SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management"
#define MAX_DRIVERS 1024
#define MAX_FILTERS 256
#define MAX_VERIFIED 2048 /* UTF-16 units of the list of verified drivers */

/* As Microsoft's aux_klib.h and ntldr.h have it; 32-bit callers on x64 get 32-bit pointers. */
typedef struct MODULE {
    HANDLE section;
    void *mapped, *base;
    ULONG size, flags;
    USHORT load_order, init_order, load_count, name_offset;
    char path[256];
} MODULE;

typedef struct MODULES {
    ULONG count;
    MODULE module[];
} MODULES;

/* Verified drivers as a list with spaces between, "*" for all; an array of texts. */
static void reply_verified(REPLY *reply, wchar_t *list)
{
    unsigned count = 0;
    wchar_t *at, *next;
    int counting;

    for (counting = 1; counting >= 0; counting--) {
        if (!counting) {
            cbor_put_array(&reply->body, count);
        }
        for (at = list; *at != 0; at = next) {
            while (*at == L' ') {
                at++;
            }
            for (next = at; *next != 0 && *next != L' '; next++) {
            }
            if (next != at && counting) {
                count++;
            } else if (next != at) {
                cbor_put_utf16(&reply->body, at, (size_t)(next - at));
            }
        }
    }
}

/* {flags, drivers}: what is set up for this boot, or what the kernel says of itself when that is nothing. */
static void reply_verifier(REPLY *reply)
{
    wchar_t *list = calloc(MAX_VERIFIED, sizeof(wchar_t));
    unsigned outside = reply->pairs;
    ULONG size = 1;
    DWORD flags;
    NT_STATUS status;
    void *active = native_is_wine() ? NULL : native_query_system(CLASS_VERIFIER, &size, &status);

    reply_key(reply, "verifier");
    cbor_put_map(&reply->body, 2);
    if (machine_number(MEMORY_MANAGEMENT, L"VerifyDriverLevel", &flags)) {
        reply_uint(reply, "flags", flags);
    } else if (active != NULL && size == 0) {
        reply_uint(reply, "flags", 0); /* no driver is verified */
    } else {
        reply_null(reply, "flags");
    }
    reply_key(reply, "drivers");
    if (list != NULL) {
        if (!machine_text(MEMORY_MANAGEMENT, L"VerifyDrivers", list, MAX_VERIFIED)) {
            list[0] = 0;
        }
        reply_verified(reply, list);
    } else {
        cbor_put_null(&reply->body);
    }
    reply->pairs = outside + 1;
    free(active);
    free(list);
}

static void reply_module(REPLY *reply, const MODULE *module)
{
    unsigned outside = reply->pairs;
    wchar_t name[sizeof(module->path) + 1];
    size_t units = 0, at = module->name_offset < sizeof(module->path) ? module->name_offset : 0;

    for (; at < sizeof(module->path) && module->path[at] != 0; at++) {
        name[units++] = (unsigned char)module->path[at];
    }
    name[units] = 0;
    cbor_put_map(&reply->body, 3);
    reply_text(reply, "name", name);
    reply_uint(reply, "size", module->size);
    /* Withheld from accounts without the debug privilege, and cut to half for a 32-bit caller. */
    if (module->base != NULL) {
        reply_uint(reply, "base", (ULONG_PTR)module->base);
    } else {
        reply_null(reply, "base");
    }
    reply->pairs = outside;
}

static void reply_drivers(REPLY *reply)
{
    ULONG size, count, index;
    NT_STATUS status;
    /* Wine has one made-up module. */
    MODULES *modules = native_is_wine() ? NULL : native_query_system(CLASS_MODULES, &size, &status);

    if (modules == NULL || size < offsetof(MODULES, module)) {
        reply_null(reply, "drivers");
    } else {
        count = (ULONG)((size - offsetof(MODULES, module)) / sizeof(MODULE));
        count = modules->count < count ? modules->count : count;
        count = count < MAX_DRIVERS ? count : MAX_DRIVERS;
        reply_key(reply, "drivers");
        cbor_put_array(&reply->body, count);
        for (index = 0; index < count; index++) {
            reply_module(reply, &modules->module[index]);
        }
    }
    free(modules);
}

/* FILTER_FULL_INFORMATION of fltuserstructures.h. */
typedef struct FILTER_FULL {
    ULONG next, frame, instances;
    USHORT name_length; /* bytes */
    wchar_t name[1];
} FILTER_FULL;

typedef HRESULT(WINAPI *FILTER_FIND_FIRST)(int class, void *buffer, DWORD size, DWORD *got, HANDLE *find);
typedef HRESULT(WINAPI *FILTER_FIND_NEXT)(HANDLE find, int class, void *buffer, DWORD size, DWORD *got);
typedef HRESULT(WINAPI *FILTER_FIND_CLOSE)(HANDLE find);

/* One filter each call. The names go to `names` as CBOR, `count` says how many; FALSE when it can't be told. */
static BOOL list_filters(HMODULE library, CBOR_WRITER *names, unsigned *count)
{
    FILTER_FIND_FIRST first = (FILTER_FIND_FIRST)(void *)GetProcAddress(library, "FilterFindFirst");
    FILTER_FIND_NEXT next = (FILTER_FIND_NEXT)(void *)GetProcAddress(library, "FilterFindNext");
    FILTER_FIND_CLOSE close = (FILTER_FIND_CLOSE)(void *)GetProcAddress(library, "FilterFindClose");
    union {
        FILTER_FULL filter;
        unsigned char bytes[1024];
    } buffer;
    DWORD got;
    HANDLE find;
    HRESULT result;

    if (first == NULL || next == NULL || close == NULL) {
        return FALSE;
    }
    result = first(0, &buffer, sizeof(buffer), &got, &find);
    if (result == HRESULT_FROM_WIN32(ERROR_NO_MORE_ITEMS)) {
        return TRUE;
    }
    if (FAILED(result)) {
        return FALSE;
    }
    while (SUCCEEDED(result) && *count < MAX_FILTERS) {
        if (buffer.filter.name_length > sizeof(buffer) - offsetof(FILTER_FULL, name)) {
            break;
        }
        cbor_put_utf16(names, buffer.filter.name, buffer.filter.name_length / sizeof(wchar_t));
        ++*count;
        result = next(find, 0, &buffer, sizeof(buffer), &got);
    }
    close(find);
    return result == HRESULT_FROM_WIN32(ERROR_NO_MORE_ITEMS);
}

static void reply_filters(REPLY *reply)
{
    /* Wine's library raises exceptions. */
    HMODULE library = native_is_wine() ? NULL : LoadLibraryW(L"fltlib.dll");
    CBOR_WRITER names;
    unsigned count = 0;

    cbor_writer_init(&names, 0);
    if (library != NULL && list_filters(library, &names, &count)) {
        reply_key(reply, "filters");
        cbor_put_array(&reply->body, count);
        cbor_put_encoded(&reply->body, names.data, names.size);
    } else {
        reply_null(reply, "filters");
    }
    cbor_writer_free(&names);
    if (library != NULL) {
        FreeLibrary(library);
    }
}

void environment_kernel(REPLY *reply)
{
    reply_verifier(reply);
    reply_drivers(reply);
    reply_filters(reply);
}
