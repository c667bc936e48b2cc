/*
 * What images are made of: code in INIT that goes away, pageable code, a large .bss, a section of its own, exports;
 * and what bigger drivers carry along: tracing, remove locks, names with wild cards, one-time initialisation.
 *
 * harness: since 6.0
 */
#include "field.h"

#define TAG 'rtTF'
#define IOCTL_NORMAL FIELD_IOCTL(0, METHOD_BUFFERED) /* output: RESULTS ULONGs */
#define IOCTL_INIT FIELD_IOCTL(1, METHOD_BUFFERED)   /* wrong: calls what is gone */
#define IOCTL_PAGED FIELD_IOCTL(2, METHOD_BUFFERED)  /* wrong: calls pageable code at DISPATCH_LEVEL */
#define RESULTS 12
#define LARGE (1 << 20)


static UCHAR large[LARGE];
static IO_REMOVE_LOCK remove_lock;
static RTL_RUN_ONCE once;
static ULONG initialised;
static REGHANDLE provider;
__attribute__((section(".own"))) volatile ULONG own = 0x12345678;

__declspec(dllexport) ULONG TraitsVersion(VOID);
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service) __attribute__((section("INIT")));
static ULONG InitOnly(ULONG value) __attribute__((section("INIT"), noinline));
static ULONG Paged(ULONG value) __attribute__((section("PAGE"), noinline));

__declspec(dllexport) ULONG TraitsVersion(VOID)
{
    return 7;
}

static ULONG InitOnly(ULONG value)
{
    return value + own;
}

static ULONG Paged(ULONG value)
{
    return value * 3 + (KeGetCurrentIrql() > APC_LEVEL);
}

static ULONG NTAPI Initialise(PRTL_RUN_ONCE run, PVOID parameter, PVOID *context)
{
    UNREFERENCED_PARAMETER(run);
    initialised++;
    *context = parameter;
    return TRUE;
}

static BOOLEAN Matches(PCWSTR expression, PCWSTR name)
{
    UNICODE_STRING wild, text;

    RtlInitUnicodeString(&wild, expression);
    RtlInitUnicodeString(&text, name);
    return FsRtlIsNameInExpression(&wild, &text, TRUE, NULL);
}

static VOID Normal(PULONG results)
{
    PVOID context = NULL;
    ULONG index;

    for (index = 0; index < LARGE; index += 0x1000) {
        results[0] += large[index]++;
    }
    results[1] = own++;
    results[2] = TraitsVersion();
    results[3] = Paged(5);
    results[4] = Matches(L"*\\SOFTWARE\\*", L"\\Registry\\Machine\\Software\\Vendor") && !Matches(L"*\\SOFTWARE\\*", L"\\x");
    results[5] = Matches(L"A?C*.TXT", L"abcd.txt") && !Matches(L"A?C", L"ac") && Matches(L"*", L"");
    RtlRunOnceExecuteOnce(&once, Initialise, (PVOID)(ULONG_PTR)0x40, &context);
    RtlRunOnceExecuteOnce(&once, Initialise, (PVOID)(ULONG_PTR)0x80, &context);
    results[6] = initialised;
    results[7] = (ULONG)(ULONG_PTR)context;
    results[8] = EtwProviderEnabled(provider, 5, 0);
    results[9] = SharedUserData->NtMajorVersion * 100 + SharedUserData->NtMinorVersion;
    results[10] = KeGetCurrentIrql();
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG results[RESULTS] = {0};
    ULONG(*volatile call)(ULONG) = Paged;
    NTSTATUS status;
    KIRQL irql;

    UNREFERENCED_PARAMETER(device);
    status = IoAcquireRemoveLock(&remove_lock, irp);
    if (!NT_SUCCESS(status)) {
        return FieldComplete(irp, status, 0);
    }
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_NORMAL:
        Normal(results);
        break;
    case IOCTL_INIT:
        call = InitOnly;
        results[0] = call(1);
        break;
    case IOCTL_PAGED:
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
        results[0] = call(1);
        KeLowerIrql(irql);
        break;
    default:
        break;
    }
    if (stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(results)) {
        status = STATUS_BUFFER_TOO_SMALL;
    } else {
        RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, results, sizeof(results));
    }
    IoReleaseRemoveLock(&remove_lock, irp);
    return FieldComplete(irp, status, NT_SUCCESS(status) ? sizeof(results) : 0);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    IoAcquireRemoveLock(&remove_lock, driver);
    IoReleaseRemoveLockAndWait(&remove_lock, driver);
    EtwUnregister(provider);
    FieldDelete(driver, L"\\DosDevices\\FieldTraits");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    static const GUID id = {0x2f1a8c3d, 0x5b7e, 0x4c90, {0xa1, 0x22, 0x3d, 0x4f, 0x91, 0x6b, 0x70, 0x08}};
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    IoInitializeRemoveLock(&remove_lock, TAG, 0, 0);
    RtlRunOnceInitialize(&once);
    if (InitOnly(1) != own + 1) {
        return STATUS_UNSUCCESSFUL;
    }
    status = EtwRegister(&id, NULL, NULL, &provider);
    if (NT_SUCCESS(status)) {
        status = FieldCreate(driver, L"\\Device\\FieldTraits", L"\\DosDevices\\FieldTraits", 0, Control, Unload);
        if (!NT_SUCCESS(status)) {
            EtwUnregister(provider);
        }
    }
    return status;
}
