/*
 * Wrong: a pre callback writes into the value's name, which is input, as if the system were to use what it left there.
 * No page says that it does (B-NOT-28).
 * Caught: what is seen below the driver differs from what is seen above it, and the reports say "input changed".
 */
#include "wrong.h"

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    const REG_SET_VALUE_KEY_INFORMATION *set = information;
    UNICODE_STRING colour = RTL_CONSTANT_STRING(L"colour");

    UNREFERENCED_PARAMETER(context);
    if ((REG_NOTIFY_CLASS)(ULONG_PTR)notify_class == RegNtPreSetValueKey && set->ValueName != NULL
        && RtlEqualUnicodeString(set->ValueName, &colour, TRUE)) {
        set->ValueName->Buffer[0] = L'C';
    }
    return STATUS_SUCCESS;
}

WRONG_ENTRY(Callback)
