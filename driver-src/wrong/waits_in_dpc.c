/*
 * Wrong: a DPC waits, at DISPATCH_LEVEL, for what nobody has signalled yet.
 * Caught: bugcheck 0xC4 with 0x121, and the stack goes on into the routine that let the DPC run.
 */
#include "wrong.h"

static KDPC dpc;
static KEVENT event;

static VOID NTAPI Deferred(PKDPC which, PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(which);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(argument1);
    UNREFERENCED_PARAMETER(argument2);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        KeInitializeEvent(&event, NotificationEvent, FALSE);
        KeInitializeDpc(&dpc, Deferred, NULL);
        KeInsertQueueDpc(&dpc, NULL, NULL);
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
