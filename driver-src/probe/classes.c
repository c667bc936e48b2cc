/*
 * The structures of the notify classes as tables, so that one capture routine serves them all.
 *
 * Offsets come from the headers; the two structures that those lack (ns-wdm-_reg_query_key_name,
 * ns-wdm-reg_save_merged_key_information) are declared here. Before Vista every structure ends before
 * CallContext, create and open after RootObject (B-VER-11).
 */
#include "regprobe_internal.h"

typedef struct _QUERY_KEY_NAME {
    PVOID Object;
    POBJECT_NAME_INFORMATION ObjectNameInfo;
    ULONG Length;
    PULONG ReturnLength;
    PVOID CallContext;
    PVOID ObjectContext;
    PVOID Reserved;
} QUERY_KEY_NAME;

typedef struct _SAVE_MERGED_KEY {
    PVOID Object;
    HANDLE FileHandle;
    PVOID HighKeyObject;
    PVOID LowKeyObject;
    PVOID CallContext;
    PVOID ObjectContext;
    PVOID Reserved;
} SAVE_MERGED_KEY;

typedef struct _XP_POST_KEY {
    PUNICODE_STRING CompleteName;
    PVOID Object;
    NTSTATUS Status;
} XP_POST_KEY;

/* ns-wdm-reg_load_key_information_v2 appends FileAccessToken behind the version slot. */
#define LOAD_V2_SIZE (sizeof(REG_LOAD_KEY_INFORMATION) + sizeof(PVOID))
#define LOAD_V2_MARK 2

#define AT(type, member) ((UCHAR)FIELD_OFFSET(type, member))
#define SHAPE_OF(type)                                                                                 \
    .size = sizeof(type), .call_context = AT(type, CallContext), .object_context = AT(type, ObjectContext)
/* clang-format off */
#define NO_MEMBERS                                                                                        \
    .object = NO_MEMBER, .root_object = NO_MEMBER, .name = NO_MEMBER, .second_name = NO_MEMBER,        \
    .class_name = NO_MEMBER, .data = NO_MEMBER, .data_length = NO_MEMBER, .output = NO_MEMBER,         \
    .capacity = NO_MEMBER, .capacity_pointer = NO_MEMBER, .result_length = NO_MEMBER,                  \
    .call_context = NO_MEMBER, .object_context = NO_MEMBER
/* clang-format on */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"

static const SHAPE shape_object = {
    NO_MEMBERS,
    SHAPE_OF(REG_DELETE_KEY_INFORMATION),
    .short_size = AT(REG_DELETE_KEY_INFORMATION, CallContext),
    .object = 0};
static const SHAPE shape_set_value = {
    NO_MEMBERS,
    SHAPE_OF(REG_SET_VALUE_KEY_INFORMATION),
    .short_size = AT(REG_SET_VALUE_KEY_INFORMATION, CallContext),
    .object = 0,
    .name = AT(REG_SET_VALUE_KEY_INFORMATION, ValueName),
    .data = AT(REG_SET_VALUE_KEY_INFORMATION, Data),
    .data_length = AT(REG_SET_VALUE_KEY_INFORMATION, DataSize)};
static const SHAPE shape_delete_value = {
    NO_MEMBERS,
    SHAPE_OF(REG_DELETE_VALUE_KEY_INFORMATION),
    .short_size = AT(REG_DELETE_VALUE_KEY_INFORMATION, CallContext),
    .object = 0,
    .name = AT(REG_DELETE_VALUE_KEY_INFORMATION, ValueName)};
static const SHAPE shape_set_information = {
    NO_MEMBERS,
    SHAPE_OF(REG_SET_INFORMATION_KEY_INFORMATION),
    .short_size = AT(REG_SET_INFORMATION_KEY_INFORMATION, CallContext),
    .object = 0,
    .data = AT(REG_SET_INFORMATION_KEY_INFORMATION, KeySetInformation),
    .data_length = AT(REG_SET_INFORMATION_KEY_INFORMATION, KeySetInformationLength)};
static const SHAPE shape_rename = {
    NO_MEMBERS,
    SHAPE_OF(REG_RENAME_KEY_INFORMATION),
    .short_size = AT(REG_RENAME_KEY_INFORMATION, CallContext),
    .object = 0,
    .name = AT(REG_RENAME_KEY_INFORMATION, NewName)};
static const SHAPE shape_enumerate_key = {
    NO_MEMBERS,
    SHAPE_OF(REG_ENUMERATE_KEY_INFORMATION),
    .short_size = AT(REG_ENUMERATE_KEY_INFORMATION, CallContext),
    .object = 0,
    .output = AT(REG_ENUMERATE_KEY_INFORMATION, KeyInformation),
    .capacity = AT(REG_ENUMERATE_KEY_INFORMATION, Length),
    .result_length = AT(REG_ENUMERATE_KEY_INFORMATION, ResultLength)};
static const SHAPE shape_enumerate_value = {
    NO_MEMBERS,
    SHAPE_OF(REG_ENUMERATE_VALUE_KEY_INFORMATION),
    .short_size = AT(REG_ENUMERATE_VALUE_KEY_INFORMATION, CallContext),
    .object = 0,
    .output = AT(REG_ENUMERATE_VALUE_KEY_INFORMATION, KeyValueInformation),
    .capacity = AT(REG_ENUMERATE_VALUE_KEY_INFORMATION, Length),
    .result_length = AT(REG_ENUMERATE_VALUE_KEY_INFORMATION, ResultLength)};
static const SHAPE shape_query_key = {
    NO_MEMBERS,
    SHAPE_OF(REG_QUERY_KEY_INFORMATION),
    .short_size = AT(REG_QUERY_KEY_INFORMATION, CallContext),
    .object = 0,
    .output = AT(REG_QUERY_KEY_INFORMATION, KeyInformation),
    .capacity = AT(REG_QUERY_KEY_INFORMATION, Length),
    .result_length = AT(REG_QUERY_KEY_INFORMATION, ResultLength)};
static const SHAPE shape_query_value = {
    NO_MEMBERS,
    SHAPE_OF(REG_QUERY_VALUE_KEY_INFORMATION),
    .short_size = AT(REG_QUERY_VALUE_KEY_INFORMATION, CallContext),
    .object = 0,
    .name = AT(REG_QUERY_VALUE_KEY_INFORMATION, ValueName),
    .output = AT(REG_QUERY_VALUE_KEY_INFORMATION, KeyValueInformation),
    .capacity = AT(REG_QUERY_VALUE_KEY_INFORMATION, Length),
    .result_length = AT(REG_QUERY_VALUE_KEY_INFORMATION, ResultLength)};
static const SHAPE shape_query_multiple = {
    NO_MEMBERS,
    SHAPE_OF(REG_QUERY_MULTIPLE_VALUE_KEY_INFORMATION),
    .short_size = AT(REG_QUERY_MULTIPLE_VALUE_KEY_INFORMATION, CallContext),
    .object = 0,
    .output = AT(REG_QUERY_MULTIPLE_VALUE_KEY_INFORMATION, ValueBuffer),
    .capacity_pointer = AT(REG_QUERY_MULTIPLE_VALUE_KEY_INFORMATION, BufferLength),
    .result_length = AT(REG_QUERY_MULTIPLE_VALUE_KEY_INFORMATION, RequiredBufferLength)};
static const SHAPE shape_xp_key = {
    NO_MEMBERS,
    .size = sizeof(REG_PRE_CREATE_KEY_INFORMATION),
    .short_size = sizeof(REG_PRE_CREATE_KEY_INFORMATION),
    .name = 0};
static const SHAPE shape_xp_post_key = {
    NO_MEMBERS,
    .size = sizeof(XP_POST_KEY),
    .short_size = sizeof(XP_POST_KEY),
    .object = AT(XP_POST_KEY, Object),
    .name = AT(XP_POST_KEY, CompleteName)};
static const SHAPE shape_create = {
    NO_MEMBERS,
    .size = sizeof(REG_CREATE_KEY_INFORMATION),
    .short_size = AT(REG_CREATE_KEY_INFORMATION, ObjectType),
    .root_object = AT(REG_CREATE_KEY_INFORMATION, RootObject),
    .name = AT(REG_CREATE_KEY_INFORMATION, CompleteName),
    .second_name = AT(REG_CREATE_KEY_INFORMATION_V1, RemainingName),
    .class_name = AT(REG_CREATE_KEY_INFORMATION, Class),
    .call_context = AT(REG_CREATE_KEY_INFORMATION, CallContext),
    .object_context = AT(REG_CREATE_KEY_INFORMATION, RootObjectContext)};
static const SHAPE shape_load = {
    NO_MEMBERS,
    SHAPE_OF(REG_LOAD_KEY_INFORMATION),
    .object = 0,
    .name = AT(REG_LOAD_KEY_INFORMATION, KeyName),
    .second_name = AT(REG_LOAD_KEY_INFORMATION, SourceFile)};
static const SHAPE shape_unload = {NO_MEMBERS, SHAPE_OF(REG_UNLOAD_KEY_INFORMATION), .object = 0};
static const SHAPE shape_query_security = {
    NO_MEMBERS,
    SHAPE_OF(REG_QUERY_KEY_SECURITY_INFORMATION),
    .object = 0,
    .output = AT(REG_QUERY_KEY_SECURITY_INFORMATION, SecurityDescriptor),
    .capacity_pointer = AT(REG_QUERY_KEY_SECURITY_INFORMATION, Length),
    .result_length = AT(REG_QUERY_KEY_SECURITY_INFORMATION, Length)};
static const SHAPE shape_set_security = {NO_MEMBERS, SHAPE_OF(REG_SET_KEY_SECURITY_INFORMATION), .object = 0};
static const SHAPE shape_cleanup = {
    NO_MEMBERS,
    .size = sizeof(REG_CALLBACK_CONTEXT_CLEANUP_INFORMATION),
    .object = 0,
    .object_context = AT(REG_CALLBACK_CONTEXT_CLEANUP_INFORMATION, ObjectContext)};
static const SHAPE shape_restore = {NO_MEMBERS, SHAPE_OF(REG_RESTORE_KEY_INFORMATION), .object = 0};
static const SHAPE shape_replace = {
    NO_MEMBERS,
    SHAPE_OF(REG_REPLACE_KEY_INFORMATION),
    .object = 0,
    .name = AT(REG_REPLACE_KEY_INFORMATION, OldFileName),
    .second_name = AT(REG_REPLACE_KEY_INFORMATION, NewFileName)};
static const SHAPE shape_query_name = {
    NO_MEMBERS,
    SHAPE_OF(QUERY_KEY_NAME),
    .object = 0,
    .output = AT(QUERY_KEY_NAME, ObjectNameInfo),
    .capacity = AT(QUERY_KEY_NAME, Length),
    .result_length = AT(QUERY_KEY_NAME, ReturnLength)};
static const SHAPE shape_save_merged = {NO_MEMBERS, SHAPE_OF(SAVE_MERGED_KEY), .object = 0};

#pragma GCC diagnostic pop

/* By class: the structure of the pre notification it belongs to, and that notification's class when it is a post. */
static const struct {
    const SHAPE *shape;
    UCHAR pre_class; /* CLASS_NONE: a pre notification itself */
} classes[CLASS_COUNT] = {
    [0] = {&shape_object, CLASS_NONE},
    [1] = {&shape_set_value, CLASS_NONE},
    [2] = {&shape_delete_value, CLASS_NONE},
    [3] = {&shape_set_information, CLASS_NONE},
    [4] = {&shape_rename, CLASS_NONE},
    [5] = {&shape_enumerate_key, CLASS_NONE},
    [6] = {&shape_enumerate_value, CLASS_NONE},
    [7] = {&shape_query_key, CLASS_NONE},
    [8] = {&shape_query_value, CLASS_NONE},
    [9] = {&shape_query_multiple, CLASS_NONE},
    [CLASS_XP_PRE_CREATE] = {&shape_xp_key, CLASS_NONE},
    [CLASS_XP_POST_CREATE] = {&shape_xp_post_key, CLASS_XP_PRE_CREATE},
    [CLASS_XP_PRE_OPEN] = {&shape_xp_key, CLASS_NONE},
    [CLASS_XP_POST_OPEN] = {&shape_xp_post_key, CLASS_XP_PRE_OPEN},
    [CLASS_PRE_CLOSE] = {&shape_object, CLASS_NONE},
    [15] = {&shape_object, 0},
    [CLASS_POST_SET_VALUE] = {&shape_set_value, 1},
    [17] = {&shape_delete_value, 2},
    [18] = {&shape_set_information, 3},
    [19] = {&shape_rename, 4},
    [20] = {&shape_enumerate_key, 5},
    [21] = {&shape_enumerate_value, 6},
    [22] = {&shape_query_key, 7},
    [23] = {&shape_query_value, 8},
    [24] = {&shape_query_multiple, 9},
    [CLASS_POST_CLOSE] = {&shape_object, CLASS_PRE_CLOSE},
    [CLASS_PRE_CREATE_EX] = {&shape_create, CLASS_NONE},
    [CLASS_POST_CREATE_EX] = {&shape_create, CLASS_PRE_CREATE_EX},
    [CLASS_PRE_OPEN_EX] = {&shape_create, CLASS_NONE},
    [CLASS_POST_OPEN_EX] = {&shape_create, CLASS_PRE_OPEN_EX},
    [30] = {&shape_object, CLASS_NONE},
    [31] = {&shape_object, 30},
    [CLASS_PRE_LOAD] = {&shape_load, CLASS_NONE},
    [CLASS_POST_LOAD] = {&shape_load, CLASS_PRE_LOAD},
    [34] = {&shape_unload, CLASS_NONE},
    [CLASS_POST_UNLOAD] = {&shape_unload, 34},
    [36] = {&shape_query_security, CLASS_NONE},
    [37] = {&shape_query_security, 36},
    [38] = {&shape_set_security, CLASS_NONE},
    [39] = {&shape_set_security, 38},
    [CLASS_CONTEXT_CLEANUP] = {&shape_cleanup, CLASS_NONE},
    [41] = {&shape_restore, CLASS_NONE},
    [42] = {&shape_restore, 41},
    [43] = {&shape_restore, CLASS_NONE}, /* save: FileHandle and Format where restore has FileHandle and Flags */
    [44] = {&shape_restore, 43},
    [45] = {&shape_replace, CLASS_NONE},
    [46] = {&shape_replace, 45},
    [CLASS_PRE_QUERY_NAME] = {&shape_query_name, CLASS_NONE},
    [48] = {&shape_query_name, CLASS_PRE_QUERY_NAME},
    [49] = {&shape_save_merged, CLASS_NONE},
    [CLASS_POST_SAVE_MERGED] = {&shape_save_merged, 49},
};

const SHAPE *ClassShape(ULONG notify_class, ULONG *pre_class, BOOLEAN *is_post)
{
    *pre_class = notify_class;
    *is_post = FALSE;
    if (notify_class >= CLASS_COUNT) {
        return NULL; /* newer than this driver: nothing is known about its structure */
    }
    if (classes[notify_class].pre_class != CLASS_NONE) {
        *pre_class = classes[notify_class].pre_class;
        *is_post = TRUE;
    }
    return classes[notify_class].shape;
}

/* Bytes of a structure as delivered: its version is told by the structure itself (B-INF-20). */
ULONG ClassSize(const SHAPE *shape, ULONG pre_class, const UCHAR *information)
{
    if (probe.short_structures) {
        return shape->short_size;
    }
    if (ClassIsCreateOrOpen(pre_class) && shape == &shape_create) {
        const REG_CREATE_KEY_INFORMATION *create = (const REG_CREATE_KEY_INFORMATION *)information;

        return create->Reserved != NULL ? sizeof(REG_CREATE_KEY_INFORMATION_V1) : shape->size;
    }
    if (pre_class == CLASS_PRE_LOAD) {
        const REG_LOAD_KEY_INFORMATION *load = (const REG_LOAD_KEY_INFORMATION *)information;

        return load->Reserved == (PVOID)LOAD_V2_MARK ? LOAD_V2_SIZE : shape->size;
    }
    return shape->size;
}

BOOLEAN ClassHasValueName(ULONG pre_class)
{
    return pre_class == CLASS_SET_VALUE || pre_class == CLASS_DELETE_VALUE || pre_class == 8;
}
