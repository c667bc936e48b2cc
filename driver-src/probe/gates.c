/*
 * Gates: where operations stand inside a callback until they are let through, so that others can act meanwhile.
 *
 * Nobody stands there for ever: a wait has an end, and a reset or an unload opens every gate before it removes
 * the filters, because CmUnRegisterCallback waits for their callbacks.
 */
#include "regprobe_internal.h"

typedef struct _GATE {
    KEVENT open;
    KEVENT arrived; /* somebody stands there */
    volatile LONG standing;
} GATE;

static GATE gates[REGPROBE_GATES];
static FAST_MUTEX arrivals; /* `arrived` says what `standing` does */

INIT_CODE VOID GatesCreate(VOID)
{
    ULONG number;

    ExInitializeFastMutex(&arrivals);
    for (number = 0; number < REGPROBE_GATES; number++) {
        KeInitializeEvent(&gates[number].open, NotificationEvent, FALSE);
        KeInitializeEvent(&gates[number].arrived, NotificationEvent, FALSE);
    }
}

VOID GatesOpen(VOID)
{
    ULONG number;

    for (number = 0; number < REGPROBE_GATES; number++) {
        KeSetEvent(&gates[number].open, IO_NO_INCREMENT, FALSE);
    }
}

VOID GatesClose(VOID)
{
    ULONG number;

    for (number = 0; number < REGPROBE_GATES; number++) {
        KeClearEvent(&gates[number].open);
    }
}

static NTSTATUS WaitFor(KEVENT *event, ULONG milliseconds)
{
    LARGE_INTEGER timeout;

    if (milliseconds == 0 || milliseconds > REGPROBE_MAX_GATE_MS) {
        milliseconds = REGPROBE_MAX_GATE_MS;
    }
    timeout.QuadPart = -(LONGLONG)((ULONG64)milliseconds * 10000);
    return KeWaitForSingleObject(event, Executive, KernelMode, FALSE, &timeout);
}

static VOID Count(GATE *gate, LONG change)
{
    ExAcquireFastMutex(&arrivals);
    gate->standing += change;
    if (gate->standing != 0) {
        KeSetEvent(&gate->arrived, IO_NO_INCREMENT, FALSE);
    } else {
        KeClearEvent(&gate->arrived);
    }
    ExReleaseFastMutex(&arrivals);
}

NTSTATUS GateStand(ULONG number, ULONG milliseconds)
{
    GATE *gate = &gates[number % REGPROBE_GATES];
    NTSTATUS status;

    Count(gate, 1);
    status = WaitFor(&gate->open, milliseconds);
    Count(gate, -1);
    return status;
}

NTSTATUS GateRequest(const REGPROBE_GATE *request, REGPROBE_GATE_REPLY *reply)
{
    GATE *gate = &gates[request->gate % REGPROBE_GATES];
    NTSTATUS status = STATUS_SUCCESS;

    if (request->gate >= REGPROBE_GATES) {
        return STATUS_INVALID_PARAMETER;
    }
    switch (request->what) {
    case REGPROBE_GATE_OPEN:
        KeSetEvent(&gate->open, IO_NO_INCREMENT, FALSE);
        break;
    case REGPROBE_GATE_CLOSE:
        KeClearEvent(&gate->open);
        break;
    case REGPROBE_GATE_AWAIT:
        status = WaitFor(&gate->arrived, request->milliseconds);
        break;
    default:
        return STATUS_INVALID_PARAMETER;
    }
    RtlZeroMemory(reply, sizeof(*reply));
    reply->status = status;
    reply->standing = (ULONG)gate->standing;
    reply->time = (ULONG64)KeQueryPerformanceCounter(NULL).QuadPart;
    return STATUS_SUCCESS;
}
