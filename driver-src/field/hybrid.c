/*
 * A minifilter that filters the registry besides: it starts with the filter manager, has a port for its service and
 * tells the service of every value set, from a work item.
 *
 * harness: since 6.1
 * harness: with fltmgr
 */
#include "flt.h"

#define TAG 'rpYF'
#define IOCTL_TOLD FIELD_IOCTL(0, METHOD_BUFFERED) /* output: TOLD */
#define PORT_ACCESS 0x1F0001

typedef struct _TOLD {
    LONG values, told;
    NTSTATUS last, context;
    ULONG routine_found, routine_missing;
} TOLD;

typedef VOID(NTAPI *WORK_ROUTINE)(PVOID item, PVOID filter, PVOID context);

__declspec(dllimport) NTSTATUS NTAPI FltBuildDefaultSecurityDescriptor(PSECURITY_DESCRIPTOR *made, ACCESS_MASK access);
__declspec(dllimport) VOID NTAPI FltFreeSecurityDescriptor(PSECURITY_DESCRIPTOR made);
__declspec(dllimport) NTSTATUS NTAPI FltCreateCommunicationPort(PVOID filter, PVOID *port, POBJECT_ATTRIBUTES name,
                                                                PVOID cookie, PVOID connect, PVOID disconnect,
                                                                PVOID message, LONG limit);
__declspec(dllimport) VOID NTAPI FltCloseCommunicationPort(PVOID port);
__declspec(dllimport) NTSTATUS NTAPI FltSendMessage(PVOID filter, PVOID *port, PVOID data, ULONG length, PVOID reply,
                                                    PULONG reply_length, PLARGE_INTEGER timeout);
__declspec(dllimport) PVOID NTAPI FltAllocateGenericWorkItem(VOID);
__declspec(dllimport) VOID NTAPI FltFreeGenericWorkItem(PVOID item);
__declspec(dllimport) NTSTATUS NTAPI FltQueueGenericWorkItem(PVOID item, PVOID filter, WORK_ROUTINE routine,
                                                             WORK_QUEUE_TYPE queue, PVOID context);
__declspec(dllimport) PVOID NTAPI FltGetRoutineAddress(PCSTR name);
__declspec(dllimport) NTSTATUS NTAPI FltGetFileNameInformation(PVOID data, ULONG options, PVOID *information);
__declspec(dllimport) NTSTATUS NTAPI FltAllocateContext(PVOID filter, USHORT kind, SIZE_T size, POOL_TYPE pool,
                                                        PVOID *context);

static PVOID filter, port, client;
static LARGE_INTEGER cookie;
static TOLD told;

static ULONG NTAPI BeforeCreate(PVOID data, PVOID objects, PVOID *context)
{
    PVOID information;

    UNREFERENCED_PARAMETER(objects);
    UNREFERENCED_PARAMETER(context);
    FltGetFileNameInformation(data, 0x101, &information);
    return 1;
}

static const OPERATIONS operations[] = {{IRP_MJ_CREATE, 0, BeforeCreate, NULL, NULL}, {0x80, 0, NULL, NULL, NULL}};

static NTSTATUS NTAPI FilterUnload(ULONG flags)
{
    UNREFERENCED_PARAMETER(flags);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Connect(PVOID port_, PVOID cookie_, PVOID context, ULONG length, PVOID *connection)
{
    UNREFERENCED_PARAMETER(cookie_);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(length);
    client = port_;
    *connection = NULL;
    return STATUS_SUCCESS;
}

static VOID NTAPI Tell(PVOID item, PVOID filter_, PVOID context)
{
    UNREFERENCED_PARAMETER(filter_);
    told.last = FltSendMessage(filter, &client, context, sizeof(ULONG), NULL, NULL, NULL);
    InterlockedIncrement(&told.told);
    ExFreePoolWithTag(context, TAG);
    FltFreeGenericWorkItem(item);
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    PVOID item, message;

    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(argument2);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 != RegNtPostSetValueKey) {
        return STATUS_SUCCESS;
    }
    InterlockedIncrement(&told.values);
    item = FltAllocateGenericWorkItem();
    message = ExAllocatePoolWithTag(NonPagedPool, sizeof(ULONG), TAG);
    if (item != NULL && message != NULL
        && NT_SUCCESS(FltQueueGenericWorkItem(item, filter, Tell, DelayedWorkQueue, message))) {
        return STATUS_SUCCESS;
    }
    if (item != NULL) {
        FltFreeGenericWorkItem(item);
    }
    if (message != NULL) {
        ExFreePoolWithTag(message, TAG);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(irp);

    UNREFERENCED_PARAMETER(device);
    if (location->Parameters.DeviceIoControl.IoControlCode != IOCTL_TOLD
        || location->Parameters.DeviceIoControl.OutputBufferLength < sizeof(told)) {
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, &told, sizeof(told));
    return FieldComplete(irp, STATUS_SUCCESS, sizeof(told));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(cookie);
    FltCloseCommunicationPort(port);
    FltUnregisterFilter(filter);
    FieldDelete(driver, L"\\??\\FieldHybrid");
}

static NTSTATUS Port(VOID)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\FieldHybridPort");
    PSECURITY_DESCRIPTOR descriptor;
    OBJECT_ATTRIBUTES attributes;
    NTSTATUS status;

    status = FltBuildDefaultSecurityDescriptor(&descriptor, PORT_ACCESS);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, descriptor);
    status = FltCreateCommunicationPort(filter, &port, &attributes, NULL, Connect, NULL, NULL, 1);
    FltFreeSecurityDescriptor(descriptor);
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"385210.5");
    REGISTRATION registration = {sizeof(registration), 0x0203, 0, NULL, operations, FilterUnload, {NULL}};
    PVOID context;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(path);
    status = FltRegisterFilter(driver, &registration, &filter);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    told.context = FltAllocateContext(filter, 1, 16, PagedPool, &context);
    told.routine_found = FltGetRoutineAddress("FltSendMessage") != NULL;
    told.routine_missing = FltGetRoutineAddress("FltNoSuchRoutine") == NULL;
    status = Port();
    if (NT_SUCCESS(status)) {
        status = FltStartFiltering(filter);
        if (NT_SUCCESS(status)) {
            status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &cookie, NULL);
        }
        if (NT_SUCCESS(status)) {
            status = FieldCreate(driver, L"\\Device\\FieldHybrid", L"\\??\\FieldHybrid", 0, Control, Unload);
            if (NT_SUCCESS(status)) {
                return status;
            }
            CmUnRegisterCallback(cookie);
        }
        FltCloseCommunicationPort(port);
    }
    FltUnregisterFilter(filter);
    return status;
}
