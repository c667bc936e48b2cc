/* A program for the channels' tests to run in a guest. Exit code: its last argument's number where it has one. */
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

/* The command line in a UTF-8 file, exactly as it is: what a shell of Windows would hand to CreateProcess. */
static int run_line(const wchar_t *path)
{
    static char text[32768];
    static wchar_t line[32768];
    STARTUPINFOW startup = {sizeof(startup)};
    PROCESS_INFORMATION process;
    DWORD code;
    FILE *file = _wfopen(path, L"rb");
    size_t got = file == NULL ? 0 : fread(text, 1, sizeof(text) - 1, file);

    if (got == 0 || MultiByteToWideChar(CP_UTF8, 0, text, -1, line, 32768) == 0 ||
        !CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process)) {
        fprintf(stderr, "not started: error %lu\n", GetLastError());
        return 9009;
    }
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &code);
    return (int)code;
}

static int say_arguments(int argc, wchar_t **argv)
{
    char text[32768];
    int index;

    for (index = 2; index < argc; index++) {
        WideCharToMultiByte(CP_UTF8, 0, argv[index], -1, text, sizeof(text), NULL, NULL);
        fwrite(text, 1, strlen(text) + 1, stdout);
    }
    fputs("to stderr", stderr);
    return 0;
}

static int copy_input(void)
{
    static char buffer[65536];
    size_t got;

    while ((got = fread(buffer, 1, sizeof(buffer), stdin)) != 0) {
        fwrite(buffer, 1, got, stdout);
        fflush(stdout);
    }
    return 0;
}

/* Without an end: output, or a file that grows while the program lives. */
static int go_on(const wchar_t *path)
{
    static char block[65536];
    HANDLE file = INVALID_HANDLE_VALUE;
    DWORD written;

    if (path != NULL) {
        file = CreateFileW(path, FILE_APPEND_DATA, 7, NULL, CREATE_ALWAYS, 0, NULL);
    }
    for (;;) {
        if (path == NULL) {
            if (fwrite(block, 1, sizeof(block), stdout) == 0) {
                return 1;
            }
        } else {
            WriteFile(file, "x", 1, &written, NULL);
            Sleep(20);
        }
    }
}

/* Until somebody deletes the file that it makes. */
static int stay(const wchar_t *path)
{
    CloseHandle(CreateFileW(path, GENERIC_WRITE, 7, NULL, CREATE_ALWAYS, 0, NULL));
    while (GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES) {
        Sleep(20);
    }
    return 0;
}

int wmain(int argc, wchar_t **argv)
{
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
    if (argc > 2 && wcscmp(argv[1], L"line") == 0) {
        return run_line(argv[2]);
    }
    if (argc > 1 && wcscmp(argv[1], L"say") == 0) {
        return say_arguments(argc, argv);
    }
    if (argc > 1 && wcscmp(argv[1], L"cat") == 0) {
        return copy_input();
    }
    if (argc > 1 && wcscmp(argv[1], L"on") == 0) {
        return go_on(argc > 2 ? argv[2] : NULL);
    }
    if (argc > 2 && wcscmp(argv[1], L"until-gone") == 0) {
        return stay(argv[2]);
    }
    return argc > 2 && wcscmp(argv[1], L"exit") == 0 ? (int)wcstoul(argv[2], NULL, 0) : 87;
}
