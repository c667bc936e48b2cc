/*
 * A filter as drivers for Windows XP are written: CmRegisterCallback, DbgPrint, nothing newer.
 */
#include <ntddk.h>

DRIVER_INITIALIZE DriverEntry;

static LARGE_INTEGER cookie;
static volatile LONG notifications;

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(information);
    InterlockedIncrement(&notifications);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)notify_class == RegNtPreDeleteKey) {
        DbgPrint("legacy: a key is about to be deleted by process %lu\n", (ULONG)(ULONG_PTR)PsGetCurrentProcessId());
    }
    return STATUS_SUCCESS;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
    CmUnRegisterCallback(cookie);
    DbgPrint("legacy: %ld notifications\n", notifications);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    DbgPrint("legacy: %wZ\n", service);
    driver->DriverUnload = Unload;
    return CmRegisterCallback(Callback, NULL, &cookie);
}
