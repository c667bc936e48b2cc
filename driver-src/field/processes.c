/*
 * Who is it: processes by notification, by id, by object and handle; and what each did to the registry.
 *
 * harness: since 6.0
 */
#include "field.h"

#define TAG 'rpPF'
#define MAX_SEEN 64
#define IOCTL_SEEN FIELD_IOCTL(0, METHOD_BUFFERED)    /* output: SEEN, one for each process */
#define IOCTL_ABOUT FIELD_IOCTL(1, METHOD_BUFFERED)   /* input: ULONG process id; output: ABOUT */
#define IOCTL_STATE FIELD_IOCTL(2, METHOD_BUFFERED)   /* output: three ULONG statuses, see `state` */

typedef struct _SEEN {
    ULONG process, operations;
} SEEN;

typedef struct _ABOUT {
    ULONG process, session, parent;
    NTSTATUS open_status;
    CHAR image[16];
    WCHAR path[128];
} ABOUT;

NTSYSAPI NTSTATUS NTAPI ZwQueryInformationProcess(HANDLE process, PROCESSINFOCLASS class, PVOID data, ULONG length,
                                                  PULONG done);
NTSYSAPI ULONG NTAPI PsGetProcessSessionId(PEPROCESS process);

NTSYSAPI NTSTATUS NTAPI ObRegisterCallbacks(POB_CALLBACK_REGISTRATION registration, PVOID *cookie);
NTSYSAPI VOID NTAPI ObUnRegisterCallbacks(PVOID cookie);

#ifndef PROCESS_TERMINATE
#define PROCESS_TERMINATE 0x0001
#endif

typedef NTSTATUS(NTAPI *SET_NOTIFY_EX)(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove);

static struct {
    NTSTATUS notify_ex, notify, objects;
} state;

static SEEN seen[MAX_SEEN];
static ULONG seen_count;
static KSPIN_LOCK lock;
static LARGE_INTEGER cookie;
static PVOID object_cookie;
static SET_NOTIFY_EX set_notify_ex;
static BOOLEAN loaded_images;

static VOID NTAPI ProcessEx(PEPROCESS process, HANDLE id, PPS_CREATE_NOTIFY_INFO info)
{
    if (info != NULL) {
        DbgPrint("processes: %p %u %wZ\n", process, HandleToULong(id), info->ImageFileName);
    }
}

static VOID NTAPI Process(HANDLE parent, HANDLE id, BOOLEAN create)
{
    DbgPrint("processes: %u of %u %s\n", HandleToULong(id), HandleToULong(parent), create ? "starts" : "ends");
}

static VOID NTAPI Thread(HANDLE process, HANDLE id, BOOLEAN create)
{
    UNREFERENCED_PARAMETER(process);
    UNREFERENCED_PARAMETER(id);
    UNREFERENCED_PARAMETER(create);
}

static VOID NTAPI Image(PUNICODE_STRING name, HANDLE process, PIMAGE_INFO info)
{
    UNREFERENCED_PARAMETER(process);
    DbgPrint("processes: image %wZ at %p, %Iu bytes\n", name, info->ImageBase, info->ImageSize);
}

static OB_PREOP_CALLBACK_STATUS NTAPI BeforeHandle(PVOID context, POB_PRE_OPERATION_INFORMATION operation)
{
    UNREFERENCED_PARAMETER(context);
    if (!operation->KernelHandle && operation->Operation == OB_OPERATION_HANDLE_CREATE) {
        operation->Parameters->CreateHandleInformation.DesiredAccess &= ~PROCESS_TERMINATE;
    }
    return OB_PREOP_SUCCESS;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    ULONG process = HandleToULong(PsGetCurrentProcessId()), index;
    KIRQL irql;

    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(argument1);
    UNREFERENCED_PARAMETER(argument2);
    KeAcquireSpinLock(&lock, &irql);
    for (index = 0; index < seen_count && seen[index].process != process; index++) {
    }
    if (index < MAX_SEEN) {
        if (index == seen_count) {
            seen[index].process = process;
            seen[index].operations = 0;
            seen_count++;
        }
        seen[index].operations++;
    }
    KeReleaseSpinLock(&lock, irql);
    return STATUS_SUCCESS;
}

static NTSTATUS About(ULONG id, ABOUT *about)
{
    PROCESS_BASIC_INFORMATION basic;
    PUNICODE_STRING path;
    PEPROCESS process;
    HANDLE handle;
    ULONG length = 0;
    NTSTATUS status;

    RtlZeroMemory(about, sizeof(*about));
    status = PsLookupProcessByProcessId(ULongToHandle(id), &process);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    about->process = HandleToULong(PsGetProcessId(process));
    about->session = PsGetProcessSessionId(process);
    strncpy(about->image, (PCSTR)PsGetProcessImageFileName(process), sizeof(about->image) - 1);
    if (NT_SUCCESS(SeLocateProcessImageName(process, &path))) {
        RtlStringCbCopyNW(about->path, sizeof(about->path), path->Buffer, path->Length);
        ExFreePool(path);
    }
    about->open_status = ObOpenObjectByPointer(process, OBJ_KERNEL_HANDLE, NULL, GENERIC_READ, OBJECT_TYPE_OF(PsProcessType), KernelMode, &handle);
    ObDereferenceObject(process);
    if (NT_SUCCESS(about->open_status)) {
        if (NT_SUCCESS(ZwQueryInformationProcess(handle, ProcessBasicInformation, &basic, sizeof(basic), &length))) {
            about->parent = (ULONG)basic.InheritedFromUniqueProcessId;
        }
        ZwClose(handle);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength, size;
    PVOID system = irp->AssociatedIrp.SystemBuffer;
    NTSTATUS status = STATUS_SUCCESS;
    KIRQL irql;

    UNREFERENCED_PARAMETER(device);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_SEEN:
        KeAcquireSpinLock(&lock, &irql);
        size = seen_count * sizeof(SEEN);
        if (size > out) {
            size = out - out % sizeof(SEEN);
        }
        RtlCopyMemory(system, seen, size);
        KeReleaseSpinLock(&lock, irql);
        return FieldComplete(irp, STATUS_SUCCESS, size);
    case IOCTL_ABOUT:
        if (in < sizeof(ULONG) || out < sizeof(ABOUT)) {
            return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        }
        status = About(*(PULONG)system, system);
        return FieldComplete(irp, status, NT_SUCCESS(status) ? sizeof(ABOUT) : 0);
    case IOCTL_STATE:
        if (out < sizeof(state)) {
            return FieldComplete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        }
        RtlCopyMemory(system, &state, sizeof(state));
        return FieldComplete(irp, STATUS_SUCCESS, sizeof(state));
    default:
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static VOID Remove(VOID)
{
    if (object_cookie != NULL) {
        ObUnRegisterCallbacks(object_cookie);
    }
    if (loaded_images) {
        PsRemoveLoadImageNotifyRoutine(Image);
        PsRemoveCreateThreadNotifyRoutine(Thread);
    }
    if (set_notify_ex != NULL && NT_SUCCESS(state.notify_ex)) {
        set_notify_ex(ProcessEx, TRUE);
    } else if (NT_SUCCESS(state.notify)) {
        PsSetCreateProcessNotifyRoutine(Process, TRUE);
    }
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(cookie);
    Remove();
    FieldDelete(driver, L"\\DosDevices\\FieldProcesses");
}

/* Both want an image linked with /integritycheck from Vista SP1 on; a driver has to live with a refusal. */
static VOID Watch(VOID)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"PsSetCreateProcessNotifyRoutineEx");
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"321000");
    OB_OPERATION_REGISTRATION operation = {0};
    OB_CALLBACK_REGISTRATION registration = {0};

    state.notify = state.notify_ex = STATUS_NOT_SUPPORTED;
    set_notify_ex = (SET_NOTIFY_EX)(ULONG_PTR)MmGetSystemRoutineAddress(&name);
    if (set_notify_ex != NULL) {
        state.notify_ex = set_notify_ex(ProcessEx, FALSE);
    }
    if (!NT_SUCCESS(state.notify_ex)) {
        state.notify = PsSetCreateProcessNotifyRoutine(Process, FALSE);
    }
    operation.ObjectType = (POBJECT_TYPE *)&PsProcessType; /* the address of the variable */
    operation.Operations = OB_OPERATION_HANDLE_CREATE | OB_OPERATION_HANDLE_DUPLICATE;
    operation.PreOperation = BeforeHandle;
    registration.Version = OB_FLT_REGISTRATION_VERSION;
    registration.OperationRegistrationCount = 1;
    registration.Altitude = altitude;
    registration.OperationRegistration = &operation;
    state.objects = ObRegisterCallbacks(&registration, &object_cookie);
    loaded_images = NT_SUCCESS(PsSetLoadImageNotifyRoutine(Image)) && NT_SUCCESS(PsSetCreateThreadNotifyRoutine(Thread));
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"321000");
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    KeInitializeSpinLock(&lock);
    status = FieldCreate(driver, L"\\Device\\FieldProcesses", L"\\DosDevices\\FieldProcesses", 0, Control, Unload);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    Watch();
    status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &cookie, NULL);
    if (!NT_SUCCESS(status)) {
        Remove();
        FieldDelete(driver, L"\\DosDevices\\FieldProcesses");
    }
    return status;
}
