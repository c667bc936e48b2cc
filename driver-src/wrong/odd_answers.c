/*
 * Wrong: answers that no page gives a meaning, chosen by the name of the value that is set.
 *
 *     input    changes an input member of the structure (B-NOT-28)
 *     status   writes Status instead of ReturnStatus (B-NOT-23)
 *     ignored  sets ReturnStatus and doesn't return STATUS_CALLBACK_BYPASS (B-NOT-22)
 *     failed   returns a failure from a post notification (B-NOT-24)
 *
 * Caught: a remark in the debug output, once for each.
 */
#include "wrong.h"

static BOOLEAN Named(const REG_SET_VALUE_KEY_INFORMATION *set, PCWSTR name)
{
    UNICODE_STRING text;

    RtlInitUnicodeString(&text, name);
    return RtlEqualUnicodeString(set->ValueName, &text, TRUE);
}

static NTSTATUS NTAPI Callback(PVOID context, PVOID notify_class, PVOID information)
{
    REG_POST_OPERATION_INFORMATION *post = information;
    REG_SET_VALUE_KEY_INFORMATION *set = information;

    UNREFERENCED_PARAMETER(context);
    switch ((REG_NOTIFY_CLASS)(ULONG_PTR)notify_class) {
    case RegNtPreSetValueKey:
        if (Named(set, L"input")) {
            set->DataSize = 1;
        }
        return STATUS_SUCCESS;
    case RegNtPostSetValueKey:
        set = post->PreInformation;
        if (Named(set, L"status")) {
            post->Status = STATUS_ACCESS_DENIED;
        } else if (Named(set, L"ignored")) {
            post->ReturnStatus = STATUS_ACCESS_DENIED;
        }
        return Named(set, L"failed") ? STATUS_ACCESS_DENIED : STATUS_SUCCESS;
    default:
        return STATUS_SUCCESS;
    }
}

WRONG_ENTRY(Callback)
