/*
 * Where a program's operations run: on a thread of the runner, or in a helper process. Each is a lane, which has one
 * operation at a time; one in the background leaves the program free to go on in other lanes.
 */
#ifndef RUNNER_PROGRAM_LANE_H
#define RUNNER_PROGRAM_LANE_H

#include <windows.h>

#include "program_decode.h"
#include "program_result.h"

#define PROGRAM_LANES (PROGRAM_MAX_THREADS + PROGRAM_MAX_PROCESSES)

typedef struct LANE {
    OPERATION operation;
    unsigned index;   /* of the operation in its program */
    unsigned number;  /* of the lane */
    uint64_t *slots;  /* as they were when it began */
    unsigned slot_count;
    DWORD target_id;  /* the process a handle is duplicated into; 0: none */
    RESULT result;
    BOOL busy, begun; /* begun: on a thread of its own */
    BOOL gone;        /* the helper process ended on the way */
} LANE;

/* The lane of process `role` and `thread`: helpers have one for all of their threads. */
unsigned lane_of(unsigned role, unsigned thread);

/* Carry out lane->operation, or begin to in the background. FALSE: no thread for it; GetLastError says why.
 * Either way lane_end follows; `slots` are copied only where it needs them longer. */
BOOL lane_begin(LANE *lane, const uint64_t *slots, unsigned slot_count, BOOL background);

/* Wait for its end. The result is there then, for the caller to free. FALSE: its thread ended on the way. */
BOOL lane_end(LANE *lane);

#endif
