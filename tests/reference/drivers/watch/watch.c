/* Watches processes and threads come and go, and images being loaded. */
#include <ntifs.h>

NTKERNELAPI PCHAR NTAPI PsGetProcessImageFileName(PEPROCESS process);

static VOID NTAPI OnProcess(HANDLE parent, HANDLE process, BOOLEAN created)
{
    PEPROCESS object;

    if (NT_SUCCESS(PsLookupProcessByProcessId(process, &object))) {
        DbgPrint("watch: %s %s of %s\n", created ? "start" : "end", PsGetProcessImageFileName(object),
            parent == PsGetCurrentProcessId() ? "me" : "another");
        ObDereferenceObject(object);
    }
}

static VOID NTAPI OnThread(HANDLE process, HANDLE thread, BOOLEAN created)
{
    UNREFERENCED_PARAMETER(process);
    UNREFERENCED_PARAMETER(thread);
    DbgPrint("watch: thread %s\n", created ? "start" : "end");
}

static VOID NTAPI OnImage(PUNICODE_STRING name, HANDLE process, PIMAGE_INFO info)
{
    DbgPrint("watch: image %wZ %s%d\n", name, info->SystemModeImage ? "kernel " : "", (ULONG)(ULONG_PTR)process);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
    PsSetCreateProcessNotifyRoutine(OnProcess, TRUE);
    PsRemoveCreateThreadNotifyRoutine(OnThread);
    PsRemoveLoadImageNotifyRoutine(OnImage);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    UNREFERENCED_PARAMETER(service);
    driver->DriverUnload = Unload;
    PsSetCreateProcessNotifyRoutine(OnProcess, FALSE);
    PsSetCreateThreadNotifyRoutine(OnThread);
    return PsSetLoadImageNotifyRoutine(OnImage);
}
