/* Where the process starts: without a compiler's startup code, straight on msvcrt.dll. */
#include <windows.h>

#include "runner.h"

typedef struct STARTUP_INFO {
    int new_mode;
} STARTUP_INFO;

__declspec(dllimport) int __cdecl __wgetmainargs(int *argc, wchar_t ***argv, wchar_t ***env, int wildcards,
                                                 STARTUP_INFO *info);

void __cdecl program_entry(void)
{
    wchar_t **argv = NULL, **environment = NULL;
    STARTUP_INFO info = {0};
    int argc = 0;

    /* No dialogue boxes: nobody is there to press their buttons. */
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    __wgetmainargs(&argc, &argv, &environment, 0, &info);
    ExitProcess((UINT)runner_main(argc, argv));
}
