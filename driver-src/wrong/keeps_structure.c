/*
 * Wrong: the pointer to a notification's structure is kept, and read in a later operation.
 * Caught: bugcheck 0x50; the reason names the notification that the structure was made for.
 */
#include "wrong.h"

static const REG_SET_VALUE_KEY_INFORMATION *volatile kept;

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        kept = information;
    } else if ((REG_NOTIFY_CLASS)(ULONG_PTR)notify_class == RegNtPostSetValueKey) {
        const REG_POST_OPERATION_INFORMATION *post = information;

        /* not wrong: the operation is not over, PreInformation is the same structure */
        if (kept != NULL && kept == post->PreInformation && kept->DataSize == 0) {
            return STATUS_SUCCESS;
        }
    } else if (kept != NULL && kept->DataSize == 0) {
        return STATUS_ACCESS_DENIED;
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
