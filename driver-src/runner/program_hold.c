#include "program_hold.h"

#include <stdlib.h>

static CRITICAL_SECTION lock; /* everything below */
static HANDLE moved;          /* auto-reset: `before` was changed. NULL: nobody could let a program go on */
static uint32_t before = HOLD_NOWHERE;
static uint32_t *statuses; /* of `operation` operations; NULL when there was no memory for them */
static unsigned operation;
static BOOL runs, held;

void hold_init(void)
{
    if (moved == NULL) {
        InitializeCriticalSection(&lock);
        moved = CreateEventW(NULL, FALSE, FALSE, NULL);
    }
}

void hold_begin(unsigned operations)
{
    if (moved != NULL) {
        EnterCriticalSection(&lock);
        statuses = calloc(operations + 1, sizeof(*statuses));
        operation = 0;
        runs = TRUE;
        LeaveCriticalSection(&lock);
    }
}

void hold_before(unsigned index)
{
    BOOL waits = moved != NULL;

    while (waits) {
        EnterCriticalSection(&lock);
        operation = index;
        held = waits = before == index;
        LeaveCriticalSection(&lock);
        if (waits) {
            WaitForSingleObject(moved, INFINITE);
        }
    }
}

void hold_after(unsigned index, uint32_t status)
{
    if (moved != NULL) {
        EnterCriticalSection(&lock);
        if (statuses != NULL) {
            statuses[index] = status;
        }
        operation = index + 1;
        LeaveCriticalSection(&lock);
    }
}

void hold_end(void)
{
    if (moved != NULL) {
        EnterCriticalSection(&lock);
        free(statuses);
        statuses = NULL;
        operation = 0;
        runs = held = FALSE;
        before = HOLD_NOWHERE;
        LeaveCriticalSection(&lock);
    }
}

void hold_set(uint32_t index)
{
    if (moved != NULL) {
        EnterCriticalSection(&lock);
        before = index;
        SetEvent(moved);
        LeaveCriticalSection(&lock);
    }
}

void hold_tell(REPLY *reply, BOOL with_statuses)
{
    EnterCriticalSection(&lock);
    reply_bool(reply, "running", runs);
    reply_bool(reply, "held", held && before == operation);
    reply_uint(reply, "operation", operation);
    with_statuses = with_statuses && statuses != NULL;
    reply_bytes(reply, "statuses", statuses, with_statuses ? operation * sizeof(*statuses) : 0);
    LeaveCriticalSection(&lock);
}
