#include "program_pretence.h"

/* Seen with Wine 8.0. */
static const char *const reasons[OP_END] = {
    [OP_QUERY_MULTIPLE] = "NtQueryMultipleValueKey is a stub: STATUS_SUCCESS, and no output is written",
    [OP_SET_INFORMATION_KEY] = "NtSetInformationKey is a stub: STATUS_SUCCESS, and nothing is set",
    [OP_LOAD_APP_KEY] = "there are no application hives: RegLoadAppKey gives the handle 0xDEADBEEF",
    [OP_RESTORE_KEY] = "NtRestoreKey is a stub: STATUS_SUCCESS, and nothing is restored",
    [OP_REPLACE_KEY] = "NtReplaceKey is a stub: STATUS_SUCCESS, and no file changes",
    [OP_CREATE_TRANSACTION] = "NtCreateTransaction is a stub: STATUS_SUCCESS, and the handle 1",
    [OP_COMMIT] = "there are no transactions",
    [OP_ROLLBACK] = "there are no transactions",
    [OP_OPEN_KEY_TRANSACTED] = "there are no transactions",
    [OP_CREATE_KEY_TRANSACTED] = "there are no transactions",
    [OP_WIN32_LOAD_APP_KEY] = "there are no application hives: RegLoadAppKeyW gives the handle 0xDEADBEEF",
    [OP_WIN32_RESTORE_KEY] = "RegRestoreKeyW comes down to the stub of NtRestoreKey",
    [OP_WIN32_REPLACE_KEY] = "RegReplaceKeyW comes down to the stub of NtReplaceKey",
};

static bool fills_a_buffer(OPCODE opcode)
{
    return (opcode_rules[opcode].accepted & 1ull << FIELD_LENGTH) != 0;
}

const char *pretence_of(const OPERATION *operation)
{
    if (operation->opcode == OP_LOAD_KEY && operation->fields[FIELD_FORM].number >= 3) {
        return "NtLoadKeyEx gives no root handle and knows neither flags, trust class nor event";
    }
    if (operation->opcode == OP_LOAD_KEY && operation->fields[FIELD_FLAGS].number != 0) {
        return "NtLoadKey2 does not look at its flags";
    }
    if (operation->opcode == OP_WIN32_SAVE_KEY && operation->fields[FIELD_FORMAT].given) {
        return "RegSaveKeyExW does not look at its format";
    }
    if (operation->opcode >= OP_WIN32_CREATE_KEY && operation->fields[FIELD_TRANSACTION].given) {
        return "there are no transactions";
    }
    if (operation->fields[FIELD_ADDRESS].given && fills_a_buffer(operation->opcode)) {
        return "a reply of Wine's server to an address that is none ends the thread";
    }
    return reasons[operation->opcode];
}
