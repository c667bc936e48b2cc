/* A thread that asks with less than its process. */
#ifndef RUNNER_PROGRAM_IMPERSONATE_H
#define RUNNER_PROGRAM_IMPERSONATE_H

#include <windows.h>

/* The process' token without its privileges, administrators for denying only, to impersonate with. NULL: GetLastError
 * says why there is none. */
HANDLE impersonation_token(void);

/* The thread that is here asks as its process again. Has the shape of a thread's work. */
void impersonation_end(void *unused);

#endif
