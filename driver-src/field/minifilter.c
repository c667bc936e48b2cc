/*
 * A minifilter that is there for the registry alone: it has no DriverUnload of its own, the filter manager calls its
 * unload routine.
 *
 * harness: since 6.1
 * harness: with fltmgr
 */
#include "flt.h"

static PVOID filter;
static LARGE_INTEGER cookie;
static LONG values;

static NTSTATUS NTAPI FilterUnload(ULONG flags)
{
    CmUnRegisterCallback(cookie);
    FltUnregisterFilter(filter);
    DbgPrint("minifilter: unloaded with flags %u after %d values\n", flags, values);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(argument2);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 == RegNtPreSetValueKey) {
        InterlockedIncrement(&values);
    }
    return STATUS_SUCCESS;
}

/* Parameters\KeepService: the service can't be stopped, only FltUnloadFilter could. */
static BOOLEAN KeepService(PUNICODE_STRING service)
{
    ULONG found = 0, absent = 0;
    RTL_QUERY_REGISTRY_TABLE table[] = {
        {NULL, RTL_QUERY_REGISTRY_SUBKEY, L"Parameters", NULL, REG_NONE, NULL, 0},
        {NULL, RTL_QUERY_REGISTRY_DIRECT, L"KeepService", &found, REG_DWORD, &absent, sizeof(absent)},
        {NULL, 0, NULL, NULL, REG_NONE, NULL, 0},
    };

    RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, service->Buffer, table, NULL, NULL);
    return found != 0;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    static const OPERATIONS none[] = {{0x80, 0, NULL, NULL, NULL}};
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"385210.6");
    REGISTRATION registration = {sizeof(registration), 0x0203, KeepService(service), NULL, none, FilterUnload, {NULL}};
    NTSTATUS status;

    status = FltRegisterFilter(driver, &registration, &filter);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = FltStartFiltering(filter);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &cookie, NULL);
    }
    if (!NT_SUCCESS(status)) {
        FltUnregisterFilter(filter);
    }
    return status;
}
