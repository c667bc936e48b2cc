/* Memory of one operation: what its native call reads and writes. Freed as a whole when its result is taken. */
#ifndef RUNNER_PROGRAM_MEMORY_H
#define RUNNER_PROGRAM_MEMORY_H

#include "native.h"
#include "program_decode.h"

typedef struct MEMORY {
    struct MEMORY_BLOCK *blocks;
    bool failed; /* something could not be had, or a text is too long: the call can't be made */
    NT_STATUS failure;
} MEMORY;

void memory_free(MEMORY *memory);

/* All of these give NULL once the memory has failed. A copy of no bytes has an address too. */
void *memory_take(MEMORY *memory, size_t size, unsigned char fill);
void *memory_copy(MEMORY *memory, const void *data, size_t size);

/* UNICODE_STRING of `prefix` and `text` (absent and without a prefix: a NULL buffer). Behind it lies a NUL that
 * no length counts. `maximum`: MaximumLength in bytes, or absent. */
NT_STRING *memory_string(MEMORY *memory, const wchar_t *prefix, const FIELD_VALUE *text, const FIELD_VALUE *maximum);

/* The characters alone, with a NUL behind; NULL for an absent text. */
wchar_t *memory_text(MEMORY *memory, const wchar_t *prefix, const FIELD_VALUE *text);

NT_ATTRIBUTES *memory_attributes(MEMORY *memory, HANDLE root, NT_STRING *name, ULONG attributes, void *security);

#endif
