/*
 * As much of windows.h as the runner's parts need that the tests compile for the host (x86-64, -fshort-wchar): types of
 * Windows' sizes, and the wide functions, which the host's C library has for its own wchar_t only.
 */
#ifndef TEST_WINDOWS_H
#define TEST_WINDOWS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NTAPI
#define WINAPI
#define CDECL
#define TRUE 1
#define FALSE 0
#define PROCESSOR_ARCHITECTURE_INTEL 0

typedef int BOOL;
typedef unsigned char BOOLEAN;
typedef uint16_t USHORT;
typedef uint32_t ULONG, DWORD;
typedef int32_t LONG;
typedef uint64_t ULONG_PTR, SIZE_T;
typedef void *HANDLE;
typedef struct GUID GUID;
typedef struct LARGE_INTEGER LARGE_INTEGER;
typedef struct OSVERSIONINFOEXW OSVERSIONINFOEXW;

#define wcslen short_wcslen
#define wcsrchr short_wcsrchr
#define _wcsnicmp short_wcsnicmp
#define _vsnprintf vsnprintf

size_t short_wcslen(const wchar_t *text);
wchar_t *short_wcsrchr(const wchar_t *text, wchar_t letter);
int short_wcsnicmp(const wchar_t *one, const wchar_t *other, size_t units);
DWORD GetCurrentProcessId(void);

#endif
