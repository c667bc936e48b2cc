/*
 * Wrong: the reference that PsLookupProcessByProcessId gives is never dropped, and the log file that was opened with
 * a kernel handle is never closed.
 * Caught: nothing stops Windows for it; Guest.outstanding() and the leak gate tell of both.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\??\\C:\\wrong.log");
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK done;
    PEPROCESS process;
    HANDLE log;

    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        PsLookupProcessByProcessId(PsGetCurrentProcessId(), &process);
        InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
        ZwCreateFile(&log, FILE_APPEND_DATA | SYNCHRONIZE, &attributes, &done, NULL, FILE_ATTRIBUTE_NORMAL,
                     FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN_IF, FILE_SYNCHRONOUS_IO_NONALERT, NULL, 0);
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
