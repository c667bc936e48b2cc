/*
 * Wrong: reads the output buffer of a query in its post notification without protection. The buffer
 * belongs to the requester, who may free it at any moment (nc-wdm-ex_callback_function, B-CAP-07).
 * Caught: as the access violation it would be then, bugcheck 0x135, at the first query of a value.
 */
#include "wrong.h"

static volatile ULONG first_bytes;

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)notify_class == RegNtPostQueryValueKey) {
        const REG_POST_OPERATION_INFORMATION *post = information;
        const REG_QUERY_VALUE_KEY_INFORMATION *query = post->PreInformation;

        if (post->Status == STATUS_SUCCESS && query->KeyValueInformation != NULL) {
            first_bytes = *(volatile ULONG *)query->KeyValueInformation;
        }
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
