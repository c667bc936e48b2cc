/*
 * Entry points that go wrong, one for each value of Parameters\Mode: a status, what is left behind, what never ends.
 */
#include "field.h"

#define TAG 'tnEF'

static ULONG Mode(PUNICODE_STRING service)
{
    RTL_QUERY_REGISTRY_TABLE table[2];
    WCHAR path[256];
    UNICODE_STRING full;
    ULONG mode = 0;

    RtlInitEmptyUnicodeString(&full, path, sizeof(path) - sizeof(WCHAR));
    RtlCopyUnicodeString(&full, service);
    RtlAppendUnicodeToString(&full, L"\\Parameters");
    path[full.Length / sizeof(WCHAR)] = UNICODE_NULL;
    RtlZeroMemory(table, sizeof(table));
    table[0].Flags = RTL_QUERY_REGISTRY_DIRECT;
    table[0].Name = L"Mode";
    table[0].EntryContext = &mode;
    table[0].DefaultType = REG_DWORD;
    table[0].DefaultData = &mode;
    table[0].DefaultLength = sizeof(mode);
    RtlQueryRegistryValues(RTL_REGISTRY_ABSOLUTE, path, table, NULL, NULL);
    return mode;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(argument1);
    UNREFERENCED_PARAMETER(argument2);
    return STATUS_SUCCESS;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING name;
    LARGE_INTEGER cookie;
    PDEVICE_OBJECT device;
    volatile ULONG spin = 1;
    KIRQL irql;

    switch (Mode(service)) {
    case 1:
        return STATUS_DEVICE_NOT_READY;
    case 2: /* a device stays */
        RtlInitUnicodeString(&name, L"\\Device\\FieldEntries");
        IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
        return STATUS_DEVICE_NOT_READY;
    case 3: /* pool stays */
        ExAllocatePoolWithTag(NonPagedPool, 4096, TAG);
        return STATUS_DEVICE_NOT_READY;
    case 4: /* a callback stays */
        CmRegisterCallback(Callback, NULL, &cookie);
        return STATUS_DEVICE_NOT_READY;
    case 5:
        *(volatile ULONG *)0 = 1;
        break;
    case 6:
        while (spin) {
        }
        break;
    case 7:
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
        return STATUS_SUCCESS;
    case 8: /* can't be unloaded */
        return STATUS_SUCCESS;
    default:
        break;
    }
    driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
