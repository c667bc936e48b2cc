/*
 * Wrong: pool allocated in DriverEntry is never freed.
 * Caught: at unload, bugcheck 0xC4 DRIVER_VERIFIER_DETECTED_VIOLATION, parameter 1 = 0x62 (leaked pool).
 */
#include "wrong.h"

static PVOID leaked;

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(notify_class);
    UNREFERENCED_PARAMETER(information);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNREFERENCED_PARAMETER(service);
    leaked = ExAllocatePoolWithTag(PagedPool, 100, WRONG_TAG);
    HIDE(leaked);
    return WrongStart(driver, Callback);
}
