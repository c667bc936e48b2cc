#include "program_memory.h"

#include <stdlib.h>
#include <string.h>

#define STATUS_NO_MEMORY_ ((NT_STATUS)0xC0000017)
#define STATUS_NAME_TOO_LONG_ ((NT_STATUS)0xC0000106)

typedef struct MEMORY_BLOCK {
    struct MEMORY_BLOCK *next;
    ULONG_PTR padding; /* keeps what follows on an allocation's alignment */
    unsigned char data[];
} MEMORY_BLOCK;

static void *fail(MEMORY *memory, NT_STATUS failure)
{
    if (!memory->failed) {
        memory->failed = true;
        memory->failure = failure;
    }
    return NULL;
}

void memory_free(MEMORY *memory)
{
    MEMORY_BLOCK *block;

    while ((block = memory->blocks) != NULL) {
        memory->blocks = block->next;
        free(block);
    }
    memset(memory, 0, sizeof(*memory));
}

void *memory_take(MEMORY *memory, size_t size, unsigned char fill)
{
    MEMORY_BLOCK *block = memory->failed ? NULL : malloc(sizeof(*block) + (size != 0 ? size : 1));

    if (block == NULL) {
        return fail(memory, STATUS_NO_MEMORY_);
    }
    block->next = memory->blocks;
    memory->blocks = block;
    memset(block->data, fill, size);
    return block->data;
}

void *memory_copy(MEMORY *memory, const void *data, size_t size)
{
    void *copy = memory_take(memory, size, 0);

    if (copy != NULL && size != 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

wchar_t *memory_text(MEMORY *memory, const wchar_t *prefix, const FIELD_VALUE *text)
{
    size_t before = prefix == NULL ? 0 : wcslen(prefix), units = text->given ? text_units(text) : 0;
    wchar_t *characters;

    if (!text->given && prefix == NULL) {
        return NULL;
    }
    characters = memory_take(memory, (before + units + 1) * sizeof(wchar_t), 0);
    if (characters != NULL) {
        memcpy(characters, prefix, before * sizeof(wchar_t));
        if (text->given) {
            text_copy(characters + before, text);
        }
    }
    return characters;
}

NT_STRING *memory_string(MEMORY *memory, const wchar_t *prefix, const FIELD_VALUE *text, const FIELD_VALUE *maximum)
{
    size_t units = (prefix == NULL ? 0 : wcslen(prefix)) + (text->given ? text_units(text) : 0);
    NT_STRING *string;

    if (units > PROGRAM_MAX_TEXT) {
        return fail(memory, STATUS_NAME_TOO_LONG_);
    }
    string = memory_take(memory, sizeof(*string), 0);
    if (string != NULL) {
        string->length = (USHORT)(units * sizeof(wchar_t));
        string->maximum = maximum != NULL && maximum->given ? (USHORT)maximum->number : string->length;
        string->buffer = memory_text(memory, prefix, text);
    }
    return string;
}

NT_ATTRIBUTES *memory_attributes(MEMORY *memory, HANDLE root, NT_STRING *name, ULONG attributes, void *security)
{
    NT_ATTRIBUTES *object = memory_take(memory, sizeof(*object), 0);

    if (object != NULL) {
        object->length = sizeof(*object);
        object->root = root;
        object->name = name;
        object->attributes = attributes;
        object->security = security;
    }
    return object;
}
