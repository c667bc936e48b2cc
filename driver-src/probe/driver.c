/*
 * Entry, unload, the device and its requests.
 */
#include "regprobe_internal.h"

#define DEVICE_NAME L"\\Device\\RegProbe"
#define LINK_NAME L"\\DosDevices\\RegProbe"

PROBE probe;

DRIVER_INITIALIZE DriverEntry;

/*
 * Self-relative security descriptor: protected DACL, full access for SYSTEM (S-1-5-18) and the
 * administrators (S-1-5-32-544), nobody else: D:P(A;;GA;;;SY)(A;;GA;;;BA).
 */
static const UCHAR device_security[] = {
    1, 0, 0x04, 0x90,          /* revision, SE_DACL_PRESENT | SE_DACL_PROTECTED | SE_SELF_RELATIVE */
    0, 0, 0, 0, 0, 0, 0, 0,    /* owner, group: none */
    0, 0, 0, 0, 20, 0, 0, 0,   /* SACL: none, DACL at 20 */
    2, 0, 52, 0, 2, 0, 0, 0,   /* ACL revision 2, 52 bytes, 2 entries */
    0, 0, 20, 0, 0xFF, 0x01, 0x1F, 0x00, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
    0, 0, 24, 0, 0xFF, 0x01, 0x1F, 0x00, 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 0x02, 0, 0,
};

/* Between IoCreateDevice and the end of initialisation nobody can open the device. */
static INIT_CODE NTSTATUS SecureDevice(PDEVICE_OBJECT device)
{
    HANDLE handle;
    NTSTATUS status;

    status = ObOpenObjectByPointer(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = ZwSetSecurityObject(
        handle, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION, (PSECURITY_DESCRIPTOR)device_security);
    ZwClose(handle);
    return status;
}

/* Parameters\RingSlots of the service key (REG_DWORD), or the default. */
static INIT_CODE ULONG ConfiguredSlots(PUNICODE_STRING service)
{
    struct {
        KEY_VALUE_PARTIAL_INFORMATION information;
        UCHAR more[16];
    } value;
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING name;
    HANDLE key, parameters;
    ULONG length, slots = REGPROBE_RING_SLOTS;
    NTSTATUS status;

    InitializeObjectAttributes(&attributes, service, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes))) {
        return slots;
    }
    RtlInitUnicodeString(&name, L"Parameters");
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, key, NULL);
    status = ZwOpenKey(&parameters, KEY_READ, &attributes);
    ZwClose(key);
    if (!NT_SUCCESS(status)) {
        return slots;
    }
    RtlInitUnicodeString(&name, L"RingSlots");
    status = ZwQueryValueKey(parameters, &name, KeyValuePartialInformation, &value, sizeof(value), &length);
    if (NT_SUCCESS(status) && value.information.Type == REG_DWORD && value.information.DataLength == sizeof(ULONG)) {
        RtlCopyMemory(&slots, value.information.Data, sizeof(slots));
    }
    ZwClose(parameters);
    return slots;
}

static INIT_CODE VOID LearnSystem(VOID)
{
    RTL_OSVERSIONINFOEXW version;
    LARGE_INTEGER frequency;

    RtlZeroMemory(&version, sizeof(version));
    version.dwOSVersionInfoSize = sizeof(version);
    RtlGetVersion((PRTL_OSVERSIONINFOW)&version);
    probe.os_major = version.dwMajorVersion;
    probe.os_minor = version.dwMinorVersion;
    probe.os_build = version.dwBuildNumber;
    probe.os_service_pack = version.wServicePackMajor;
    probe.short_structures = probe.os_major < 6;
    probe.pool_type = probe.os_major > 6 || (probe.os_major == 6 && probe.os_minor >= 2) ? PROBE_NON_PAGED_POOL_NX
                                                                                        : NonPagedPool;
    RoutinesResolve(&probe.routines);
    if (probe.routines.get_callback_version != NULL) {
        probe.routines.get_callback_version(&probe.callback_major, &probe.callback_minor);
    }
    KeQueryPerformanceCounter(&frequency);
    probe.time_frequency = frequency.QuadPart;
}

static NTSTATUS Complete(PIRP irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI DispatchOpenClose(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    return Complete(irp, STATUS_SUCCESS, 0);
}

/* Checks the header every request starts with; `size` is that of the record the code takes. */
static NTSTATUS CheckRequest(const VOID *buffer, ULONG length, ULONG size)
{
    const REGPROBE_HEADER *header = buffer;

    if (buffer == NULL || length < sizeof(*header)) {
        return STATUS_INVALID_PARAMETER;
    }
    if ((header->abi_version >> 16) != REGPROBE_ABI_MAJOR) {
        return PROBE_STATUS_REVISION_MISMATCH;
    }
    if (header->size != size || length < size) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    return STATUS_SUCCESS;
}

static VOID Info(REGPROBE_INFO_REPLY *reply)
{
    RtlZeroMemory(reply, sizeof(*reply));
    reply->abi_version = REGPROBE_ABI_VERSION;
    reply->size = sizeof(*reply);
    reply->os_major = probe.os_major;
    reply->os_minor = probe.os_minor;
    reply->os_build = probe.os_build;
    reply->os_service_pack = probe.os_service_pack;
    reply->callback_major = probe.callback_major;
    reply->callback_minor = probe.callback_minor;
    reply->routines = probe.routines.found;
    reply->pointer_size = sizeof(PVOID);
    reply->max_filters = REGPROBE_MAX_FILTERS;
    reply->ring_slots = probe.ring.slots;
    reply->event_size = sizeof(REGPROBE_EVENT);
    reply->time_frequency = (ULONG64)probe.time_frequency;
    reply->time = (ULONG64)KeQueryPerformanceCounter(NULL).QuadPart;
}

static VOID Statistics(REGPROBE_STATISTICS_REPLY *reply)
{
    RtlZeroMemory(reply, sizeof(*reply));
    RingTotals(&reply->recorded, &reply->dropped);
    reply->faults = (ULONG)probe.faults;
    reply->live_contexts = (ULONG64)(LONG64)probe.live_contexts;
    reply->pool_allocations = (ULONG)probe.pool_allocations;
    reply->pool_bytes = (ULONG)probe.pool_bytes;
    reply->filters = FiltersCount(&reply->in_flight);
    reply->rules = probe.rule_count;
    reply->ring_slots = probe.ring.slots;
}

static VOID Reset(VOID)
{
    GatesOpen();
    FiltersRemoveAll();
    GatesClose();
    RingReset();
    InterlockedExchange(&probe.faults, 0);
}

/*
 * One request. `buffer` holds the input and receives the output (METHOD_BUFFERED), so a request record is
 * copied to `request` before a reply overwrites it.
 */
static NTSTATUS Control(ULONG code, PVOID buffer, ULONG input, ULONG output, PVOID request, ULONG_PTR *used)
{
    NTSTATUS status;

#define REQUEST(type)                                                \
    do {                                                             \
        status = CheckRequest(buffer, input, sizeof(type));          \
        if (!NT_SUCCESS(status)) {                                   \
            return status;                                           \
        }                                                            \
        RtlCopyMemory(request, buffer, sizeof(type));                \
    } while (0)
#define REPLY(type)                                                  \
    do {                                                             \
        if (buffer == NULL || output < sizeof(type)) {               \
            return STATUS_BUFFER_TOO_SMALL;                          \
        }                                                            \
    } while (0)

    switch (code) {
    case IOCTL_REGPROBE_INFO: /* answered to anybody: both versions can be named in an error */
        REPLY(REGPROBE_INFO_REPLY);
        Info(buffer);
        *used = sizeof(REGPROBE_INFO_REPLY);
        return STATUS_SUCCESS;
    case IOCTL_REGPROBE_ADD_FILTER:
        REQUEST(REGPROBE_ADD_FILTER);
        REPLY(REGPROBE_ADD_FILTER_REPLY);
        status = FilterAdd(request, buffer);
        *used = NT_SUCCESS(status) ? sizeof(REGPROBE_ADD_FILTER_REPLY) : 0;
        return status;
    case IOCTL_REGPROBE_REMOVE_FILTER:
        REQUEST(REGPROBE_REMOVE_FILTER);
        REPLY(REGPROBE_REMOVE_FILTER_REPLY);
        status = FilterRemove(request, buffer);
        *used = NT_SUCCESS(status) ? sizeof(REGPROBE_REMOVE_FILTER_REPLY) : 0;
        return status;
    case IOCTL_REGPROBE_SET_RULE: {
        REGPROBE_RULE_REPLY reply = {0, 0};

        REQUEST(REGPROBE_RULE);
        REPLY(REGPROBE_RULE_REPLY);
        status = RuleAdd(request, &reply.rule_id);
        if (NT_SUCCESS(status)) {
            RtlCopyMemory(buffer, &reply, sizeof(reply));
            *used = sizeof(reply);
        }
        return status;
    }
    case IOCTL_REGPROBE_CLEAR_RULES:
        REQUEST(REGPROBE_CLEAR_RULES);
        return RulesClear(((REGPROBE_CLEAR_RULES *)request)->filter_id, ((REGPROBE_CLEAR_RULES *)request)->rule_id);
    case IOCTL_REGPROBE_DRAIN: {
        ULONG bytes = 0;

        REQUEST(REGPROBE_DRAIN);
        status = RingDrain(buffer, output, ((REGPROBE_DRAIN *)request)->max_events, &bytes);
        *used = bytes;
        return status;
    }
    case IOCTL_REGPROBE_STATISTICS:
        REQUEST(REGPROBE_HEADER);
        REPLY(REGPROBE_STATISTICS_REPLY);
        Statistics(buffer);
        *used = sizeof(REGPROBE_STATISTICS_REPLY);
        return STATUS_SUCCESS;
    case IOCTL_REGPROBE_KERNEL_CALL:
        REQUEST(REGPROBE_KERNEL_CALL);
        REPLY(REGPROBE_KERNEL_CALL_REPLY);
        status = KernelCall(request, buffer);
        *used = NT_SUCCESS(status) ? sizeof(REGPROBE_KERNEL_CALL_REPLY) : 0;
        return status;
    case IOCTL_REGPROBE_RESET:
        REQUEST(REGPROBE_HEADER);
        Reset();
        return STATUS_SUCCESS;
    case IOCTL_REGPROBE_CRASH:
        REQUEST(REGPROBE_CRASH);
        return CrashSystem(request);
    case IOCTL_REGPROBE_GATE:
        REQUEST(REGPROBE_GATE);
        REPLY(REGPROBE_GATE_REPLY);
        status = GateRequest(request, buffer);
        *used = NT_SUCCESS(status) ? sizeof(REGPROBE_GATE_REPLY) : 0;
        return status;
    default:
        return STATUS_INVALID_DEVICE_REQUEST;
    }
#undef REQUEST
#undef REPLY
}

/* Room for the largest request record. */
typedef union _ANY_REQUEST {
    REGPROBE_ADD_FILTER add_filter;
    REGPROBE_RULE rule;
    REGPROBE_KERNEL_CALL kernel_call;
} ANY_REQUEST;

static NTSTATUS NTAPI DispatchControl(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ANY_REQUEST *request = ProbeAllocate(sizeof(*request)); /* too large for a kernel stack */
    ULONG_PTR used = 0;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(device);
    if (request == NULL) {
        return Complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    }
    status = Control(
        stack->Parameters.DeviceIoControl.IoControlCode,
        irp->AssociatedIrp.SystemBuffer,
        stack->Parameters.DeviceIoControl.InputBufferLength,
        stack->Parameters.DeviceIoControl.OutputBufferLength,
        request,
        &used);
    ProbeFree(request);
    return Complete(irp, status, used);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNICODE_STRING link;

    RtlInitUnicodeString(&link, LINK_NAME);
    IoDeleteSymbolicLink(&link);
    GatesOpen();
    FiltersRemoveAll();
    RulesFreeKept();
    RingDestroy();
    IoDeleteDevice(driver->DeviceObject);
}

INIT_CODE NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING name, link;
    NTSTATUS status;

    probe.driver = driver;
    KeInitializeSpinLock(&probe.rules_lock);
    ExInitializeFastMutex(&probe.control);
    GatesCreate();
    LearnSystem();
    status = RingCreate(ConfiguredSlots(service));
    if (!NT_SUCCESS(status)) {
        return status;
    }
    RtlInitUnicodeString(&name, DEVICE_NAME);
    RtlInitUnicodeString(&link, LINK_NAME);
    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &probe.device);
    if (NT_SUCCESS(status)) {
        status = SecureDevice(probe.device);
        if (NT_SUCCESS(status)) {
            status = IoCreateSymbolicLink(&link, &name);
        }
        if (!NT_SUCCESS(status)) {
            IoDeleteDevice(probe.device);
        }
    }
    if (!NT_SUCCESS(status)) {
        RingDestroy();
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = DispatchOpenClose;
    driver->MajorFunction[IRP_MJ_CLEANUP] = DispatchOpenClose;
    driver->MajorFunction[IRP_MJ_CLOSE] = DispatchOpenClose;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = DispatchControl;
    driver->DriverUnload = Unload;
    probe.device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}
