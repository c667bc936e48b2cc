#include "process_pipe.h"

#include <stdlib.h>
#include <string.h>

#include "program_table.h"

#define CHUNK 0x10000

BOOL pipe_write(HANDLE pipe, const void *data, size_t size)
{
    const unsigned char *from = data;
    DWORD written;

    while (size != 0) {
        if (!WriteFile(pipe, from, size < CHUNK ? (DWORD)size : CHUNK, &written, NULL)) {
            return FALSE;
        }
        from += written;
        size -= written;
    }
    return TRUE;
}

BOOL pipe_read(HANDLE pipe, void *data, size_t size)
{
    unsigned char *to = data;
    DWORD got;

    while (size != 0) {
        if (!ReadFile(pipe, to, size < CHUNK ? (DWORD)size : CHUNK, &got, NULL) || got == 0) {
            return FALSE;
        }
        to += got;
        size -= got;
    }
    return TRUE;
}

BOOL pipe_write_result(HANDLE pipe, const RESULT *result)
{
    return pipe_write(pipe, result, sizeof(*result)) && pipe_write(pipe, result->buffer, result->buffer_size) &&
           pipe_write(pipe, result->entries, result->entry_count * sizeof(RESULT_ENTRY));
}

BOOL pipe_read_result(HANDLE pipe, RESULT *result)
{
    if (!pipe_read(pipe, result, sizeof(*result))) {
        memset(result, 0, sizeof(*result));
        return FALSE;
    }
    result->buffer = NULL;
    result->entries = NULL;
    if (result->buffer_size <= PROGRAM_MAX_BUFFER && result->entry_count <= PROGRAM_MAX_NAMES) {
        result->buffer = malloc(result->buffer_size + 1);
        result->entries = malloc((result->entry_count + 1) * sizeof(RESULT_ENTRY));
        if (result->buffer != NULL && result->entries != NULL &&
            pipe_read(pipe, result->buffer, result->buffer_size) &&
            pipe_read(pipe, result->entries, result->entry_count * sizeof(RESULT_ENTRY))) {
            return TRUE;
        }
    }
    result_free(result);
    return FALSE;
}
