#include "files.h"

#include <stdlib.h>
#include <string.h>

#include "protocol.h"
#include "sha256.h"

#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define LONG_PATH 240 /* from here on a path needs the prefix that lifts MAX_PATH; folders need 12 less */

/* `path` as CreateFile takes it whatever its length; from malloc. */
static wchar_t *openable(const wchar_t *path, REPLY *reply)
{
    static const wchar_t prefix[] = L"\\\\?\\";
    size_t length = wcslen(path);
    BOOL lengthy = length >= LONG_PATH && path[1] == L':' && path[2] == L'\\';
    size_t before = lengthy ? wcslen(prefix) : 0;
    wchar_t *copy = malloc((before + length + 1) * sizeof(wchar_t));

    if (copy == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for a path");
        return NULL;
    }
    memcpy(copy, prefix, before * sizeof(wchar_t));
    memcpy(copy + before, path, (length + 1) * sizeof(wchar_t));
    return copy;
}

/* Every folder above `path` that isn't there. What can't be made shows when the file is opened. */
static void make_folders(wchar_t *path)
{
    wchar_t *at = path;

    if (wcsncmp(path, L"\\\\?\\", 4) == 0) {
        at += 4;
    }
    if (at[0] != 0 && at[1] == L':') {
        at += 2;
    }
    while (*at == L'\\' || *at == L'/') {
        at++;
    }
    for (; *at != 0; at++) {
        if (*at == L'\\' || *at == L'/') {
            wchar_t separator = *at;

            *at = 0;
            CreateDirectoryW(path, NULL);
            *at = separator;
        }
    }
}

static HANDLE open_file(const wchar_t *given, DWORD access, DWORD disposition, REPLY *reply)
{
    wchar_t *path = openable(given, reply);
    HANDLE file;
    DWORD error;

    if (path == NULL) {
        return INVALID_HANDLE_VALUE;
    }
    file = CreateFileW(path, access, SHARE_ALL, NULL, disposition, FILE_ATTRIBUTE_NORMAL, NULL);
    error = GetLastError();
    if (file == INVALID_HANDLE_VALUE && error == ERROR_PATH_NOT_FOUND && disposition == OPEN_ALWAYS) {
        make_folders(path);
        file = CreateFileW(path, access, SHARE_ALL, NULL, disposition, FILE_ATTRIBUTE_NORMAL, NULL);
        error = GetLastError();
    }
    if (file == INVALID_HANDLE_VALUE) {
        reply_fail_win32(reply, "the file was not opened", error);
    }
    free(path);
    return file;
}

static BOOL seek(HANDLE file, uint64_t offset, REPLY *reply)
{
    LARGE_INTEGER position;

    position.QuadPart = (LONGLONG)offset;
    if (!SetFilePointerEx(file, position, NULL, FILE_BEGIN)) {
        reply_fail_win32(reply, "the file has no such offset", GetLastError());
        return FALSE;
    }
    return TRUE;
}

static void reply_file_size(HANDLE file, REPLY *reply)
{
    LARGE_INTEGER size;

    if (GetFileSizeEx(file, &size)) {
        reply_uint(reply, "size", (uint64_t)size.QuadPart);
    } else {
        reply_fail_win32(reply, "the file's size is not known", GetLastError());
    }
}

/* path, offset, data, truncate */
void file_put(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    const unsigned char *from = values[2].bytes;
    size_t left = values[2].size;
    DWORD written;
    HANDLE file = open_file(values[0].text, GENERIC_WRITE, OPEN_ALWAYS, reply);

    (void)request;
    if (file == INVALID_HANDLE_VALUE) {
        return;
    }
    if (seek(file, values[1].number, reply)) {
        for (; left != 0; left -= written, from += written) {
            written = 0;
            if (!WriteFile(file, from, (DWORD)left, &written, NULL) || written == 0) {
                reply_fail_win32(reply, "the file was not written", GetLastError());
                break;
            }
        }
        if (left == 0 && values[3].number && !SetEndOfFile(file)) {
            reply_fail_win32(reply, "the file was not cut", GetLastError());
        }
        reply_file_size(file, reply);
    }
    CloseHandle(file);
}

/* path, offset, length */
void file_get(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    DWORD length = (DWORD)values[2].number, filled = 0, got = 0;
    HANDLE file = open_file(values[0].text, GENERIC_READ, OPEN_EXISTING, reply);
    unsigned char *buffer;

    (void)request;
    if (file == INVALID_HANDLE_VALUE) {
        return;
    }
    buffer = malloc((size_t)length + 1);
    if (buffer == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for the file's bytes");
    } else if (seek(file, values[1].number, reply)) {
        do {
            if (!ReadFile(file, buffer + filled, length - filled, &got, NULL)) {
                reply_fail_win32(reply, "the file was not read", GetLastError());
                break;
            }
            filled += got;
        } while (got != 0 && filled < length);
        reply_bytes(reply, "data", buffer, filled);
        reply_file_size(file, reply);
    }
    free(buffer);
    CloseHandle(file);
}

/* path */
void file_delete(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    wchar_t *path = openable(values[0].text, reply);

    (void)request;
    if (path != NULL && !DeleteFileW(path)) {
        reply_fail_win32(reply, "the file was not deleted", GetLastError());
    }
    free(path);
}

/* path */
void file_digest(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    enum { BUFFER_SIZE = 0x10000 };
    HANDLE file = open_file(values[0].text, GENERIC_READ, OPEN_EXISTING, reply);
    unsigned char digest[32], *buffer;
    SHA256 sha;
    DWORD got = 0;

    (void)request;
    if (file == INVALID_HANDLE_VALUE) {
        return;
    }
    buffer = malloc(BUFFER_SIZE);
    if (buffer == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory to read the file");
    } else {
        sha256_init(&sha);
        do {
            if (!ReadFile(file, buffer, BUFFER_SIZE, &got, NULL)) {
                reply_fail_win32(reply, "the file was not read", GetLastError());
                break;
            }
            sha256_update(&sha, buffer, got);
        } while (got != 0);
        /* The size of what was digested, whatever the file has become since. */
        reply_uint(reply, "size", sha.length);
        sha256_final(&sha, digest);
        reply_bytes(reply, "sha256", digest, sizeof(digest));
    }
    free(buffer);
    CloseHandle(file);
}
