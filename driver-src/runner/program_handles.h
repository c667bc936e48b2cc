/* The handle slots of a program, and what in them is still to be given back at its end: handles and memory. */
#ifndef RUNNER_PROGRAM_HANDLES_H
#define RUNNER_PROGRAM_HANDLES_H

#include <windows.h>

#include "program_decode.h"
#include "program_result.h"

typedef struct OPEN_HANDLE {
    unsigned slot, role;
    BOOL memory; /* an address, not a handle */
    uint64_t value;
} OPEN_HANDLE;

typedef struct OWNER {
    unsigned char role, memory;
} OWNER;

typedef struct HANDLES {
    uint64_t *slots; /* raw values */
    OWNER *owners;   /* by slot, of what it was filled with last */
    unsigned count;
    OPEN_HANDLE *open;
    size_t open_count, open_capacity;
} HANDLES;

/* FALSE: no memory. To be freed in any case. */
BOOL handles_init(HANDLES *handles, unsigned count);
void handles_free(HANDLES *handles);

/* What an operation of process `role` gave out or gave back. FALSE: no memory to remember it. */
BOOL handles_after(HANDLES *handles, const OPERATION *operation, unsigned role, const RESULT *result);

/* The process is gone, and what it had with it: its slots hold what is invalid in any process. */
void handles_forget_process(HANDLES *handles, unsigned role);

/* In slot order; where a slot was filled again, what it held first goes first. */
void handles_close(HANDLES *handles);

#endif
