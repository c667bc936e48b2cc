/*
 * A protector that keeps the paths of its keys in a prefix table under a reader/writer spin lock, takes paths apart and
 * puts text together with the runtime's counted routines.
 *
 * harness: since 6.0
 */
#include "field.h"

#define TAG 'xpPF'
#define IOCTL_RESULTS FIELD_IOCTL(0, METHOD_BUFFERED) /* output: RESULTS ULONGs, in the order of `Run` */
#define RESULTS 24
#define PROTECTED 3

KIRQL NTAPI ExAcquireSpinLockShared(volatile LONG *lock);
VOID NTAPI ExReleaseSpinLockShared(volatile LONG *lock, KIRQL irql);
VOID NTAPI ExAcquireSpinLockExclusiveAtDpcLevel(volatile LONG *lock);
VOID NTAPI ExReleaseSpinLockExclusiveFromDpcLevel(volatile LONG *lock);
ULONG NTAPI ExTryConvertSharedSpinLockExclusive(volatile LONG *lock);

static UNICODE_PREFIX_TABLE table;
static UNICODE_PREFIX_TABLE_ENTRY entries[PROTECTED];
static UNICODE_STRING prefixes[PROTECTED] = {
    RTL_CONSTANT_STRING(L"\\REGISTRY\\MACHINE\\SOFTWARE\\RegFilterHarness"),
    RTL_CONSTANT_STRING(L"\\REGISTRY\\MACHINE\\SOFTWARE\\Guarded"),
    RTL_CONSTANT_STRING(L"\\REGISTRY\\MACHINE\\SOFTWARE\\Guarded\\Deep"),
};
static volatile LONG lock;
static LARGE_INTEGER cookie;
static ULONG results[RESULTS], used;

static VOID Note(ULONG value)
{
    if (used < RESULTS) {
        results[used++] = value;
    }
}

/* The number of the prefix that `name` lies below, PROTECTED for none. */
static ULONG Find(PCWSTR text, ULONG from)
{
    UNICODE_STRING name;
    PUNICODE_PREFIX_TABLE_ENTRY found;
    KIRQL irql;

    RtlInitUnicodeString(&name, text);
    irql = ExAcquireSpinLockShared(&lock);
    found = RtlFindUnicodePrefix(&table, &name, from);
    ExReleaseSpinLockShared(&lock, irql);
    return found == NULL ? PROTECTED : (ULONG)(found - entries);
}

static VOID Tables(VOID)
{
    UNICODE_PREFIX_TABLE_ENTRY again;
    ULONG count = 0;
    BOOLEAN restart;

    Note(Find(L"\\REGISTRY\\MACHINE\\SOFTWARE\\Guarded\\Deep\\Key", 0));
    Note(Find(L"\\REGISTRY\\MACHINE\\SOFTWARE\\Guarded\\Deeper", 0)); /* a part is matched as a whole */
    Note(Find(L"\\Registry\\Machine\\Software\\GUARDED", 0));
    Note(Find(L"\\Registry\\Machine\\Software\\GUARDED", 5)); /* the first five characters in their case */
    Note(Find(L"\\REGISTRY\\USER", 0));
    Note(RtlInsertUnicodePrefix(&table, &prefixes[1], &again));
    for (restart = TRUE; RtlNextUnicodePrefix(&table, restart) != NULL; restart = FALSE) {
        count++;
    }
    Note(count);
    RtlRemoveUnicodePrefix(&table, &entries[2]);
    Note(Find(L"\\REGISTRY\\MACHINE\\SOFTWARE\\Guarded\\Deep\\Key", 0));
    RtlInsertUnicodePrefix(&table, &prefixes[2], &entries[2]);
}

static VOID Locks(VOID)
{
    KIRQL irql = ExAcquireSpinLockShared(&lock);

    Note(ExTryConvertSharedSpinLockExclusive(&lock));
    ExReleaseSpinLockExclusiveFromDpcLevel(&lock);
    ExAcquireSpinLockExclusiveAtDpcLevel(&lock);
    ExReleaseSpinLockExclusiveFromDpcLevel(&lock);
    KeLowerIrql(irql);
    Note(lock);
}

static VOID Text(VOID)
{
    UNICODE_STRING rest = prefixes[0], first;
    WCHAR wide[12] = L"no. ";
    CHAR narrow[8], list[] = ";one;;two", *context = NULL;
    ULONG parts = 0;

    while (rest.Length != 0) {
        FsRtlDissectName(rest, &first, &rest);
        parts = parts * 100 + first.Length / sizeof(WCHAR);
    }
    Note(parts);
    Note(strncpy_s(narrow, sizeof(narrow), "too long a text", (size_t)-1)); /* STRUNCATE */
    Note((ULONG)strlen(narrow));
    Note(strncpy_s(narrow, sizeof(narrow), "too long a text", 9)); /* ERANGE */
    Note(wcsncat_s(wide, 12, L"12345678", 3));
    Note((ULONG)wcslen(wide));
    Note((ULONG)(strtok_s(list, ";", &context) - list));
    Note((ULONG)(strtok_s(NULL, ";", &context) - list));
    Note(strtok_s(NULL, ";", &context) == NULL);
    Note(_ui64tow_s(0xFEDCBA9876ULL, wide, 12, 16));
    Note(wide[0] == L'f' && wide[9] == L'6' && wide[10] == 0);
    Note(_ui64tow_s(1, wide, 12, 1)); /* EINVAL */
    Note(memmove_s(narrow, 4, "12345", 5)); /* ERANGE */
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    REG_DELETE_KEY_INFORMATION *info = argument2;
    ULONG_PTR id;
    PCUNICODE_STRING path;

    UNREFERENCED_PARAMETER(context);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 != RegNtPreDeleteKey
        || !NT_SUCCESS(CmCallbackGetKeyObjectID(&cookie, info->Object, &id, &path))) {
        return STATUS_SUCCESS;
    }
    return Find(path->Buffer, 0) == PROTECTED ? STATUS_SUCCESS : STATUS_ACCESS_DENIED;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(irp);

    UNREFERENCED_PARAMETER(device);
    if (location->Parameters.DeviceIoControl.IoControlCode != IOCTL_RESULTS
        || location->Parameters.DeviceIoControl.OutputBufferLength < sizeof(results)) {
        return FieldComplete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    used = 0;
    Tables();
    Locks();
    Text();
    RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, results, sizeof(results));
    return FieldComplete(irp, STATUS_SUCCESS, used * sizeof(results[0]));
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(cookie);
    FieldDelete(driver, L"\\??\\FieldPrefixes");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"385210.8");
    NTSTATUS status;
    ULONG i;

    UNREFERENCED_PARAMETER(service);
    RtlInitializeUnicodePrefix(&table);
    for (i = 0; i < PROTECTED; i++) {
        RtlInsertUnicodePrefix(&table, &prefixes[i], &entries[i]);
    }
    status = FieldCreate(driver, L"\\Device\\FieldPrefixes", L"\\??\\FieldPrefixes", 0, Control, Unload);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = CmRegisterCallbackEx(Callback, &altitude, driver, NULL, &cookie, NULL);
    if (!NT_SUCCESS(status)) {
        FieldDelete(driver, L"\\??\\FieldPrefixes");
    }
    return status;
}
