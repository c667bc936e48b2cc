/*
 * What Microsoft's compiler and linker add with /GS: a load configuration that names the security cookie, an entry
 * point that stops the system while the cookie has its linked value, frames checked against it.
 *
 * harness: since 6.1
 */
#include "field.h"

#ifdef _WIN64
#define DEFAULT_COOKIE 0x00002B992DDFA232ULL
#else
#define DEFAULT_COOKIE 0xBB40E64EUL
#endif

ULONG_PTR __security_cookie = DEFAULT_COOKIE;

/* The head of IMAGE_LOAD_CONFIG_DIRECTORY: sizes and times, then what the linker leaves empty, then the cookie. */
const struct {
    ULONG size;
    ULONG before[sizeof(PVOID) == 8 ? 21 : 14];
    ULONG_PTR *cookie;
    ULONG_PTR after[8];
} _load_config_used = {sizeof(_load_config_used), {0}, &__security_cookie, {0}};

VOID __fastcall __security_check_cookie(ULONG_PTR cookie)
{
    if (cookie != __security_cookie) {
        KeBugCheckEx(0xF7, cookie, __security_cookie, ~__security_cookie, 0);
    }
}

static __attribute__((noinline)) ULONG Sum(const UCHAR *text, ULONG length)
{
    UCHAR copy[48];
    ULONG index, sum = 0;

    for (index = 0; index < length; index++) {
        copy[index % sizeof(copy)] = text[index];
    }
    for (index = 0; index < sizeof(copy); index++) {
        sum += *(volatile UCHAR *)&copy[index];
    }
    return sum;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
    DbgPrint("cookie: gone\n");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    if (__security_cookie == 0 || __security_cookie == DEFAULT_COOKIE) {
        KeBugCheckEx(0xF7, __security_cookie, DEFAULT_COOKIE, 0, 0);
    }
    DbgPrint("cookie: fresh, %u\n", Sum((PUCHAR)service->Buffer, service->Length) != 0);
    driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
