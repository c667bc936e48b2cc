/*
 * Everything drivers do with text: formats, wide and narrow, bounded and not; searching; converting; counted
 * strings. Each line of the output is "name=result".
 */
#include "field.h"

#pragma GCC diagnostic ignored "-Wformat" /* %wZ, %ws, %S, %I64: the kernel's own */
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wstringop-truncation"

#define TAG 'rsSF'
#define IOCTL_TEXT FIELD_IOCTL(0, METHOD_BUFFERED)
#define SIZE 8192

typedef struct _TEXT {
    PCHAR at;
    size_t left;
} TEXT;

static LARGE_INTEGER cookie;
static WCHAR seen[256];

static VOID Line(TEXT *text, PCSTR format, ...)
{
    va_list arguments;
    int written;

    va_start(arguments, format);
    written = _vsnprintf(text->at, text->left, format, arguments);
    va_end(arguments);
    if (written > 0) {
        text->at += written;
        text->left -= written;
    }
}

static int Wide(PWCHAR buffer, size_t count, PCWSTR format, ...)
{
    va_list arguments;
    int written;

    va_start(arguments, format);
    written = _vsnwprintf(buffer, count, format, arguments);
    va_end(arguments);
    return written;
}

static VOID Formats(TEXT *text)
{
    UNICODE_STRING counted = RTL_CONSTANT_STRING(L"counted");
    ANSI_STRING narrow = RTL_CONSTANT_STRING("narrow");
    WCHAR wide[64];
    CHAR small[8];
    NTSTATUS status;
    int written;

    Line(text, "int=%d|%5d|%-5d|%05d|%+d|%i|%u\n", -7, 42, 42, 42, 42, 9, 4000000000u);
    Line(text, "hex=%x|%X|%#x|%08lx|%I64x|%llx|%Ix|%hx|%hhx\n", 255, 255, 255, 0xBEEFul, 0x123456789ABCDEFull,
         0xFEDCBA987654321ull, (SIZE_T)16, 0x12345, 0x1234);
    Line(text, "oct=%o|%lu|%I64d|%I32u\n", 8, 77ul, -5ll, 3u);
    Line(text, "str=%s|%10s|%-10s|%.3s|%*.*s|%c|%%\n", "abc", "abc", "abc", "abcdef", 6, 2, "xyz", 'c');
    Line(text, "wide=%S|%ws|%ls|%wZ|%Z|%C|%hs\n", L"big", L"ws", L"ls", &counted, &narrow, L'w', "hs");
    Line(text, "null=%s|%S|%wZ\n", NULL, NULL, NULL);
    Line(text, "ptr=%p\n", (PVOID)(ULONG_PTR)0xABCD);
    written = _snprintf(small, sizeof(small), "%s", "exactly8");
    Line(text, "full=%d|%.8s\n", written, small);
    written = _snprintf(small, sizeof(small), "%s", "more than eight");
    Line(text, "cut=%d|%.8s\n", written, small);
    written = Wide(wide, 64, L"%s|%S|%wZ|%d|%c|%hs|%ls", L"wide", "narrow", &counted, -1, L'x', "h", L"l");
    Line(text, "wfmt=%d|%ws\n", written, wide);
    written = Wide(wide, 4, L"%d", 12345);
    Line(text, "wcut=%d\n", written);
    written = sprintf(small, "%03d", 7);
    Line(text, "sprintf=%d|%s\n", written, small);
    status = RtlStringCbPrintfW(wide, sizeof(wide), L"%s\\%s", L"a", L"b");
    Line(text, "cb=%08x|%ws", status, wide);
    status = RtlStringCbCopyW(wide, 6, L"longer");
    Line(text, "|%08x|%ws", status, wide);
    status = RtlStringCchCatW(wide, 64, L"+tail");
    Line(text, "|%08x|%ws\n", status, wide);
}

static VOID Searching(TEXT *text)
{
    static const WCHAR path[] = L"\\Registry\\Machine\\Software\\Vendor";
    WCHAR copy[64];
    PWCHAR last;
    ULONG number;

    wcscpy(copy, path);
    last = wcsrchr(copy, L'\\');
    Line(text, "wcs=%u|%ws|%ws|%d|%d\n", (ULONG)wcslen(copy), wcsstr(copy, L"Soft"), last, _wcsicmp(L"ABC", L"abc"),
         _wcsnicmp(copy, L"\\REGISTRY\\user", 10));
    *last = UNICODE_NULL;
    wcscat(copy, L"\\X");
    _wcsupr(copy);
    Line(text, "edit=%ws|%d|%d\n", copy, wcscmp(L"a", L"b") < 0, wcsncmp(L"abc", L"abd", 2));
    Line(text, "str=%s|%s|%d|%d|%u\n", strstr("find needle here", "needle"), strchr("a.b", '.'), _stricmp("X", "x"),
         _strnicmp("HELLO", "help", 3), (ULONG)strlen("four"));
    Line(text, "num=%d|%d|%d\n", atoi("42x"), atoi("-8"), (int)towupper(L'q'));
    number = wcstoul(L" 0x1Fz", &last, 0);
    Line(text, "conv=%lu|%d|%d|%u\n", number, _wtoi(L"-12"), *last == L'z', (ULONG)strspn("aab", "a"));
    Line(text, "mem=%d|%u\n", memcmp("ab", "ac", 2) < 0, (ULONG)RtlCompareMemory("abcd", "abxd", 4));
}

static VOID Counted(TEXT *text)
{
    UNICODE_STRING a = RTL_CONSTANT_STRING(L"Hello"), b = RTL_CONSTANT_STRING(L"HELLO WORLD"), made, number;
    WCHAR buffer[32];
    ANSI_STRING narrow;
    GUID guid = {0x12345678, 0x9ABC, 0xDEF0, {1, 2, 3, 4, 5, 6, 7, 8}};
    TIME_FIELDS fields;
    LARGE_INTEGER time;
    ULONG value = 0;
    NTSTATUS status;

    Line(text, "cmp=%d|%d|%d|%d\n", RtlEqualUnicodeString(&a, &b, TRUE), RtlPrefixUnicodeString(&a, &b, TRUE),
         RtlPrefixUnicodeString(&a, &b, FALSE), RtlCompareUnicodeString(&a, &b, TRUE) < 0);
    RtlInitEmptyUnicodeString(&made, buffer, sizeof(buffer));
    RtlCopyUnicodeString(&made, &a);
    status = RtlAppendUnicodeToString(&made, L" there");
    Line(text, "app=%wZ|%08x|%08x\n", &made, status, RtlAppendUnicodeStringToString(&made, &b));
    status = RtlAppendUnicodeToString(&made, L"this is far too long for what is left");
    Line(text, "toolong=%08x|%u\n", status, made.Length);
    RtlInitEmptyUnicodeString(&number, buffer, sizeof(buffer));
    RtlIntegerToUnicodeString(0xCAFE, 16, &number);
    RtlUnicodeStringToInteger(&number, 16, &value);
    Line(text, "int=%wZ|%u\n", &number, value);
    RtlUnicodeStringToAnsiString(&narrow, &b, TRUE);
    Line(text, "ansi=%Z|%u|%u\n", &narrow, narrow.Length, narrow.MaximumLength);
    RtlAnsiStringToUnicodeString(&made, &narrow, TRUE);
    RtlFreeAnsiString(&narrow);
    RtlDowncaseUnicodeString(&made, &made, FALSE);
    Line(text, "down=%wZ\n", &made);
    RtlFreeUnicodeString(&made);
    RtlUpcaseUnicodeString(&made, &a, TRUE);
    Line(text, "up=%wZ\n", &made);
    RtlFreeUnicodeString(&made);
    RtlStringFromGUID(&guid, &made);
    Line(text, "guid=%wZ\n", &made);
    RtlFreeUnicodeString(&made);
    time.QuadPart = 132223104000000000ll; /* 2020-01-01 */
    RtlTimeToTimeFields(&time, &fields);
    Line(text, "time=%04d-%02d-%02d %02d:%02d:%02d.%03d %d\n", fields.Year, fields.Month, fields.Day, fields.Hour,
         fields.Minute, fields.Second, fields.Milliseconds, fields.Weekday);
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID argument1, PVOID argument2)
{
    PREG_SET_VALUE_KEY_INFORMATION set = argument2;

    UNREFERENCED_PARAMETER(context);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)argument1 == RegNtPreSetValueKey && set->ValueName != NULL) {
        _snwprintf(seen, RTL_NUMBER_OF(seen) - 1, L"%wZ:%lu:%lu", set->ValueName, set->Type, set->DataSize);
        DbgPrint("strings: %ws (%S)\n", seen, L"again");
        if (wcsstr(seen, L"secret") != NULL) {
            return STATUS_ACCESS_DENIED;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    TEXT text = {irp->AssociatedIrp.SystemBuffer, stack->Parameters.DeviceIoControl.OutputBufferLength};

    UNREFERENCED_PARAMETER(device);
    if (stack->Parameters.DeviceIoControl.IoControlCode != IOCTL_TEXT || text.left < SIZE) {
        return FieldComplete(irp, STATUS_INVALID_PARAMETER, 0);
    }
    Formats(&text);
    Searching(&text);
    Counted(&text);
    Line(&text, "seen=%ws\n", seen);
    return FieldComplete(irp, STATUS_SUCCESS, text.at - (PCHAR)irp->AssociatedIrp.SystemBuffer);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    CmUnRegisterCallback(cookie);
    FieldDelete(driver, L"\\DosDevices\\FieldStrings");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    NTSTATUS status;

    UNREFERENCED_PARAMETER(service);
    status = FieldCreate(driver, L"\\Device\\FieldStrings", L"\\DosDevices\\FieldStrings", 0, Control, Unload);
    if (NT_SUCCESS(status)) {
        status = CmRegisterCallback(Callback, NULL, &cookie);
        if (!NT_SUCCESS(status)) {
            FieldDelete(driver, L"\\DosDevices\\FieldStrings");
        }
    }
    return status;
}
