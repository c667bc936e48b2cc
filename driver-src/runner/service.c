#include "service.h"

#include <stdlib.h>
#include <string.h>

#include "runner.h"

#define RESTART_MS 1000

static SERVICE_STATUS_HANDLE reporter;
static SERVICE_STATUS status;
static HANDLE stop_event;
static int (*serve_until)(HANDLE stop);
static int exit_code;

static int complain(const char *what)
{
    say("%s: error %lu", what, GetLastError());
    return RUNNER_EXIT_FAILED;
}

/* "C:\path\regrun.exe" --service <arguments>, from malloc. */
static wchar_t *command_line(const wchar_t *arguments)
{
    static const wchar_t serve[] = L"\" --service";
    wchar_t *path = malloc(0x8000 * sizeof(wchar_t)), *line = NULL;
    DWORD length = path == NULL ? 0 : GetModuleFileNameW(NULL, path, 0x8000);

    if (length != 0 && length < 0x8000) {
        line = malloc((1 + length + wcslen(serve) + wcslen(arguments) + 1) * sizeof(wchar_t));
    }
    if (line != NULL) {
        line[0] = L'"';
        memcpy(line + 1, path, length * sizeof(wchar_t));
        memcpy(line + 1 + length, serve, sizeof(serve));
        memcpy(line + 1 + length + wcslen(serve), arguments, (wcslen(arguments) + 1) * sizeof(wchar_t));
    }
    free(path);
    return line;
}

int service_install(const wchar_t *arguments)
{
    SC_ACTION restart[3] = {{SC_ACTION_RESTART, RESTART_MS}, {SC_ACTION_RESTART, RESTART_MS}, {SC_ACTION_RESTART, RESTART_MS}};
    SERVICE_FAILURE_ACTIONSW actions = {24 * 60 * 60, NULL, NULL, 3, restart};
    SC_HANDLE manager, service;
    wchar_t *line = command_line(arguments);
    int code = RUNNER_EXIT_OK;

    if (line == NULL) {
        return complain("no memory for the service's command line");
    }
    manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CREATE_SERVICE);
    if (manager == NULL) {
        free(line);
        return complain("the service control manager refuses (an administrator is needed)");
    }
    service = CreateServiceW(manager, RUNNER_SERVICE_NAME, L"Registry filter harness: runner", SERVICE_ALL_ACCESS,
                             SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL, line, NULL, NULL, NULL,
                             NULL, NULL);
    free(line);
    if (service == NULL) {
        code = complain("the service was not created");
    } else {
        /* A system without restarts has no less of a service. */
        ChangeServiceConfig2W(service, SERVICE_CONFIG_FAILURE_ACTIONS, &actions);
        if (!StartServiceW(service, 0, NULL)) {
            code = complain("the service was created, it starts with the system; it did not start now");
        }
        CloseServiceHandle(service);
    }
    CloseServiceHandle(manager);
    return code;
}

int service_remove(void)
{
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT), service;
    SERVICE_STATUS ignored;
    int code = RUNNER_EXIT_OK;

    if (manager == NULL) {
        return complain("the service control manager refuses");
    }
    service = OpenServiceW(manager, RUNNER_SERVICE_NAME, SERVICE_STOP | DELETE);
    if (service == NULL) {
        code = complain("the service was not opened");
    } else {
        ControlService(service, SERVICE_CONTROL_STOP, &ignored);
        if (!DeleteService(service)) {
            code = complain("the service was not deleted");
        }
        CloseServiceHandle(service);
    }
    CloseServiceHandle(manager);
    return code;
}

static void report(DWORD state)
{
    status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    status.dwCurrentState = state;
    status.dwControlsAccepted = state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN : 0;
    status.dwWin32ExitCode = exit_code == RUNNER_EXIT_OK ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
    status.dwServiceSpecificExitCode = (DWORD)exit_code;
    status.dwWaitHint = state == SERVICE_STOP_PENDING ? 10000 : 0;
    SetServiceStatus(reporter, &status);
}

static void WINAPI control(DWORD code)
{
    if (code == SERVICE_CONTROL_STOP || code == SERVICE_CONTROL_SHUTDOWN) {
        report(SERVICE_STOP_PENDING);
        SetEvent(stop_event);
    } else {
        report(status.dwCurrentState);
    }
}

static void WINAPI service_main(DWORD argc, wchar_t **argv)
{
    (void)argc;
    (void)argv;
    reporter = RegisterServiceCtrlHandlerW(RUNNER_SERVICE_NAME, control);
    if (reporter == NULL) {
        return;
    }
    /* Running as soon as it waits for its port: nothing at boot is held up by a port that comes late. */
    report(SERVICE_RUNNING);
    exit_code = serve_until(stop_event);
    report(SERVICE_STOPPED);
}

int service_run(int (*serve)(HANDLE stop))
{
    static wchar_t name[] = RUNNER_SERVICE_NAME;
    SERVICE_TABLE_ENTRYW table[] = {{name, service_main}, {NULL, NULL}};

    serve_until = serve;
    stop_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (stop_event == NULL || !StartServiceCtrlDispatcherW(table)) {
        return complain("--service is for the service control manager; by hand, leave it out");
    }
    return exit_code;
}
