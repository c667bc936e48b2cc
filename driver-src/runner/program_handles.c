#include "program_handles.h"

#include <stdlib.h>

#include "process.h"
#include "program_execute.h"
#include "program_thread.h"

/*
 * The next process gets the same numbers again, for its own pipes first. A process has at most 2^24 handles, numbered
 * in steps of 4, and no memory in its first 64 KiB.
 */
#define NO_HANDLE 0x3FFFFFFCu
#define NO_MEMORY 0x1000u

BOOL handles_init(HANDLES *handles, unsigned count)
{
    handles->slots = calloc(count + 1, sizeof(*handles->slots));
    handles->owners = calloc(count + 1, sizeof(*handles->owners));
    handles->count = count;
    handles->open = NULL;
    handles->open_count = handles->open_capacity = 0;
    return handles->slots != NULL && handles->owners != NULL;
}

void handles_free(HANDLES *handles)
{
    free(handles->open);
    free(handles->owners);
    free(handles->slots);
}

static BOOL remember(HANDLES *handles, const OPEN_HANDLE *opened)
{
    OPEN_HANDLE *grown;

    handles->slots[opened->slot] = opened->value;
    handles->owners[opened->slot].role = (unsigned char)opened->role;
    handles->owners[opened->slot].memory = (unsigned char)opened->memory;
    if (handles->open_count == handles->open_capacity) {
        handles->open_capacity = handles->open_capacity == 0 ? 64 : 2 * handles->open_capacity;
        grown = realloc(handles->open, handles->open_capacity * sizeof(*grown));
        if (grown == NULL) {
            return FALSE;
        }
        handles->open = grown;
    }
    handles->open[handles->open_count++] = *opened;
    return TRUE;
}

static void forget(HANDLES *handles, unsigned role, BOOL memory, uint64_t value)
{
    size_t from, to = 0;

    for (from = 0; from < handles->open_count; from++) {
        const OPEN_HANDLE *open = &handles->open[from];

        if (open->role != role || open->memory != memory || open->value != value) {
            handles->open[to++] = *open;
        }
    }
    handles->open_count = to;
}

void handles_forget_process(HANDLES *handles, unsigned role)
{
    size_t from, to = 0;
    unsigned slot;

    for (slot = 0; slot < handles->count; slot++) {
        if (handles->slots[slot] != 0 && handles->owners[slot].role == role) {
            handles->slots[slot] = handles->owners[slot].memory ? NO_MEMORY : NO_HANDLE;
        }
    }
    for (from = 0; from < handles->open_count; from++) {
        if (handles->open[from].role != role) {
            handles->open[to++] = handles->open[from];
        }
    }
    handles->open_count = to;
}

BOOL handles_after(HANDLES *handles, const OPERATION *operation, unsigned role, const RESULT *result)
{
    const FIELD_VALUE *out = &operation->fields[FIELD_OUT], *handle = &operation->fields[FIELD_HANDLE];
    OPEN_HANDLE opened = {(unsigned)out->number, role, operation->opcode == OP_ALLOCATE_MEMORY, result->handle};

    if (result->handle != 0 && out->given) {
        if (operation->opcode == OP_DUPLICATE_HANDLE) {
            opened.role = (unsigned)operation->fields[FIELD_TARGET_PROCESS].number;
        }
        return remember(handles, &opened);
    }
    if ((int32_t)result->status < 0) {
        return TRUE;
    }
    if (operation->opcode == OP_CLOSE || operation->opcode == OP_WIN32_CLOSE_KEY) {
        forget(handles, role, FALSE, handles->slots[handle->number]);
    } else if (operation->opcode == OP_FREE_MEMORY) {
        forget(handles, role, TRUE, handles->slots[handle->number]);
    }
    return TRUE;
}

static void give_back_here(void *argument)
{
    const OPEN_HANDLE *open = argument;

    if (open->memory) {
        VirtualFree((void *)(ULONG_PTR)open->value, 0, MEM_RELEASE);
    } else {
        handle_close(open->value);
    }
}

void handles_close(HANDLES *handles)
{
    unsigned slot;
    size_t index;

    for (slot = 0; slot < handles->count && handles->open_count != 0; slot++) {
        for (index = 0; index < handles->open_count; index++) {
            OPEN_HANDLE *open = &handles->open[index];

            if (open->slot != slot) {
                continue;
            }
            if (open->role == 0) {
                thread_do(0, give_back_here, open);
            } else {
                process_give_back(open->role, open->value, open->memory);
            }
        }
    }
    handles->open_count = 0;
}
