/*
 * Wrong: DriverEntry gives up, cleanly.
 * Caught: the start reports its status, 0xC000009A STATUS_INSUFFICIENT_RESOURCES; nothing is left behind.
 */
#include "wrong.h"

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNREFERENCED_PARAMETER(driver);
    UNREFERENCED_PARAMETER(service);
    return STATUS_INSUFFICIENT_RESOURCES;
}
