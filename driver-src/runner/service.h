/* The runner as a Windows service: installed, run under the service control manager, removed. */
#ifndef RUNNER_SERVICE_H
#define RUNNER_SERVICE_H

#include <windows.h>

/* An automatic service that runs this executable with --service and `arguments` ("" or " --port COM2"). */
int service_install(const wchar_t *arguments);
int service_remove(void);

/* Under the service control manager: `serve` runs until `stop` is set. */
int service_run(int (*serve)(HANDLE stop));

#endif
