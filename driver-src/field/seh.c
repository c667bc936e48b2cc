/*
 * Structured exception handling as the compilers of Windows make it: filters that look at the code, __finally,
 * nesting, exceptions that filters pass on, that are raised in a filter's reach, continued, and that cross
 * functions. For compilers that know __try.
 *
 * harness: since 6.0
 */
#include "field.h"

#define IOCTL_RUN FIELD_IOCTL(0, METHOD_NEITHER) /* input: an address to read; output: ULONG RESULTS */
#define RESULTS 12

NTSYSAPI VOID NTAPI ExRaiseStatus(NTSTATUS status);

static volatile LONG trace;
static LARGE_INTEGER cookie;
static volatile LONG guarded_reads;

static __attribute__((noinline)) ULONG Touch(volatile ULONG *address)
{
    return *address;
}

static __attribute__((noinline)) VOID Raise(NTSTATUS status)
{
    ExRaiseStatus(status);
}

static ULONG ConstantFilter(volatile ULONG *address)
{
    ULONG value = 1;

    __try {
        value = Touch(address);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        value = GetExceptionCode();
    }
    return value;
}

static ULONG CodeFilter(NTSTATUS raised)
{
    __try {
        __try {
            Raise(raised);
        } __except (GetExceptionCode() == STATUS_ACCESS_VIOLATION ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH) {
            return 1;
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        return 2;
    }
    return 3;
}

static LONG Remember(PEXCEPTION_POINTERS pointers, PULONG_PTR where)
{
    *where = pointers->ExceptionRecord->NumberParameters == 2 ? pointers->ExceptionRecord->ExceptionInformation[1] : 0;
    return EXCEPTION_EXECUTE_HANDLER;
}

static ULONG Information(volatile ULONG *address)
{
    ULONG_PTR where = 1;

    __try {
        Touch(address);
    } __except (Remember(GetExceptionInformation(), &where)) {
        return where == (ULONG_PTR)address;
    }
    return 2;
}

static __attribute__((noinline)) VOID WithFinally(NTSTATUS raised)
{
    __try {
        InterlockedIncrement(&trace);
        if (raised != 0) {
            Raise(raised);
        }
    } __finally {
        InterlockedExchangeAdd(&trace, AbnormalTermination() ? 0x100 : 0x10);
    }
}

static ULONG Finally(NTSTATUS raised)
{
    trace = 0;
    __try {
        WithFinally(raised);
        InterlockedExchangeAdd(&trace, 0x1000);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        InterlockedExchangeAdd(&trace, 0x10000);
    }
    return trace;
}

static ULONG Deep(ULONG depth, volatile ULONG *address)
{
    volatile UCHAR room[64];

    room[depth % sizeof(room)] = (UCHAR)depth;
    if (depth == 0) {
        return Touch(address);
    }
    return Deep(depth - 1, address) + room[depth % sizeof(room)];
}

static ULONG InHandler(volatile ULONG *address)
{
    ULONG result = 0;

    __try {
        __try {
            Deep(12, address);
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            result |= 1;
            Raise(STATUS_INVALID_PARAMETER); /* in a handler: the next one out takes it */
        }
    } __except (GetExceptionCode() == STATUS_INVALID_PARAMETER) {
        result |= 2;
    }
    return result;
}

static ULONG Probing(volatile ULONG *address)
{
    __try {
        ProbeForRead((PVOID)address, 4, 4);
        return Touch(address);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        return GetExceptionCode();
    }
}

static ULONG Loop(volatile ULONG *address)
{
    ULONG count = 0, index;

    for (index = 0; index < 100; index++) {
        __try {
            Touch(address);
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            count++;
            continue;
        }
    }
    return count;
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    PREG_SET_VALUE_KEY_INFORMATION set = argument2;
    NTSTATUS status = STATUS_SUCCESS;

    UNREFERENCED_PARAMETER(context);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 != RegNtPreSetValueKey || set->DataSize < sizeof(ULONG)) {
        return STATUS_SUCCESS;
    }
    __try {
        if (Touch(set->Data) == 0xDEADBEEF) {
            status = STATUS_ACCESS_DENIED;
        }
        InterlockedIncrement(&guarded_reads);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        status = GetExceptionCode();
    }
    return status;
}

static VOID Run(PULONG results, PULONG user, PULONG bad)
{
    results[0] = ConstantFilter(bad);
    results[1] = CodeFilter(STATUS_ACCESS_VIOLATION);
    results[2] = CodeFilter(STATUS_NO_MEMORY);
    results[3] = Information(bad);
    results[4] = Finally(0);
    results[5] = Finally(STATUS_UNSUCCESSFUL);
    results[6] = InHandler(bad);
    results[7] = Probing(user);
    results[8] = Probing(bad);
    results[9] = Probing((PULONG)((PUCHAR)user + 1));
    results[10] = Loop(bad);
    results[11] = (ULONG)guarded_reads;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    NTSTATUS status = STATUS_SUCCESS;
    ULONG results[RESULTS], bad = 0;

    UNREFERENCED_PARAMETER(device);
    if (stack->Parameters.DeviceIoControl.IoControlCode != IOCTL_RUN ||
        stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(results)) {
        return FieldComplete(irp, STATUS_INVALID_PARAMETER, 0);
    }
    __try {
        bad = Touch(stack->Parameters.DeviceIoControl.Type3InputBuffer);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        return FieldComplete(irp, GetExceptionCode(), 0);
    }
    Run(results, stack->Parameters.DeviceIoControl.Type3InputBuffer, (PULONG)(ULONG_PTR)bad);
    __try {
        ProbeForWrite(irp->UserBuffer, sizeof(results), sizeof(ULONG));
        memcpy(irp->UserBuffer, results, sizeof(results));
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        status = GetExceptionCode();
    }
    return FieldComplete(irp, status, NT_SUCCESS(status) ? sizeof(results) : 0);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(cookie);
    FieldDelete(driver, L"\\DosDevices\\FieldSeh");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"385432");
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    status = FieldCreate(driver, L"\\Device\\FieldSeh", L"\\DosDevices\\FieldSeh", 0, Control, Unload);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &cookie, NULL);
        if (!NT_SUCCESS(status)) {
            FieldDelete(driver, L"\\DosDevices\\FieldSeh");
        }
    }
    return status;
}
