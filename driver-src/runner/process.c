#include "process.h"

#include <stdio.h>
#include <string.h>

#include "native.h"
#include "process_pipe.h"
#include "program_execute.h"

#define LINE_UNITS 0x8000
#define GONE_MS 60000
#define STATUS_IO_TIMEOUT_ ((NT_STATUS)0xC00000B5)

typedef struct HELPER {
    HANDLE process, to, from; /* process NULL: none */
    DWORD id;
} HELPER;

static HELPER helpers[PROGRAM_MAX_PROCESSES];

/* Ends the helpers with the runner, however that ends. Where the runner's own job allows no other one, the end of
 * their pipes does. */
static HANDLE job_of_helpers(void)
{
    static HANDLE job;
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;

    if (job == NULL) {
        job = CreateJobObjectW(NULL, NULL);
        memset(&limits, 0, sizeof(limits));
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        if (job != NULL) {
            SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits));
        }
    }
    return job;
}

static void forget(HELPER *helper)
{
    CloseHandle(helper->to);
    CloseHandle(helper->from);
    CloseHandle(helper->process);
    memset(helper, 0, sizeof(*helper));
}

/* The helper's ends of the pipes are inheritable while it is created, ours never are. */
static BOOL create(HELPER *helper, HANDLE read, HANDLE write)
{
    static wchar_t path[LINE_UNITS], line[LINE_UNITS];
    DWORD length = GetModuleFileNameW(NULL, path, LINE_UNITS);
    STARTUPINFOW startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION made;
    BOOL created;

    if (length == 0 || length > LINE_UNITS - 64) {
        return FALSE;
    }
    _snwprintf(line, LINE_UNITS, L"\"%ls\" --helper %lu %lu", path, (ULONG)(ULONG_PTR)read, (ULONG)(ULONG_PTR)write);
    SetHandleInformation(read, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
    SetHandleInformation(write, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
    created = CreateProcessW(path, line, NULL, NULL, TRUE, CREATE_NO_WINDOW | CREATE_SUSPENDED, NULL, NULL, &startup,
                             &made);
    if (created) {
        AssignProcessToJobObject(job_of_helpers(), made.hProcess);
        ResumeThread(made.hThread);
        CloseHandle(made.hThread);
        helper->process = made.hProcess;
        helper->id = made.dwProcessId;
    }
    return created;
}

static BOOL start(HELPER *helper)
{
    HANDLE read, write;
    BOOL created = FALSE;
    DWORD error;

    if (!CreatePipe(&read, &helper->to, NULL, 0)) {
        return FALSE;
    }
    if (CreatePipe(&helper->from, &write, NULL, 0)) {
        created = create(helper, read, write);
        error = GetLastError();
        CloseHandle(write);
        if (!created) {
            CloseHandle(helper->from);
        }
    } else {
        error = GetLastError();
    }
    CloseHandle(read);
    if (!created) {
        CloseHandle(helper->to);
        memset(helper, 0, sizeof(*helper));
        SetLastError(error);
    }
    return created;
}

static BOOL has_ended(const HELPER *helper)
{
    return WaitForSingleObject(helper->process, 0) == WAIT_OBJECT_0;
}

/* One request and its answer. When either fails the helper is gone, or no longer to be trusted. */
static BOOL ask(HELPER *helper, const HELPER_REQUEST *request, const uint64_t *slots, const unsigned char *encoded,
                RESULT *result)
{
    if (pipe_write(helper->to, request, sizeof(*request)) &&
        pipe_write(helper->to, slots, request->slot_count * sizeof(uint64_t)) &&
        pipe_write(helper->to, encoded, request->encoded_size) && pipe_read_result(helper->from, result)) {
        return TRUE;
    }
    TerminateProcess(helper->process, 1);
    forget(helper);
    return FALSE;
}

/* Until its thread 0 has answered, the helper is still starting: handles come and go in it. */
static BOOL is_up(HELPER *helper)
{
    HELPER_REQUEST request = {HELPER_IDENTIFY, 0, 0, 0, 0, 0, 0};
    RESULT result;

    if (!ask(helper, &request, NULL, NULL, &result)) {
        SetLastError(ERROR_PROCESS_ABORTED);
        return FALSE;
    }
    result_free(&result);
    return TRUE;
}

DWORD process_ensure(unsigned role)
{
    HELPER *helper = &helpers[role];

    if (helper->process != NULL && has_ended(helper)) {
        forget(helper);
    }
    return helper->process != NULL || (start(helper) && is_up(helper)) ? helper->id : 0;
}

BOOL process_execute(unsigned role, const OPERATION *operation, const uint64_t *slots, unsigned slot_count,
                     DWORD target, RESULT *result)
{
    HELPER_REQUEST request = {HELPER_EXECUTE, (uint32_t)operation->fields[FIELD_THREAD].number, slot_count,
                              (uint32_t)operation->encoded_size, target, 0, 0};

    return ask(&helpers[role], &request, slots, operation->encoded, result);
}

BOOL process_give_back(unsigned role, uint64_t value, BOOL memory)
{
    HELPER_REQUEST request = {memory ? HELPER_FREE : HELPER_CLOSE, 0, 0, 0, 0, 0, value};
    BOOL closed;
    RESULT result;

    if (helpers[role].process == NULL) {
        return FALSE; /* its handles went with it */
    }
    closed = ask(&helpers[role], &request, NULL, NULL, &result);
    if (closed) {
        result_free(&result);
    }
    return closed;
}

/* Which process and thread it is that ends; of a busy one only the process can be told. */
static BOOL identify(HELPER *helper, const OPERATION *operation, BOOL busy, RESULT *result)
{
    HELPER_REQUEST request = {HELPER_IDENTIFY, (uint32_t)operation->fields[FIELD_THREAD].number, 0, 0, 0, 0, 0};
    BOOL there = busy || ask(helper, &request, NULL, NULL, result);

    if (!there || busy) {
        memset(result, 0, sizeof(*result));
        result->process_id = there ? helper->id : 0;
    }
    return there;
}

void process_terminate(unsigned role, const OPERATION *operation, BOOL busy, RESULT *result)
{
    NT_STATUS(NTAPI * terminate)(HANDLE, NT_STATUS);
    HELPER *helper = &helpers[role];
    BOOL there = identify(helper, operation, busy, result);

    terminate = (__typeof__(terminate))(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtTerminateProcess");
    result->begin = counter_now();
    if (there) {
        result->status = (uint32_t)terminate(helper->process, 0);
    }
    if (there && !busy) {
        if (NT_IS_SUCCESS(result->status) && WaitForSingleObject(helper->process, GONE_MS) != WAIT_OBJECT_0) {
            result->status = (uint32_t)STATUS_IO_TIMEOUT_;
        }
        forget(helper);
    }
    result->end = counter_now();
}
