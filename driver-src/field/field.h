/*
 * What the field drivers share: a device, the end of a request, and declarations the headers lack.
 *
 * Each of these drivers is written as drivers of one kind out there are (monitors, protectors, hiders,
 * sandboxes, loggers, ...), and each is right: the reference guest has to run them, not judge them.
 */
#ifndef FIELD_H
#define FIELD_H

/* sprintf and its kin are the kernel's, not wrappers of a C library */
#define __USE_MINGW_ANSI_STDIO 0

/* declared without a calling convention, which is wrong on x86 */
#define ZwCreateKeyTransacted ZwCreateKeyTransactedOfTheHeader
#define ZwOpenKeyTransacted ZwOpenKeyTransactedOfTheHeader
#include <ntifs.h>
#include <ntstrsafe.h>
#undef ZwCreateKeyTransacted
#undef ZwOpenKeyTransacted

#define FIELD_IOCTL(n, method) CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + (n), method, FILE_ANY_ACCESS)

DRIVER_INITIALIZE DriverEntry;

NTSYSAPI PUCHAR NTAPI PsGetProcessImageFileName(PEPROCESS process);
NTSYSAPI NTSTATUS NTAPI CmCallbackGetKeyObjectIDEx(PLARGE_INTEGER cookie, PVOID object, PULONG_PTR id,
                                                   PCUNICODE_STRING *name, ULONG flags);
NTSYSAPI VOID NTAPI CmCallbackReleaseKeyObjectIDEx(PCUNICODE_STRING name);
NTSYSAPI PVOID NTAPI ExAllocatePool2(ULONG64 flags, SIZE_T size, ULONG tag);
NTSYSAPI extern POBJECT_TYPE *CmKeyObjectType;

/*
 * The type behind an imported variable such as PsProcessType. The headers here import the variable itself, which
 * makes it one indirection less than the `*PsProcessType` of Microsoft's headers; the machine code is the same.
 */
#define OBJECT_TYPE_OF(variable) ((POBJECT_TYPE)(variable))

#define FIELD_POOL_PAGED 0x100ULL
#define FIELD_POOL_NON_PAGED 0x40ULL

/* Calls `body` under a __try; an exception's code becomes the status. (guarded_x64.S, guarded_x86.S) */
NTSTATUS __cdecl guarded_call(NTSTATUS(NTAPI *body)(PVOID context), PVOID context);

static inline NTSTATUS FieldComplete(PIRP irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static inline NTSTATUS NTAPI FieldOpenClose(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    return FieldComplete(irp, STATUS_SUCCESS, 0);
}

static inline NTSTATUS FieldCreate(PDRIVER_OBJECT driver, PCWSTR device, PCWSTR link, ULONG flags,
                                   PDRIVER_DISPATCH control, PDRIVER_UNLOAD unload)
{
    UNICODE_STRING device_name, link_name;
    PDEVICE_OBJECT created;
    NTSTATUS status;

    RtlInitUnicodeString(&device_name, device);
    RtlInitUnicodeString(&link_name, link);
    status = IoCreateDevice(driver, 0, &device_name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &created);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = IoCreateSymbolicLink(&link_name, &device_name);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(created);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = FieldOpenClose;
    driver->MajorFunction[IRP_MJ_CLEANUP] = FieldOpenClose;
    driver->MajorFunction[IRP_MJ_CLOSE] = FieldOpenClose;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    driver->DriverUnload = unload;
    created->Flags |= flags;
    created->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}

static inline VOID FieldDelete(PDRIVER_OBJECT driver, PCWSTR link)
{
    UNICODE_STRING name;

    RtlInitUnicodeString(&name, link);
    IoDeleteSymbolicLink(&name);
    if (driver->DeviceObject != NULL) {
        IoDeleteDevice(driver->DeviceObject);
    }
}

#endif
