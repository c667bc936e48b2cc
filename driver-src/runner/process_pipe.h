/* What the runner and its helpers say to each other. Both ends are the same image: structures as they are. */
#ifndef RUNNER_PROCESS_PIPE_H
#define RUNNER_PROCESS_PIPE_H

#include <windows.h>

#include "program_result.h"

typedef enum HELPER_KIND {
    HELPER_EXECUTE = 1, /* an operation; slots and encoded operation follow */
    HELPER_CLOSE,       /* `handle`, on thread 0 */
    HELPER_FREE,        /* the memory at `handle` */
    HELPER_IDENTIFY     /* nothing; the result tells the thread's id */
} HELPER_KIND;

typedef struct HELPER_REQUEST {
    uint32_t kind, thread, slot_count, encoded_size, target, reserved;
    uint64_t handle;
} HELPER_REQUEST;

/* FALSE: the other end is gone. */
BOOL pipe_write(HANDLE pipe, const void *data, size_t size);
BOOL pipe_read(HANDLE pipe, void *data, size_t size);

/* A result with what belongs to it. */
BOOL pipe_write_result(HANDLE pipe, const RESULT *result);
BOOL pipe_read_result(HANDLE pipe, RESULT *result);

#endif
