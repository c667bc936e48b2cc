/*
 * Wrong: nothing crashes, but every deletion of a value is refused, which no test asked for.
 * Caught: by the comparison of what a filter above saw with what one below saw: a block.
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(information);
    return (REG_NOTIFY_CLASS)(ULONG_PTR)notify_class == RegNtPreDeleteValueKey ? STATUS_ACCESS_DENIED : STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
