/*
 * Bringing the system down on purpose, so that the harness can be shown to notice.
 */
#include "regprobe_internal.h"

static volatile ULONG forever = 1;

static VOID Spin(VOID)
{
    while (forever) {
        YieldProcessor();
    }
}

static VOID Wait(VOID)
{
    KEVENT never;

    KeInitializeEvent(&never, NotificationEvent, FALSE);
    KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, NULL);
}

NTSTATUS CrashSystem(const REGPROBE_CRASH *request)
{
    switch (request->how) {
    case REGPROBE_CRASH_BUGCHECK:
        KeBugCheckEx(
            request->code,
            (ULONG_PTR)request->parameters[0],
            (ULONG_PTR)request->parameters[1],
            (ULONG_PTR)request->parameters[2],
            (ULONG_PTR)request->parameters[3]);
    case REGPROBE_CRASH_SPIN:
        Spin();
        return STATUS_UNSUCCESSFUL;
    case REGPROBE_CRASH_WAIT:
        Wait();
        return STATUS_UNSUCCESSFUL;
    default:
        return STATUS_INVALID_PARAMETER;
    }
}
