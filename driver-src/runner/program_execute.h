/* Making the call of one operation, on the thread that is here, and taking its result. */
#ifndef RUNNER_PROGRAM_EXECUTE_H
#define RUNNER_PROGRAM_EXECUTE_H

#include <windows.h>

#include "program_decode.h"
#include "program_result.h"

uint64_t counter_now(void);

/* `slots`: raw handle values. `target`: the process a handle is duplicated into; NULL: it could not be opened.
 * The result is to be freed in any case. */
void operation_execute(const OPERATION *operation, const uint64_t *slots, HANDLE target, RESULT *result);

/* Close a handle of this process. */
void handle_close(uint64_t handle);

#endif
