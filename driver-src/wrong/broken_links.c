/*
 * Wrong: it hides from the list of loaded images by overwriting the links of its own entry, without taking the entry
 * out of the list.
 * Caught: an exception in the system's own code when the driver is unloaded, which names it.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(notify_class);
    UNREFERENCED_PARAMETER(information);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    PLIST_ENTRY links = driver->DriverSection;

    UNREFERENCED_PARAMETER(service);
    links->Flink = links->Blink = NULL;
    return WrongStart(driver, Callback);
}
