/*
 * Wrong: the pool of an event is freed while a thread still waits for it.
 * Caught: bugcheck 0xCC PAGE_FAULT_IN_FREED_SPECIAL_POOL when the system next looks at what the thread waits for, where
 * no code of the driver runs; the pool says whose it was.
 */
#include "wrong.h"

static VOID NTAPI Wait(PVOID event)
{
    KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL);
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    LARGE_INTEGER pause;
    PKEVENT event;
    HANDLE thread;

    UNREFERENCED_PARAMETER(context);
    if (!IsTrigger(notify_class, information)) {
        return STATUS_SUCCESS;
    }
    event = ExAllocatePoolWithTag(NonPagedPool, sizeof(*event), WRONG_TAG);
    if (event == NULL) {
        return STATUS_SUCCESS;
    }
    KeInitializeEvent(event, NotificationEvent, FALSE);
    if (NT_SUCCESS(PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Wait, event))) {
        ZwClose(thread);
    }
    pause.QuadPart = -10 * 1000;
    KeDelayExecutionThread(KernelMode, FALSE, &pause); /* the thread gets to its wait */
    ExFreePoolWithTag(event, WRONG_TAG);
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
