/*
 * A driver is started with NtLoadDriver, which returns what DriverEntry returned; the service control manager
 * turns that into a Win32 error and loses it. Where the routine isn't implemented (Wine), the manager does it.
 */
#include "drivers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "parameters.h"
#include "protocol.h"

#define SERVICES L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\"
#define PENDING_MS 120000
#define PENDING_POLL_MS 20
#define DELETED_MS 30000

static SC_HANDLE open_manager(DWORD access, REPLY *reply)
{
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, access);

    if (manager == NULL) {
        reply_fail_win32(reply, "the service control manager refuses", GetLastError());
    }
    return manager;
}

/* Both handles; FALSE with the failure in `reply`. */
static BOOL open_service(const wchar_t *name, DWORD access, SC_HANDLE *manager, SC_HANDLE *service, REPLY *reply)
{
    *manager = open_manager(SC_MANAGER_CONNECT, reply);
    if (*manager == NULL) {
        return FALSE;
    }
    *service = OpenServiceW(*manager, name, access);
    if (*service == NULL) {
        reply_fail_win32(reply, "the service was not opened", GetLastError());
        CloseServiceHandle(*manager);
        return FALSE;
    }
    return TRUE;
}

static void close_service(SC_HANDLE manager, SC_HANDLE service)
{
    CloseServiceHandle(service);
    CloseServiceHandle(manager);
}

/* The name becomes part of a registry path. */
static BOOL check_name(const wchar_t *name, REPLY *reply)
{
    if (name[0] == 0 || wcschr(name, L'\\') != NULL || wcschr(name, L'/') != NULL) {
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "a service's name is not empty and has no slash");
        return FALSE;
    }
    return TRUE;
}

/* name, path, parameters, file_system, group */
void driver_create(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    /* The manager makes an ImagePath of a DOS path by itself; some double a prefix that is already there. */
    const wchar_t *name = values[0].text;
    const wchar_t *path = wcsncmp(values[1].text, L"\\??\\", 4) == 0 ? values[1].text + 4 : values[1].text;
    SC_HANDLE manager, service;

    (void)request;
    if (!check_name(name, reply)) {
        return;
    }
    manager = open_manager(SC_MANAGER_CREATE_SERVICE, reply);
    if (manager == NULL) {
        return;
    }
    service = CreateServiceW(manager, name, name, SERVICE_ALL_ACCESS,
                             values[3].number ? SERVICE_FILE_SYSTEM_DRIVER : SERVICE_KERNEL_DRIVER,
                             SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, path, values[4].text, NULL, NULL, NULL, NULL);
    if (service == NULL) {
        reply_fail_win32(reply, "the service was not created", GetLastError());
        CloseServiceHandle(manager);
        return;
    }
    if (values[2].given && !parameters_write(name, PARAMETERS_KEY, values[2].bytes, values[2].size, reply)) {
        DeleteService(service);
    }
    close_service(manager, service);
}

/* name, key, values */
void driver_values(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    SC_HANDLE manager, service;

    (void)request;
    /* What is no service yet gets no key. */
    if (check_name(values[0].text, reply) &&
        open_service(values[0].text, SERVICE_QUERY_STATUS, &manager, &service, reply)) {
        parameters_write(values[0].text, values[1].text, values[2].bytes, values[2].size, reply);
        close_service(manager, service);
    }
}

static void reply_outcome(REPLY *reply, BOOL is_native, NT_STATUS status, DWORD win32)
{
    if (is_native) {
        reply_uint(reply, "status", (ULONG)status);
        reply_null(reply, "win32");
        reply_ascii(reply, "by", "native");
    } else {
        reply_null(reply, "status");
        reply_uint(reply, "win32", win32);
        reply_ascii(reply, "by", "scm");
    }
}

/* FALSE when the routine is missing or says that it isn't implemented. */
static BOOL call_native(NT_STATUS(NTAPI *routine)(NT_STRING *), const wchar_t *name, NT_STATUS *status, REPLY *reply)
{
    wchar_t *path;
    NT_STRING string;

    if (routine == NULL) {
        return FALSE;
    }
    path = malloc((wcslen(SERVICES) + wcslen(name) + 1) * sizeof(wchar_t));
    if (path == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for the service's path");
        return TRUE;
    }
    memcpy(path, SERVICES, sizeof(SERVICES));
    memcpy(path + wcslen(SERVICES), name, (wcslen(name) + 1) * sizeof(wchar_t));
    native_string(&string, path);
    /* Without the privilege the call itself says so. */
    native_enable(PRIVILEGE_LOAD_DRIVER);
    *status = routine(&string);
    free(path);
    return *status != STATUS_NOT_IMPLEMENTED_;
}

/* Wait until the service is no longer on its way; the error it ended with. */
static DWORD settle(SC_HANDLE service, DWORD wanted)
{
    SERVICE_STATUS status;
    DWORD since = GetTickCount();

    for (;;) {
        if (!QueryServiceStatus(service, &status)) {
            return GetLastError();
        }
        if (status.dwCurrentState == wanted) {
            return ERROR_SUCCESS;
        }
        if (status.dwCurrentState != SERVICE_START_PENDING && status.dwCurrentState != SERVICE_STOP_PENDING) {
            return status.dwWin32ExitCode != ERROR_SUCCESS ? status.dwWin32ExitCode : ERROR_SERVICE_NOT_ACTIVE;
        }
        if (GetTickCount() - since > PENDING_MS) {
            return ERROR_SERVICE_REQUEST_TIMEOUT;
        }
        Sleep(PENDING_POLL_MS); /* the manager tells by being asked only */
    }
}

static void start_or_stop(const wchar_t *name, BOOL starting, REPLY *reply)
{
    NT_STATUS(NTAPI *routine)(NT_STRING *) = starting ? native()->load_driver : native()->unload_driver;
    SC_HANDLE manager, service;
    SERVICE_STATUS ignored;
    NT_STATUS status = 0;
    DWORD error = ERROR_SUCCESS;

    if (!check_name(name, reply)) {
        return;
    }
    if (call_native(routine, name, &status, reply)) {
        reply_outcome(reply, TRUE, status, 0);
        return;
    }
    if (!open_service(name, SERVICE_START | SERVICE_STOP | SERVICE_QUERY_STATUS, &manager, &service, reply)) {
        return;
    }
    if (!(starting ? StartServiceW(service, 0, NULL) : ControlService(service, SERVICE_CONTROL_STOP, &ignored))) {
        error = GetLastError();
    }
    if (error == ERROR_SUCCESS) {
        error = settle(service, starting ? SERVICE_RUNNING : SERVICE_STOPPED);
    }
    reply_outcome(reply, FALSE, 0, error);
    close_service(manager, service);
}

/* name */
void driver_start(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    (void)request;
    start_or_stop(values[0].text, TRUE, reply);
}

/* name */
void driver_stop(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    (void)request;
    start_or_stop(values[0].text, FALSE, reply);
}

/* It goes with its last handle, and until then there can be no other of its name. Who has just told that a driver has
 * stopped may still have one: Wine's driver host closes its own afterwards. */
static void wait_until_gone(SC_HANDLE manager, const wchar_t *name)
{
    DWORD since = GetTickCount();
    SC_HANDLE service;

    while ((service = OpenServiceW(manager, name, SERVICE_QUERY_STATUS)) != NULL) {
        CloseServiceHandle(service);
        if (GetTickCount() - since > DELETED_MS) {
            return; /* somebody keeps it open for long, which is no failure of ours */
        }
        Sleep(PENDING_POLL_MS);
    }
}

/* name */
void driver_delete(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    SC_HANDLE manager, service;
    BOOL deleted;

    (void)request;
    if (!open_service(values[0].text, DELETE, &manager, &service, reply)) {
        return;
    }
    deleted = DeleteService(service);
    if (!deleted) {
        reply_fail_win32(reply, "the service was not deleted", GetLastError());
    }
    CloseServiceHandle(service);
    if (deleted) {
        wait_until_gone(manager, values[0].text);
    }
    CloseServiceHandle(manager);
}

/* name */
void driver_query(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    SC_HANDLE manager = open_manager(SC_MANAGER_CONNECT, reply), service;
    SERVICE_STATUS status;

    (void)request;
    if (manager == NULL) {
        return;
    }
    service = OpenServiceW(manager, values[0].text, SERVICE_QUERY_STATUS);
    if (service == NULL) {
        if (GetLastError() == ERROR_SERVICE_DOES_NOT_EXIST || GetLastError() == ERROR_INVALID_NAME) {
            reply_bool(reply, "exists", FALSE);
            reply_null(reply, "state");
        } else {
            reply_fail_win32(reply, "the service was not opened", GetLastError());
        }
    } else {
        if (QueryServiceStatus(service, &status)) {
            reply_bool(reply, "exists", TRUE);
            reply_uint(reply, "state", status.dwCurrentState);
        } else {
            reply_fail_win32(reply, "the service's state is not known", GetLastError());
        }
        CloseServiceHandle(service);
    }
    CloseServiceHandle(manager);
}
