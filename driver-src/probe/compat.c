#include "regprobe_internal.h"

static PVOID Resolve(PCWSTR name)
{
    UNICODE_STRING text;

    RtlInitUnicodeString(&text, name);
    return MmGetSystemRoutineAddress(&text);
}

#define RESOLVE(member, name, bit)                          \
    do {                                                    \
        *(PVOID *)&routines->member = Resolve(L##name);     \
        if (routines->member != NULL) {                     \
            routines->found |= (bit);                       \
        }                                                   \
    } while (0)

INIT_CODE VOID RoutinesResolve(ROUTINES *routines)
{
    RtlZeroMemory(routines, sizeof(*routines));
    RESOLVE(register_callback, "CmRegisterCallback", REGPROBE_HAS_REGISTER_CALLBACK);
    RESOLVE(register_callback_ex, "CmRegisterCallbackEx", REGPROBE_HAS_REGISTER_CALLBACK_EX);
    RESOLVE(unregister_callback, "CmUnRegisterCallback", REGPROBE_HAS_UNREGISTER_CALLBACK);
    RESOLVE(get_callback_version, "CmGetCallbackVersion", REGPROBE_HAS_GET_CALLBACK_VERSION);
    RESOLVE(set_object_context, "CmSetCallbackObjectContext", REGPROBE_HAS_SET_OBJECT_CONTEXT);
    RESOLVE(get_key_object_id, "CmCallbackGetKeyObjectID", REGPROBE_HAS_GET_KEY_OBJECT_ID);
    RESOLVE(get_key_object_id_ex, "CmCallbackGetKeyObjectIDEx", REGPROBE_HAS_GET_KEY_OBJECT_ID_EX);
    RESOLVE(release_key_object_id_ex, "CmCallbackReleaseKeyObjectIDEx", REGPROBE_HAS_RELEASE_KEY_OBJECT_ID_EX);
    RESOLVE(get_bound_transaction, "CmGetBoundTransaction", REGPROBE_HAS_GET_BOUND_TRANSACTION);
    RESOLVE(flush_key, "ZwFlushKey", 0);
}
