#include "clock.h"

#include <stdio.h>

#include "native.h"
#include "protocol.h"

#define EPOCH_100NS 116444736000000000ull /* 1601 to 1970 */
/* A clock that runs on is this close to what it was set to; one that refuses silently isn't. */
#define BELIEVED_US 500000
#define DATE_MS 5000
#define DATE_POLL_MS 5
#define MAX_DATE_PATH 256

static const wchar_t *date_program;

void clock_set_by(const wchar_t *date)
{
    date_program = date;
}

static BOOL is_near(uint64_t one, uint64_t other)
{
    return (one > other ? one - other : other - one) <= BELIEVED_US;
}

uint64_t divide(uint64_t dividend, uint32_t divisor)
{
    uint64_t quotient = 0, remainder = 0;
    int bit;

    for (bit = 63; bit >= 0; bit--) {
        remainder = remainder << 1 | (dividend >> bit & 1);
        if (remainder >= divisor) {
            remainder -= divisor;
            quotient |= 1ull << bit;
        }
    }
    return quotient;
}

uint64_t clock_unix_us(void)
{
    FILETIME now;
    uint64_t since_1601;

    GetSystemTimeAsFileTime(&now);
    since_1601 = (uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime;
    return since_1601 < EPOCH_100NS ? 0 : divide(since_1601 - EPOCH_100NS, 10);
}

/* Wine refuses every real change: the clock is the system's below it, and there `date` sets it where the account
 * may. Whether it did, the clock itself says: a program of that system has no handle to wait for. */
static void set_below_wine(uint64_t unix_us)
{
    wchar_t line[MAX_DATE_PATH + 64];
    PROCESS_INFORMATION process;
    /* No standard handles: `date` says what it did, and stdout is where the frames go. */
    STARTUPINFOW startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
    uint64_t seconds = divide(unix_us, 1000000);
    DWORD since = GetTickCount();

    if (wcslen(date_program) > MAX_DATE_PATH) {
        return;
    }
    _snwprintf(line, sizeof(line) / sizeof(wchar_t), L"\"%ls\" -u -s @%lu.%06lu", date_program, (unsigned long)seconds,
               (unsigned long)(unix_us - seconds * 1000000));
    if (!CreateProcessW(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process)) {
        return;
    }
    CloseHandle(process.hThread);
    CloseHandle(process.hProcess);
    while (!is_near(clock_unix_us(), unix_us) && GetTickCount() - since < DATE_MS) {
        Sleep(DATE_POLL_MS);
    }
}

/* unix_us */
void clock_set(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    uint64_t wanted = values[0].number, previous = clock_unix_us(), after;
    LARGE_INTEGER time;
    NT_STATUS status;

    (void)request;
    if (native()->set_system_time == NULL) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "this system has no NtSetSystemTime");
        return;
    }
    native_enable(PRIVILEGE_SYSTEMTIME); /* without it the call itself says so */
    time.QuadPart = (LONGLONG)(wanted * 10 + EPOCH_100NS);
    status = native()->set_system_time(&time, NULL);
    if (date_program != NULL && native_is_wine() && !NT_IS_SUCCESS(status)) {
        set_below_wine(wanted);
        status = is_near(clock_unix_us(), wanted) ? 0 : status;
    }
    if (!NT_IS_SUCCESS(status)) {
        reply_fail_status(reply, "the clock was not set", status);
        return;
    }
    after = clock_unix_us();
    if (!is_near(after, wanted)) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "the system says the clock was set, and it was not");
        return;
    }
    reply_uint(reply, "previous_unix_us", previous);
    reply_uint(reply, "unix_us", after);
}
