#include "program_lane.h"

#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "program_execute.h"
#include "program_thread.h"

static unsigned role_of(const LANE *lane)
{
    return (unsigned)lane->operation.fields[FIELD_PROCESS].number;
}

unsigned lane_of(unsigned role, unsigned thread)
{
    return role == 0 ? thread : PROGRAM_MAX_THREADS + role;
}

static void execute_here(LANE *lane)
{
    HANDLE target = NULL;

    if (lane->target_id != 0) {
        target = lane->target_id == GetCurrentProcessId() ? GetCurrentProcess()
                                                          : OpenProcess(PROCESS_DUP_HANDLE, FALSE, lane->target_id);
    }
    operation_execute(&lane->operation, lane->slots, target, &lane->result);
    if (target != NULL && target != GetCurrentProcess()) {
        CloseHandle(target);
    }
}

static void carry_out(void *argument)
{
    LANE *lane = argument;

    if (role_of(lane) == 0) {
        execute_here(lane);
    } else {
        lane->gone = !process_execute(role_of(lane), &lane->operation, lane->slots, lane->slot_count, lane->target_id,
                                      &lane->result);
    }
}

BOOL lane_begin(LANE *lane, const uint64_t *slots, unsigned slot_count, BOOL background)
{
    size_t size = slot_count * sizeof(*slots);

    memset(&lane->result, 0, sizeof(lane->result));
    lane->gone = FALSE;
    lane->slot_count = slot_count;
    lane->busy = TRUE;
    lane->begun = background;
    if (background) {
        lane->slots = malloc(size + 1);
        if (lane->slots == NULL) {
            lane->busy = FALSE;
            SetLastError(ERROR_NOT_ENOUGH_MEMORY);
            return FALSE;
        }
        memcpy(lane->slots, slots, size);
        lane->busy = thread_begin(lane->number, carry_out, lane);
        if (!lane->busy) {
            free(lane->slots);
        }
        return lane->busy;
    }
    lane->slots = (uint64_t *)slots;
    if (role_of(lane) != 0) {
        carry_out(lane);
        return TRUE;
    }
    lane->busy = thread_do(lane->number, carry_out, lane);
    return lane->busy;
}

BOOL lane_end(LANE *lane)
{
    BOOL ended = !lane->begun || thread_end(lane->number);

    if (lane->begun) {
        free(lane->slots);
    }
    lane->slots = NULL;
    lane->busy = FALSE;
    return ended;
}
