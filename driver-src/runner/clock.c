#include "clock.h"

#include "native.h"
#include "protocol.h"

#define EPOCH_100NS 116444736000000000ull /* 1601 to 1970 */
/* A clock that runs on is this close to what it was set to; one that refuses silently isn't. */
#define BELIEVED_US 500000

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
    if (!NT_IS_SUCCESS(status)) {
        reply_fail_status(reply, "the clock was not set", status);
        return;
    }
    after = clock_unix_us();
    if ((after > wanted ? after - wanted : wanted - after) > BELIEVED_US) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "the system says the clock was set, and it was not");
        return;
    }
    reply_uint(reply, "previous_unix_us", previous);
    reply_uint(reply, "unix_us", after);
}
