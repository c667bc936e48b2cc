/*
 * Wrong: a work item gets the notification's own ValueName instead of a copy.
 * Caught: bugcheck 0x50 or 0x135 where the work item reads the name; the reason names the notification.
 */
#include "wrong.h"

static PIO_WORKITEM item;
static PDRIVER_OBJECT self;
static volatile ULONG seen;

/* Static, and its name begins with L: on x64 the symbol table does not have it, only DWARF does. */
static VOID NTAPI LaterOnName(PDEVICE_OBJECT device, PVOID name)
{
    UNICODE_STRING copy;
    WCHAR buffer[32];

    UNREFERENCED_PARAMETER(device);
    copy.Buffer = buffer;
    copy.Length = 0;
    copy.MaximumLength = sizeof(buffer);
    RtlCopyUnicodeString(&copy, name);
    seen += copy.Length;
    IoFreeWorkItem(item);
    item = NULL;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (item == NULL && IsTrigger(notify_class, information)) {
        item = IoAllocateWorkItem(self->DeviceObject);
        if (item != NULL) {
            IoQueueWorkItem(item, LaterOnName, DelayedWorkQueue, ((PREG_SET_VALUE_KEY_INFORMATION)information)->ValueName);
        }
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNREFERENCED_PARAMETER(service);
    self = driver;
    return WrongStart(driver, Callback);
}
