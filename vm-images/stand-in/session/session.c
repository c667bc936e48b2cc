/*
 * Hands a command line to cmd.exe byte for byte, as OpenSSH for Windows does: the one in HARNESS_COMMAND.
 *
 * Wine makes a process's command line out of its arguments and quotes them by the C runtime's rules, which are
 * not cmd.exe's; CreateProcess takes the line as it is. /s: cmd.exe takes off the outer quotes and nothing else.
 */
#include <windows.h>

#define COMMAND_UNITS 32768 /* the longest command line of a process */

static const wchar_t head[] = L"cmd.exe /s /c \"";
static wchar_t line[COMMAND_UNITS];

void __cdecl program_entry(void)
{
    const DWORD before = sizeof(head) / sizeof(head[0]) - 1;
    STARTUPINFOW startup = {0};
    PROCESS_INFORMATION process;
    DWORD length, code = 1, i;

    for (i = 0; i < before; i++)
        line[i] = head[i];
    /* Room for the closing quote and the end. */
    length = GetEnvironmentVariableW(L"HARNESS_COMMAND", line + before, COMMAND_UNITS - before - 1);
    if (length == 0 || length >= COMMAND_UNITS - before - 1)
        ExitProcess(1);
    line[before + length] = L'"';
    line[before + length + 1] = L'\0';
    SetEnvironmentVariableW(L"HARNESS_COMMAND", NULL);

    startup.cb = sizeof(startup);
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    startup.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    startup.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process))
        ExitProcess(GetLastError());
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &code);
    ExitProcess(code);
}
