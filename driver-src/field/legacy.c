/*
 * A filter as written for Windows XP: CmRegisterCallback, the structures of that time, a fast mutex and a table
 * of what every process did.
 *
 * harness: x86 only
 * harness: since 5.1
 */
#include "field.h"

#define TAG 'geLF'
#define IOCTL_TABLE FIELD_IOCTL(0, METHOD_BUFFERED) /* output: ENTRY, one for each process */

typedef struct _ENTRY {
    ULONG process;
    ULONG created, opened, set, denied;
    CHAR image[16];
} ENTRY, *PENTRY;

/* The structure of XP: no root object, the name in full. */
typedef struct _OLD_CREATE {
    PUNICODE_STRING complete_name;
} OLD_CREATE;

typedef struct _OLD_POST_CREATE {
    PUNICODE_STRING complete_name;
    PVOID object;
    NTSTATUS status;
} OLD_POST_CREATE;

static LARGE_INTEGER cookie;
static FAST_MUTEX lock;
static RTL_AVL_TABLE table;

static RTL_GENERIC_COMPARE_RESULTS NTAPI Compare(PRTL_AVL_TABLE of, PVOID first, PVOID second)
{
    ULONG one = ((PENTRY)first)->process, two = ((PENTRY)second)->process;

    UNREFERENCED_PARAMETER(of);
    return one < two ? GenericLessThan : one > two ? GenericGreaterThan : GenericEqual;
}

static PVOID NTAPI Allocate(PRTL_AVL_TABLE of, CLONG size)
{
    UNREFERENCED_PARAMETER(of);
    return ExAllocatePoolWithTag(PagedPool, size, TAG);
}

static VOID NTAPI Free(PRTL_AVL_TABLE of, PVOID buffer)
{
    UNREFERENCED_PARAMETER(of);
    ExFreePoolWithTag(buffer, TAG);
}

/* The entry of this process, with the lock held; NULL without memory. */
static PENTRY Mine(VOID)
{
    ENTRY wanted = {0};
    BOOLEAN created;

    wanted.process = HandleToULong(PsGetCurrentProcessId());
    strncpy(wanted.image, (PCSTR)PsGetProcessImageFileName(IoGetCurrentProcess()), sizeof(wanted.image) - 1);
    return RtlInsertElementGenericTableAvl(&table, &wanted, sizeof(wanted), &created);
}

static BOOLEAN Locked(PUNICODE_STRING name)
{
    UNICODE_STRING locked;

    RtlInitUnicodeString(&locked, L"locked");
    return name != NULL && RtlEqualUnicodeString(name, &locked, TRUE);
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    NTSTATUS status = STATUS_SUCCESS;
    PENTRY mine;

    UNREFERENCED_PARAMETER(context);
    if (argument2 == NULL) {
        return STATUS_SUCCESS;
    }
    ExAcquireFastMutex(&lock);
    mine = Mine();
    if (mine != NULL) {
        switch ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1) {
        case RegNtPostCreateKey:
            mine->created += NT_SUCCESS(((OLD_POST_CREATE *)argument2)->status);
            break;
        case RegNtPreOpenKey:
            mine->opened += ((OLD_CREATE *)argument2)->complete_name->Length != 0;
            break;
        case RegNtPreSetValueKey:
            mine->set++;
            if (Locked(((PREG_SET_VALUE_KEY_INFORMATION)argument2)->ValueName)) {
                mine->denied++;
                status = STATUS_ACCESS_DENIED;
            }
            break;
        case RegNtPreDeleteValueKey:
            if (Locked(((PREG_DELETE_VALUE_KEY_INFORMATION)argument2)->ValueName)) {
                mine->denied++;
                status = STATUS_ACCESS_DENIED;
            }
            break;
        default:
            break;
        }
    }
    ExReleaseFastMutex(&lock);
    return status;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG room = stack->Parameters.DeviceIoControl.OutputBufferLength / sizeof(ENTRY), done = 0;
    PENTRY output = irp->AssociatedIrp.SystemBuffer, entry;
    PVOID restart = NULL;

    UNREFERENCED_PARAMETER(device);
    if (stack->Parameters.DeviceIoControl.IoControlCode != IOCTL_TABLE) {
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    ExAcquireFastMutex(&lock);
    DbgPrint("legacy: %u processes\n", RtlNumberGenericTableElementsAvl(&table));
    while (done < room && (entry = RtlEnumerateGenericTableWithoutSplayingAvl(&table, &restart)) != NULL) {
        output[done++] = *entry;
    }
    ExReleaseFastMutex(&lock);
    return FieldComplete(irp, STATUS_SUCCESS, done * sizeof(ENTRY));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    PENTRY entry;

    CmUnRegisterCallback(cookie);
    while ((entry = RtlGetElementGenericTableAvl(&table, 0)) != NULL) {
        RtlDeleteElementGenericTableAvl(&table, entry);
    }
    FieldDelete(driver, L"\\DosDevices\\FieldLegacy");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    ExInitializeFastMutex(&lock);
    RtlInitializeGenericTableAvl(&table, Compare, Allocate, Free, NULL);
    status = FieldCreate(driver, L"\\Device\\FieldLegacy", L"\\DosDevices\\FieldLegacy", 0, Control, Unload);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallback(Callback, NULL, &cookie);
        if (!NT_SUCCESS(status)) {
            FieldDelete(driver, L"\\DosDevices\\FieldLegacy");
        }
    }
    return status;
}
