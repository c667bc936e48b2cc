/*
 * Wrong: jumps into its data section.
 * Caught: bugcheck 0xFC ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY.
 */
#include "wrong.h"

static UCHAR code[16] = {0xC3}; /* ret */

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    UNREFERENCED_PARAMETER(context);
    if (IsTrigger(notify_class, information)) {
        PVOID target = code;

        HIDE(target);
        ((VOID(*)(VOID))(ULONG_PTR)target)();
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
