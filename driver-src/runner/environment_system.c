/* Version, machine, user and clock. */
#include <string.h>

#include "clock.h"
#include "environment.h"
#include "native.h"

#define CURRENT_VERSION L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
#define PREFETCH L"SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management\\PrefetchParameters"
#define ARCHITECTURE_ARM64 12
#define MAX_NAME 256

static void reply_registry_text(REPLY *reply, const char *key, const wchar_t *name)
{
    wchar_t text[MAX_NAME];

    reply_text(reply, key, machine_text(CURRENT_VERSION, name, text, MAX_NAME) ? text : NULL);
}

/* {major, minor, build, ubr, service_pack, product_type, product, edition, display_version} */
static void reply_os(REPLY *reply, const OSVERSIONINFOEXW *version)
{
    unsigned outside = reply->pairs;
    wchar_t text[MAX_NAME];
    DWORD ubr;

    reply_key(reply, "os");
    cbor_put_map(&reply->body, 9);
    reply_uint(reply, "major", version->dwMajorVersion);
    reply_uint(reply, "minor", version->dwMinorVersion);
    reply_uint(reply, "build", version->dwBuildNumber & 0xFFFF);
    if (machine_number(CURRENT_VERSION, L"UBR", &ubr)) {
        reply_uint(reply, "ubr", ubr);
    } else {
        reply_null(reply, "ubr");
    }
    reply_uint(reply, "service_pack", version->wServicePackMajor);
    reply_uint(reply, "product_type", version->wProductType);
    reply_registry_text(reply, "product", L"ProductName");
    reply_registry_text(reply, "edition", L"EditionID");
    /* 1903 and older say ReleaseId. */
    if (machine_text(CURRENT_VERSION, L"DisplayVersion", text, MAX_NAME)) {
        reply_text(reply, "display_version", text);
    } else {
        reply_registry_text(reply, "display_version", L"ReleaseId");
    }
    reply->pairs = outside + 1;
}

static const char *architecture(WORD machine)
{
    switch (machine) {
    case PROCESSOR_ARCHITECTURE_AMD64:
        return "x64";
    case PROCESSOR_ARCHITECTURE_INTEL:
        return "x86";
    case ARCHITECTURE_ARM64:
        return "arm64";
    default:
        return NULL;
    }
}

static void reply_machine(REPLY *reply)
{
    MEMORYSTATUSEX memory;
    SYSTEM_INFO info;
    const char *name;
    wchar_t computer[MAX_NAME];
    DWORD units = MAX_NAME;

    GetNativeSystemInfo(&info);
    name = architecture(info.wProcessorArchitecture);
    if (name != NULL) {
        reply_ascii(reply, "native_arch", name);
    } else {
        reply_null(reply, "native_arch");
    }
    reply_uint(reply, "processors", info.dwNumberOfProcessors);
    memory.dwLength = sizeof(memory);
    if (GlobalMemoryStatusEx(&memory)) {
        reply_uint(reply, "memory_mib", memory.ullTotalPhys >> 20);
    } else {
        reply_null(reply, "memory_mib");
    }
    reply_text(reply, "computer", GetComputerNameW(computer, &units) ? computer : NULL);
}

static void reply_user(REPLY *reply)
{
    SID_IDENTIFIER_AUTHORITY authority = {SECURITY_NT_AUTHORITY};
    wchar_t user[MAX_NAME + 1];
    DWORD units = MAX_NAME + 1;
    PSID administrators;
    BOOL member;

    reply_text(reply, "user", GetUserNameW(user, &units) ? user : NULL);
    if (AllocateAndInitializeSid(&authority, 2, SECURITY_BUILTIN_DOMAIN_RID, DOMAIN_ALIAS_RID_ADMINS, 0, 0, 0, 0, 0, 0,
                                 &administrators)) {
        /* In a token that user account control has filtered the group only denies, and isn't a membership. */
        if (CheckTokenMembership(NULL, administrators, &member)) {
            reply_bool(reply, "elevated", member);
        } else {
            reply_null(reply, "elevated");
        }
        FreeSid(administrators);
    } else {
        reply_null(reply, "elevated");
    }
}

static void reply_clock(REPLY *reply)
{
    ULONGLONG(WINAPI *ticks)(void) =
        (ULONGLONG(WINAPI *)(void))(void *)GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "GetTickCount64");
    wchar_t text[16];
    DWORD boot, at = sizeof(text) / sizeof(wchar_t) - 1;

    reply_uint(reply, "clock_unix_us", clock_unix_us());
    reply_uint(reply, "uptime_ms", ticks != NULL ? ticks() : GetTickCount());
    /* A number that the prefetcher counts up at every boot. */
    if (machine_number(PREFETCH, L"BootId", &boot)) {
        text[at] = 0;
        do {
            text[--at] = (wchar_t)(L'0' + boot % 10);
            boot /= 10;
        } while (boot != 0);
        reply_text(reply, "boot_id", text + at);
    } else {
        reply_null(reply, "boot_id");
    }
}

/* Wine and ReactOS say who they are; nothing else about them is guessed. */
static void reply_kin(REPLY *reply)
{
    OSVERSIONINFOEXW version;
    const wchar_t *behind = NULL;
    wchar_t text[MAX_NAME];
    size_t units;

    if (native_is_wine()) {
        reply_ascii(reply, "wine", native()->wine_version());
    } else {
        reply_null(reply, "wine");
    }
    memset(&version, 0, sizeof(version));
    version.dwOSVersionInfoSize = sizeof(version);
    if (GetVersionExW((OSVERSIONINFOW *)&version)) {
        /* ReactOS puts its name and version behind the service pack's NUL. */
        version.szCSDVersion[sizeof(version.szCSDVersion) / sizeof(wchar_t) - 1] = 0;
        units = wcslen(version.szCSDVersion);
        if (units + 2 < sizeof(version.szCSDVersion) / sizeof(wchar_t) &&
            wcsncmp(version.szCSDVersion + units + 1, L"ReactOS", 7) == 0) {
            behind = version.szCSDVersion + units + 1;
        }
    }
    if (behind == NULL && machine_text(CURRENT_VERSION, L"ProductName", text, MAX_NAME) &&
        wcsncmp(text, L"ReactOS", 7) == 0) {
        behind = text;
    }
    reply_text(reply, "reactos", behind);
}

void environment_system(REPLY *reply)
{
    OSVERSIONINFOEXW version;

    memset(&version, 0, sizeof(version));
    version.dwOSVersionInfoSize = sizeof(version);
    /* GetVersionEx tells programs without a manifest what they want to hear; this call doesn't. */
    if (native()->get_version == NULL || !NT_IS_SUCCESS(native()->get_version(&version))) {
        GetVersionExW((OSVERSIONINFOW *)&version);
    }
    reply_os(reply, &version);
    reply_machine(reply);
    reply_user(reply);
    reply_clock(reply);
    reply_kin(reply);
}
