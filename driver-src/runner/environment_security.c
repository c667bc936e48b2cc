/*
 * What protects the system. Information classes and bits: Microsoft's NtQuerySystemInformation page
 * (SystemCodeIntegrityInformation) and the published ntexapi.h for the others.
 */
#include "environment.h"
#include "native.h"

#define CLASS_KERNEL_DEBUGGER 35
#define CLASS_CODE_INTEGRITY 103
#define CLASS_SECURE_BOOT 145
#define CLASS_ISOLATED_USER_MODE 165
#define CODEINTEGRITY_TESTSIGN 0x2
#define CODEINTEGRITY_HVCI_KMCI_ENABLED 0x400
#define SECURE_KERNEL_RUNNING 0x1

static BOOL query(ULONG class, void *data, ULONG size)
{
    return native()->query_system != NULL && NT_IS_SUCCESS(native()->query_system(class, data, size, NULL));
}

static void reply_known_bool(REPLY *reply, const char *key, BOOL known, BOOL value)
{
    if (known) {
        reply_bool(reply, key, value);
    } else {
        reply_null(reply, key);
    }
}

static void reply_code_integrity(REPLY *reply)
{
    struct {
        ULONG length, options;
    } integrity = {sizeof(integrity), 0};
    /* Wine makes the answer up. */
    BOOL known = !native_is_wine() && query(CLASS_CODE_INTEGRITY, &integrity, sizeof(integrity));

    reply_known_bool(reply, "test_signing", known, (integrity.options & CODEINTEGRITY_TESTSIGN) != 0);
    if (known) {
        reply_uint(reply, "code_integrity", integrity.options);
    } else {
        reply_null(reply, "code_integrity");
    }
    reply_known_bool(reply, "hvci", known, (integrity.options & CODEINTEGRITY_HVCI_KMCI_ENABLED) != 0);
}

void environment_security(REPLY *reply)
{
    struct {
        BOOLEAN enabled, capable;
    } secure_boot = {FALSE, FALSE};
    struct {
        BOOLEAN enabled, absent;
    } debugger = {FALSE, FALSE};
    UCHAR isolated[16] = {0};
    DWORD enabled = 0;
    BOOL known = !native_is_wine() && query(CLASS_SECURE_BOOT, &secure_boot, sizeof(secure_boot));

    if (known) {
        enabled = secure_boot.enabled;
    } else {
        known = machine_number(L"SYSTEM\\CurrentControlSet\\Control\\SecureBoot\\State", L"UEFISecureBootEnabled",
                               &enabled);
    }
    reply_known_bool(reply, "secure_boot", known, enabled != 0);
    reply_code_integrity(reply);
    known = !native_is_wine() && query(CLASS_ISOLATED_USER_MODE, isolated, sizeof(isolated));
    reply_known_bool(reply, "vbs", known, (isolated[0] & SECURE_KERNEL_RUNNING) != 0);
    known = !native_is_wine() && query(CLASS_KERNEL_DEBUGGER, &debugger, sizeof(debugger));
    reply_known_bool(reply, "kernel_debugger", known, debugger.enabled);
}
