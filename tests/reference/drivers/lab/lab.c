/* A driver of experiments: each control code runs one against the kernel API and reports what came of it. */
#include <ntifs.h>

#define TAG 'baLk'
#define CODE(n) CTL_CODE(FILE_DEVICE_UNKNOWN, 0x900 + (n), METHOD_BUFFERED, FILE_ANY_ACCESS)

typedef struct { RTL_BALANCED_LINKS links; ULONG key; ULONG value; } ELEMENT;

static KEVENT stop_event, work_event, done_event;
static KSPIN_LOCK lock;
static FAST_MUTEX mutex;
static PVOID worker;
static LONG rounds, dpc_irql, item_irql;
static PIO_WORKITEM item;
static KTIMER timer;
static KDPC dpc;
static PIRP pending;
static RTL_AVL_TABLE table;
static NPAGED_LOOKASIDE_LIST lookaside;
static ERESOURCE resource;

/* A worker as drivers have them: waits for work or the end, and answers each round. */
static VOID NTAPI Worker(PVOID context)
{
    PVOID objects[2] = {&stop_event, &work_event};

    UNREFERENCED_PARAMETER(context);
    for (;;) {
        NTSTATUS status = KeWaitForMultipleObjects(2, objects, WaitAny, Executive, KernelMode, FALSE, NULL, NULL);
        if (status == STATUS_WAIT_0) {
            break;
        }
        InterlockedIncrement(&rounds);
        KeSetEvent(&done_event, IO_NO_INCREMENT, FALSE);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static VOID NTAPI OnDpc(PKDPC object, PVOID context, PVOID first, PVOID second)
{
    UNREFERENCED_PARAMETER(object);
    UNREFERENCED_PARAMETER(first);
    UNREFERENCED_PARAMETER(second);
    dpc_irql = KeGetCurrentIrql();
    KeSetEvent((PKEVENT)context, IO_NO_INCREMENT, FALSE);
}

static VOID NTAPI OnItem(PDEVICE_OBJECT device, PVOID context)
{
    PIRP irp = context;

    UNREFERENCED_PARAMETER(device);
    item_irql = KeGetCurrentIrql();
    *(ULONG *)irp->AssociatedIrp.SystemBuffer = 0x600D;
    irp->IoStatus.Status = STATUS_SUCCESS;
    irp->IoStatus.Information = sizeof(ULONG);
    IoCompleteRequest(irp, IO_NO_INCREMENT);
}

static RTL_GENERIC_COMPARE_RESULTS NTAPI Compare(PRTL_AVL_TABLE t, PVOID a, PVOID b)
{
    ULONG x = *(ULONG *)a, y = *(ULONG *)b;

    UNREFERENCED_PARAMETER(t);
    return x < y ? GenericLessThan : x > y ? GenericGreaterThan : GenericEqual;
}

static PVOID NTAPI Allocate(PRTL_AVL_TABLE t, CLONG size)
{
    UNREFERENCED_PARAMETER(t);
    return ExAllocatePoolWithTag(PagedPool, size, TAG);
}

static VOID NTAPI Free(PRTL_AVL_TABLE t, PVOID buffer)
{
    UNREFERENCED_PARAMETER(t);
    ExFreePoolWithTag(buffer, TAG);
}

/* 0: one round of the worker thread. 1: a timer with a DPC after 50 ms. */
static ULONG RunThread(VOID)
{
    KeSetEvent(&work_event, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(&done_event, Executive, KernelMode, FALSE, NULL);
    return (ULONG)rounds;
}

static ULONG RunTimer(VOID)
{
    KEVENT fired;
    LARGE_INTEGER due, before, after;

    KeInitializeEvent(&fired, NotificationEvent, FALSE);
    KeInitializeDpc(&dpc, OnDpc, &fired);
    KeInitializeTimer(&timer);
    due.QuadPart = -500000;
    before.QuadPart = (LONGLONG)KeQueryInterruptTime();
    KeSetTimer(&timer, due, &dpc);
    KeWaitForSingleObject(&fired, Executive, KernelMode, FALSE, NULL);
    after.QuadPart = (LONGLONG)KeQueryInterruptTime();
    return (ULONG)(after.QuadPart - before.QuadPart >= 300000 ? dpc_irql : 0xBAD);
}

static ULONG RunTimeout(VOID)
{
    KEVENT never;
    LARGE_INTEGER due;

    KeInitializeEvent(&never, SynchronizationEvent, FALSE);
    due.QuadPart = -10 * 10000000LL;
    return (ULONG)KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, &due);
}

static ULONG RunTable(VOID)
{
    static const ULONG keys[] = {50, 20, 80, 20, 10, 90};
    ULONG pair[2], n, sum = 0, place = 1;
    PVOID restart = NULL;
    ULONG *found;
    BOOLEAN fresh;

    RtlInitializeGenericTableAvl(&table, Compare, Allocate, Free, NULL);
    for (n = 0; n < RTL_NUMBER_OF(keys); n++) {
        pair[0] = keys[n];
        pair[1] = n;
        RtlInsertElementGenericTableAvl(&table, pair, sizeof(pair), &fresh);
    }
    while ((found = RtlEnumerateGenericTableWithoutSplayingAvl(&table, &restart)) != NULL) {
        sum += found[0] * place;
        place *= 10;
    }
    n = RtlNumberGenericTableElementsAvl(&table);
    while ((found = RtlGetElementGenericTableAvl(&table, 0)) != NULL) {
        pair[0] = found[0];
        RtlDeleteElementGenericTableAvl(&table, pair);
    }
    return sum * 10 + n;
}

static ULONG RunFile(VOID)
{
    UNICODE_STRING name;
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK iosb;
    LARGE_INTEGER at;
    HANDLE handle;
    NTSTATUS status;

    RtlInitUnicodeString(&name, L"\\??\\C:\\harness\\lab.txt");
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwCreateFile(&handle, GENERIC_WRITE | SYNCHRONIZE, &attributes, &iosb, NULL, FILE_ATTRIBUTE_NORMAL, 0,
        FILE_OVERWRITE_IF, FILE_SYNCHRONOUS_IO_NONALERT, NULL, 0);
    if (!NT_SUCCESS(status)) {
        return (ULONG)status;
    }
    at.QuadPart = 0;
    status = ZwWriteFile(handle, NULL, NULL, NULL, &iosb, "written by a driver", 19, &at, NULL);
    ZwClose(handle);
    return NT_SUCCESS(status) ? (ULONG)iosb.Information : (ULONG)status;
}

static ULONG RunLocks(VOID)
{
    KIRQL old;
    ULONG seen = 0;
    PVOID a, b;

    KeAcquireSpinLock(&lock, &old);
    seen = seen * 10 + KeGetCurrentIrql();
    KeReleaseSpinLock(&lock, old);
    ExAcquireFastMutex(&mutex);
    seen = seen * 10 + KeGetCurrentIrql();
    ExReleaseFastMutex(&mutex);
    KeEnterCriticalRegion();
    ExAcquireResourceExclusiveLite(&resource, TRUE);
    seen = seen * 10 + (ExIsResourceAcquiredExclusiveLite(&resource) ? 7 : 0);
    ExReleaseResourceLite(&resource);
    KeLeaveCriticalRegion();
    a = ExAllocateFromNPagedLookasideList(&lookaside);
    ExFreeToNPagedLookasideList(&lookaside, a);
    b = ExAllocateFromNPagedLookasideList(&lookaside);
    seen = seen * 10 + (a == b);
    ExFreeToNPagedLookasideList(&lookaside, b);
    return seen * 10 + KeGetCurrentIrql();
}

static ULONG RunProcess(VOID)
{
    PEPROCESS process;
    NTSTATUS status = PsLookupProcessByProcessId(PsGetCurrentProcessId(), &process);
    ULONG same;

    if (!NT_SUCCESS(status)) {
        return (ULONG)status;
    }
    same = process == PsGetCurrentProcess();
    ObDereferenceObject(process);
    return same && PsInitialSystemProcess != process && PsGetProcessId(process) == PsGetCurrentProcessId();
}

static NTSTATUS Crash(ULONG number, PIRP irp)
{
    static KEVENT never;
    KIRQL old;
    PVOID a;
    UNICODE_STRING text;

    switch (number) {
    case 0: /* a wait nothing satisfies */
        KeInitializeEvent(&never, NotificationEvent, FALSE);
        return KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, NULL);
    case 1: /* the same spin lock twice */
        KeAcquireSpinLock(&lock, &old);
        KeAcquireSpinLockAtDpcLevel(&lock);
        return STATUS_SUCCESS;
    case 2: /* waiting at DISPATCH_LEVEL */
        KeInitializeEvent(&never, NotificationEvent, FALSE);
        KeRaiseIrql(DISPATCH_LEVEL, &old);
        return KeWaitForSingleObject(&never, Executive, KernelMode, FALSE, NULL);
    case 3: /* a reference too few */
        ObDereferenceObject(PsGetCurrentProcess());
        return STATUS_SUCCESS;
    case 4: /* a passive-level routine at DISPATCH_LEVEL */
        KeRaiseIrql(DISPATCH_LEVEL, &old);
        RtlInitUnicodeString(&text, L"ZwClose");
        MmGetSystemRoutineAddress(&text);
        return STATUS_SUCCESS;
    case 5: /* returning at a raised IRQL */
        KeRaiseIrql(APC_LEVEL, &old);
        return STATUS_SUCCESS;
    case 6: /* freeing twice */
        a = ExAllocatePoolWithTag(NonPagedPool, 16, TAG);
        ExFreePoolWithTag(a, TAG);
        ExFreePoolWithTag(a, TAG);
        return STATUS_SUCCESS;
    case 7: /* never completed */
        IoMarkIrpPending(irp);
        pending = irp;
        return STATUS_PENDING;
    case 8: /* a critical region left open */
        KeEnterCriticalRegion();
        return STATUS_SUCCESS;
    case 9: /* on purpose */
        KeBugCheckEx(0xDEAD, 1, 2, 3, 4);
        return STATUS_SUCCESS;
    case 10: /* closing a handle that is not open */
        ZwClose((HANDLE)(ULONG_PTR)0x1234);
        return STATUS_SUCCESS;
    case 11: /* lowering to a higher IRQL */
        KeLowerIrql(DISPATCH_LEVEL);
        return STATUS_SUCCESS;
    default:
        return STATUS_INVALID_PARAMETER;
    }
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION here = IoGetCurrentIrpStackLocation(irp);
    ULONG code = here->Parameters.DeviceIoControl.IoControlCode, in = here->Parameters.DeviceIoControl.InputBufferLength;
    ULONG out = here->Parameters.DeviceIoControl.OutputBufferLength, result = 0, n;
    NTSTATUS status = STATUS_SUCCESS;
    ULONG_PTR information = sizeof(ULONG);
    PUCHAR bytes;

    switch (code) {
    case CODE(0): result = RunThread(); break;
    case CODE(1): result = RunTimer(); break;
    case CODE(2): result = RunTimeout(); break;
    case CODE(3): result = RunTable(); break;
    case CODE(4): result = RunFile(); break;
    case CODE(5): result = RunLocks(); break;
    case CODE(6): result = RunProcess(); break;
    case CODE(7):
        IoMarkIrpPending(irp);
        IoQueueWorkItem(item, OnItem, DelayedWorkQueue, irp);
        return STATUS_PENDING;
    case CODE(8): result = (ULONG)item_irql; break;
    case CODE(9): /* claims more than fits */
        irp->IoStatus.Status = STATUS_SUCCESS;
        irp->IoStatus.Information = out + 100;
        IoCompleteRequest(irp, IO_NO_INCREMENT);
        return STATUS_SUCCESS;
    case CTL_CODE(FILE_DEVICE_UNKNOWN, 0x980, METHOD_IN_DIRECT, FILE_ANY_ACCESS):
    case CTL_CODE(FILE_DEVICE_UNKNOWN, 0x980, METHOD_OUT_DIRECT, FILE_ANY_ACCESS):
        bytes = MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority);
        for (n = 0; n < out; n++) {
            bytes[n] = (UCHAR)(n < in ? ((PUCHAR)irp->AssociatedIrp.SystemBuffer)[n] ^ 0x20 : '.');
        }
        irp->IoStatus.Status = STATUS_SUCCESS;
        irp->IoStatus.Information = out;
        IoCompleteRequest(irp, IO_NO_INCREMENT);
        return STATUS_SUCCESS;
    default:
        if (code >= CODE(0x40) && code < CODE(0x60)) {
            status = Crash((code - CODE(0x40)) >> 2, irp);
            if (status == STATUS_PENDING) {
                return status;
            }
        } else {
            status = STATUS_INVALID_DEVICE_REQUEST;
        }
        information = 0;
        break;
    }
    if (information != 0) {
        if (out < sizeof(ULONG)) {
            status = STATUS_BUFFER_TOO_SMALL;
            information = 0;
        } else {
            *(ULONG *)irp->AssociatedIrp.SystemBuffer = result;
        }
    }
    UNREFERENCED_PARAMETER(device);
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI OpenClose(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    irp->IoStatus.Status = STATUS_SUCCESS;
    irp->IoStatus.Information = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNICODE_STRING link;

    KeSetEvent(&stop_event, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(worker, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(worker);
    ExDeleteNPagedLookasideList(&lookaside);
    ExDeleteResourceLite(&resource);
    IoFreeWorkItem(item);
    RtlInitUnicodeString(&link, L"\\DosDevices\\Lab");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(driver->DeviceObject);
    DbgPrint("lab: %d rounds, unloaded\n", rounds);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING name, link;
    PDEVICE_OBJECT device;
    HANDLE thread;
    NTSTATUS status;

    DbgPrint("lab: %wZ\n", service);
    RtlInitUnicodeString(&name, L"\\Device\\Lab");
    RtlInitUnicodeString(&link, L"\\DosDevices\\Lab");
    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    IoCreateSymbolicLink(&link, &name);
    KeInitializeEvent(&stop_event, NotificationEvent, FALSE);
    KeInitializeEvent(&work_event, SynchronizationEvent, FALSE);
    KeInitializeEvent(&done_event, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&lock);
    ExInitializeFastMutex(&mutex);
    ExInitializeResourceLite(&resource);
    ExInitializeNPagedLookasideList(&lookaside, NULL, NULL, 0, 64, TAG, 0);
    item = IoAllocateWorkItem(device);
    PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Worker, NULL);
    ObReferenceObjectByHandle(thread, THREAD_ALL_ACCESS, *PsThreadType, KernelMode, &worker, NULL);
    ZwClose(thread);
    driver->MajorFunction[IRP_MJ_CREATE] = driver->MajorFunction[IRP_MJ_CLOSE] = OpenClose;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
