/*
 * An executable with cases of its own, as docs/native-cases.md tells it: `--list` names them, a name runs one.
 * Its exit code is 0 for a pass, 1 for a failure, 77 for a skip, 78 for a failure that is expected.
 */
#include <windows.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CASE_PASSED = 0, CASE_FAILED = 1, CASE_SKIPPED = 77, CASE_TODO = 78 };

#define TEST_KEY "Software\\native-example"

typedef struct STARTUP_INFO {
    int new_mode;
} STARTUP_INFO;

__declspec(dllimport) int __cdecl __getmainargs(int *argc, char ***argv, char ***env, int wildcards,
                                                STARTUP_INFO *info);

typedef struct CASE {
    const char *name;
    int (*run)(void);
} CASE;

static void say(const char *format, ...)
{
    char text[512];
    va_list arguments;
    DWORD written;
    int length;

    va_start(arguments, format);
    length = _vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, length < 0 ? sizeof(text) : (DWORD)length, &written, NULL);
}

static int fail(const char *what, LONG error)
{
    say("%s: error %ld\n", what, error);
    return CASE_FAILED;
}

static int a_value_is_read_back(void)
{
    DWORD written = 0x1234, read = 0, size = sizeof(read);
    LONG error;
    HKEY key;

    error = RegCreateKeyExA(HKEY_CURRENT_USER, TEST_KEY, 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, NULL);
    if (error != ERROR_SUCCESS) {
        return fail("RegCreateKeyEx", error);
    }
    error = RegSetValueExA(key, "number", 0, REG_DWORD, (const BYTE *)&written, sizeof(written));
    if (error == ERROR_SUCCESS) {
        error = RegQueryValueExA(key, "number", NULL, NULL, (BYTE *)&read, &size);
    }
    RegCloseKey(key);
    say("wrote %#lx, read %#lx\n", written, read);
    return error == ERROR_SUCCESS && read == written ? CASE_PASSED : fail("the value", error);
}

/* Passes on a fresh system only: the case before leaves its key behind. */
static int the_key_is_not_there(void)
{
    LONG error = RegDeleteKeyA(HKEY_CURRENT_USER, TEST_KEY);

    return error == ERROR_FILE_NOT_FOUND ? CASE_PASSED : fail("somebody left " TEST_KEY, error);
}

static int fails_on_purpose(void)
{
    return fail("a check that can't hold", ERROR_INVALID_DATA);
}

static int is_skipped(void)
{
    say("nothing to do on this system\n");
    return CASE_SKIPPED;
}

static int is_still_to_do(void)
{
    say("known to fail\n");
    return CASE_TODO;
}

static int ends_by_an_exception(void)
{
    volatile int *volatile nowhere = NULL; /* volatile: a compiler that knew would leave the write out */

    say("about to write to %p\n", (void *)nowhere);
    *nowhere = 1;
    return CASE_PASSED;
}

static int never_ends(void)
{
    Sleep(INFINITE);
    return CASE_PASSED;
}

static int sees_its_environment(void)
{
    char value[64] = "";

    GetEnvironmentVariableA("NATIVE_EXAMPLE", value, sizeof(value));
    say("NATIVE_EXAMPLE is '%s'\n", value);
    return strcmp(value, "50% & more") == 0 ? CASE_PASSED : CASE_FAILED;
}

static int has_an_odd_name(void)
{
    return CASE_PASSED;
}

static const CASE cases[] = {
    {"a_value_is_read_back", a_value_is_read_back},
    {"the_key_is_not_there", the_key_is_not_there},
    {"fails_on_purpose", fails_on_purpose},
    {"is_skipped", is_skipped},
    {"is_still_to_do", is_still_to_do},
    {"ends_by_an_exception", ends_by_an_exception},
    {"never_ends", never_ends},
    {"sees_its_environment", sees_its_environment},
    {"an \"odd\" name: 50% [a] & (b) | ^c", has_an_odd_name},
};

static int run(const char *name)
{
    unsigned i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(name, "--list") == 0) {
            say("%s\n", cases[i].name);
        } else if (strcmp(name, cases[i].name) == 0) {
            return cases[i].run();
        }
    }
    if (strcmp(name, "--list") == 0) {
        return CASE_PASSED;
    }
    say("there is no case '%s'\n", name);
    return CASE_FAILED;
}

void __cdecl program_entry(void)
{
    char **argv = NULL, **environment = NULL;
    STARTUP_INFO info = {0};
    int argc = 0, code = CASE_FAILED;

    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
    __getmainargs(&argc, &argv, &environment, 0, &info);
    if (argc == 2) {
        code = run(argv[1]);
    } else {
        say("usage: native_example --list | CASE\n");
    }
    ExitProcess((UINT)code);
}
