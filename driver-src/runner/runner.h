/* What the runner's parts share: where they start, and who it says it is. */
#ifndef RUNNER_RUNNER_H
#define RUNNER_RUNNER_H

#include <windows.h>

#define RUNNER_SERVICE_NAME L"regrun"

/* Exit codes of the process */
#define RUNNER_EXIT_OK 0
#define RUNNER_EXIT_FAILED 1
#define RUNNER_EXIT_USAGE 2

int runner_main(int argc, wchar_t **argv);

/* A line for people, on stderr. `text` may use the runtime's printf formats. */
void say(const char *text, ...);

#endif
