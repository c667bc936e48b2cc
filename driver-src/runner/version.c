#include "version.h"

#include <stdio.h>
#include <windows.h>

#define RUNNER_VERSION "1.0"

void runner_version(char version[RUNNER_VERSION_SIZE])
{
    const unsigned char *base = (const unsigned char *)GetModuleHandleW(NULL);
    const IMAGE_NT_HEADERS *headers = (const IMAGE_NT_HEADERS *)(base + ((const IMAGE_DOS_HEADER *)base)->e_lfanew);

    _snprintf(version, RUNNER_VERSION_SIZE, "%s checksum %08lx", RUNNER_VERSION,
              (unsigned long)headers->OptionalHeader.CheckSum);
    version[RUNNER_VERSION_SIZE - 1] = 0;
}
