/* Further processes of a program: helper copies of this image that execute operations sent over a pipe. */
#ifndef RUNNER_PROCESS_H
#define RUNNER_PROCESS_H

#include <windows.h>

/* What `regrun --helper ...` runs: serve operations until the pipe ends. Returns the exit code. */
int process_helper_main(int argc, wchar_t **argv);

#endif
