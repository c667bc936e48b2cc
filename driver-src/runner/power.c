#include "power.h"

#include "native.h"
#include "protocol.h"

#define PROCESS_BREAK_ON_TERMINATION 29
#define OPTION_SHUTDOWN_SYSTEM 6
#define DEFAULT_CODE 0xE2            /* MANUALLY_INITIATED_CRASH */
#define NT_ERROR_SEVERITY 0xC0000000 /* a hard error ends the system only with a status of this severity */
#define MAX_PROCESSORS 64

/* The end of a process that the system can't do without: bugcheck 0xEF. */
static void crash_critical_process(REPLY *reply)
{
    ULONG critical = 1;
    NT_STATUS status;

    status = native_enable(PRIVILEGE_DEBUG);
    if (NT_IS_SUCCESS(status) && native()->set_process != NULL) {
        status = native()->set_process(GetCurrentProcess(), PROCESS_BREAK_ON_TERMINATION, &critical, sizeof(critical));
        if (NT_IS_SUCCESS(status)) {
            TerminateProcess(GetCurrentProcess(), DEFAULT_CODE);
        }
    }
    reply_fail_status(reply, "the process was not made critical", status);
}

static void crash_hard_error(ULONG code, REPLY *reply)
{
    NT_STATUS status = native_enable(PRIVILEGE_SHUTDOWN);
    ULONG response = 0;

    if (NT_IS_SUCCESS(status) && native()->raise_hard_error != NULL) {
        status = native()->raise_hard_error((NT_STATUS)(code | NT_ERROR_SEVERITY), 0, 0, NULL, OPTION_SHUTDOWN_SYSTEM,
                                            &response);
    }
    reply_fail_status(reply, "the hard error was not taken", status);
}

static DWORD WINAPI spin(void *parameter)
{
    volatile LONG *never = parameter;

    while (*never == 0) {
    }
    return 0;
}

/* Every processor in a loop above all other threads: the guest looks alive and does nothing. */
static void hang(REPLY *reply)
{
    static volatile LONG never;
    SYSTEM_INFO info;
    HANDLE thread;
    DWORD index;

    if (!SetPriorityClass(GetCurrentProcess(), REALTIME_PRIORITY_CLASS)) {
        reply_fail_win32(reply, "no real-time priority", GetLastError());
        return;
    }
    GetSystemInfo(&info);
    for (index = 0; index < info.dwNumberOfProcessors && index < MAX_PROCESSORS; index++) {
        thread = CreateThread(NULL, 0, spin, (void *)&never, CREATE_SUSPENDED, NULL);
        if (thread == NULL) {
            reply_fail_win32(reply, "no thread to spin in", GetLastError());
            return;
        }
        SetThreadAffinityMask(thread, (DWORD_PTR)1 << index);
        SetThreadPriority(thread, THREAD_PRIORITY_TIME_CRITICAL);
        ResumeThread(thread);
    }
    spin((void *)&never);
}

/* how, code */
void crash(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    const wchar_t *how = values[0].text;

    (void)request;
    if (wcscmp(how, L"critical-process") != 0 && wcscmp(how, L"hard-error") != 0 && wcscmp(how, L"hang") != 0) {
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "how must be critical-process, hard-error or hang");
    } else if (native_is_wine()) {
        /* It would end or occupy this process and leave the system as it is. */
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "Wine has no kernel that could crash");
    } else if (wcscmp(how, L"critical-process") == 0) {
        crash_critical_process(reply);
    } else if (wcscmp(how, L"hard-error") == 0) {
        crash_hard_error(values[1].given ? (ULONG)values[1].number : DEFAULT_CODE, reply);
    } else {
        hang(reply);
    }
}

/* reboot, force */
void system_shutdown(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    BOOL force = !values[1].given || values[1].number != 0;

    (void)request;
    if (native_is_wine()) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "Wine only pretends to shut the system down");
        return;
    }
    native_enable(PRIVILEGE_SHUTDOWN); /* without it the call itself says so */
    if (!InitiateSystemShutdownExW(NULL, NULL, 0, force, values[0].number != 0,
                                   SHTDN_REASON_MAJOR_OTHER | SHTDN_REASON_FLAG_PLANNED)) {
        reply_fail_win32(reply, "the system does not shut down", GetLastError());
    }
}

static BOOL flush_volume(wchar_t letter)
{
    wchar_t path[] = L"\\\\.\\?:", root[] = L"?:\\";
    HANDLE volume;
    BOOL flushed;

    path[4] = root[0] = letter;
    if (GetDriveTypeW(root) != DRIVE_FIXED) {
        return FALSE;
    }
    volume = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0,
                         NULL);
    if (volume == INVALID_HANDLE_VALUE) {
        return FALSE;
    }
    flushed = FlushFileBuffers(volume);
    CloseHandle(volume);
    return flushed;
}

/* Best effort, and told how far it went: a live system's registry, say, has no file to go to. */
void quiesce(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    static const wchar_t *const hives[] = {L"SYSTEM", L"SOFTWARE", L"SAM", L"SECURITY"};
    unsigned flushed_hives = 0, flushed_volumes = 0, index;
    wchar_t letter;
    HKEY hive;

    (void)request;
    (void)values;
    for (index = 0; index < sizeof(hives) / sizeof(hives[0]); index++) {
        if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, hives[index], 0, KEY_READ, &hive) == ERROR_SUCCESS) {
            flushed_hives += RegFlushKey(hive) == ERROR_SUCCESS;
            RegCloseKey(hive);
        }
    }
    for (letter = L'C'; letter <= L'Z'; letter++) {
        flushed_volumes += flush_volume(letter) != FALSE;
    }
    reply_uint(reply, "hives", flushed_hives);
    reply_uint(reply, "volumes", flushed_volumes);
}
