/*
 * Further processes of a program: helper copies of this image that execute operations sent over a pipe. One is
 * started when a program first names it and stays until the runner or an operation ends it. A helper ends by itself
 * when its pipe does, so that none outlives the runner.
 */
#ifndef RUNNER_PROCESS_H
#define RUNNER_PROCESS_H

#include <windows.h>

#include "program_decode.h"
#include "program_result.h"

/* What `regrun --helper ...` runs. Returns the exit code. */
int process_helper_main(int argc, wchar_t **argv);

/* Process id of a role from 1 on, started when there is none. 0: GetLastError says why not. */
DWORD process_ensure(unsigned role);

/* Execute an operation there. `target`: id of the process a handle is duplicated into, 0 for none.
 * FALSE: the helper is gone; the role gets a new one on next use. */
BOOL process_execute(unsigned role, const OPERATION *operation, const uint64_t *slots, unsigned slot_count,
                     DWORD target, RESULT *result);

/* Close a handle there, on thread 0, or free memory. */
BOOL process_give_back(unsigned role, uint64_t value, BOOL memory);

/*
 * NtTerminateProcess from outside. `end` of the result is when the process is gone, its handles closed.
 * `busy`: a thread waits in process_execute. Then that thread learns of the end, and the result is the call's alone:
 * what stands in the kernel keeps the process there.
 */
void process_terminate(unsigned role, const OPERATION *operation, BOOL busy, RESULT *result);

#endif
