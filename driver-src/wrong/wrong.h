/*
 * What the deliberately wrong drivers share: a device, a callback, and a trigger.
 *
 * Each of them behaves until a value called "trigger" is set (or, where it says so, until another moment), so
 * that a test decides when it goes wrong. Nothing here is wrong by itself.
 */
#ifndef WRONG_H
#define WRONG_H

#include <ntifs.h>

#define WRONG_TAG 'gnrW'
#define WRONG_DEVICE L"\\Device\\RegWrong"
#define WRONG_LINK L"\\DosDevices\\RegWrong"
#define WRONG_IOCTL CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)

/* Compilers must not see through, remove or merge what is done wrong on purpose. */
#define HIDE(pointer) __asm__ volatile("" : "+r"(pointer) : : "memory")

DRIVER_INITIALIZE DriverEntry;

static LARGE_INTEGER wrong_cookie;

static inline BOOLEAN IsTrigger(PVOID notify_class, PVOID information)
{
    const REG_SET_VALUE_KEY_INFORMATION *set = information;
    UNICODE_STRING trigger;

    if ((REG_NOTIFY_CLASS)(ULONG_PTR)notify_class != RegNtPreSetValueKey || set->ValueName == NULL) {
        return FALSE;
    }
    RtlInitUnicodeString(&trigger, L"trigger");
    return RtlEqualUnicodeString(set->ValueName, &trigger, TRUE);
}

static inline NTSTATUS NTAPI CompleteWith(PIRP irp, NTSTATUS status)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static inline NTSTATUS NTAPI WrongDispatch(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    return CompleteWith(irp, STATUS_SUCCESS);
}

static inline VOID WrongDeleteDevice(PDRIVER_OBJECT driver)
{
    UNICODE_STRING link;

    RtlInitUnicodeString(&link, WRONG_LINK);
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(driver->DeviceObject);
}

static inline VOID NTAPI WrongUnload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(wrong_cookie);
    WrongDeleteDevice(driver);
}

static inline NTSTATUS WrongStart(PDRIVER_OBJECT driver, PEX_CALLBACK_FUNCTION callback)
{
    UNICODE_STRING name, link;
    PDEVICE_OBJECT device;
    NTSTATUS status;

    RtlInitUnicodeString(&name, WRONG_DEVICE);
    RtlInitUnicodeString(&link, WRONG_LINK);
    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = IoCreateSymbolicLink(&link, &name);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallback(callback, NULL, &wrong_cookie);
        if (!NT_SUCCESS(status)) {
            IoDeleteSymbolicLink(&link);
        }
    }
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = WrongDispatch;
    driver->MajorFunction[IRP_MJ_CLEANUP] = WrongDispatch;
    driver->MajorFunction[IRP_MJ_CLOSE] = WrongDispatch;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = WrongDispatch;
    driver->DriverUnload = WrongUnload;
    device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}

/* A DriverEntry that starts with `callback` and is right. */
#define WRONG_ENTRY(callback)                                                      \
    NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)     \
    {                                                                              \
        UNREFERENCED_PARAMETER(service);                                           \
        return WrongStart(driver, callback);                                       \
    }

#endif
