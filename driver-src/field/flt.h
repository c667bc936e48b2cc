/* What minifilters need of the filter manager; the toolchain's headers have none of it. */
#ifndef FIELD_FLT_H
#define FIELD_FLT_H

#include "field.h"

typedef struct _OPERATIONS {
    UCHAR major;
    ULONG flags;
    PVOID before, after, reserved;
} OPERATIONS;

typedef struct _REGISTRATION {
    USHORT size, version;
    ULONG flags;
    PVOID contexts;
    const OPERATIONS *operations;
    NTSTATUS(NTAPI *unload)(ULONG flags);
    PVOID others[11];
} REGISTRATION;

__declspec(dllimport) NTSTATUS NTAPI FltRegisterFilter(PDRIVER_OBJECT driver, const REGISTRATION *what, PVOID *filter);
__declspec(dllimport) NTSTATUS NTAPI FltStartFiltering(PVOID filter);
__declspec(dllimport) VOID NTAPI FltUnregisterFilter(PVOID filter);

#endif
