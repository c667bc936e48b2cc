"""The Win32 calls a program can contain: rows of the operation table (`harness.workload.opcodes`).

A Win32 call is what an application makes: advapi32 or kernelbase turns it into native calls, more than one
where it retries or looks something up. What they share:

- the status is 0 or NTSTATUS_FROM_WIN32 of the error (ntstatus.h): 0xC0070000 with the Win32 error in the low
  16 bits. `OperationResult.win32_error` is None for any other: a routine that this Windows lacks gives
  STATUS_PROCEDURE_NOT_FOUND, as native ones do;
- keys are `predefined` (an HKEY_xxx), `root` or `handle`, and names below them; a name ends at its first NUL;
- files are DOS paths as they are;
- `length` is the size of the data buffer. After ERROR_SUCCESS the result's buffer is laid out as the native
  information class of the same content; `result_length` is the size the call gave back.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["WIN32_ROWS", "Win32Row"]


class Win32Row(NamedTuple):
    """As `harness.workload.opcodes.OpcodeSpec`; field names separated by blanks."""

    native: str
    meaning: str
    needs: str
    takes: str
    results: str
    source: str


_BELOW: Final = "predefined root name"
_SECURITY: Final = "sddl security"

#: By the opcode's name without WIN32_.
WIN32_ROWS: Final[dict[str, Win32Row]] = {
    "CREATE_KEY": Win32Row(
        "RegCreateKeyExW; RegCreateKeyTransactedW when `transaction` is present",
        "Create or open a key. `null_result` passes NULL for lpdwDisposition.",
        "out",
        f"{_BELOW} {_SECURITY} access class_name options null_result transaction",
        "handle, disposition",
        "sdk regcreatekeyexw, regcreatekeytransactedw",
    ),
    "OPEN_KEY": Win32Row(
        "RegOpenKeyExW; RegOpenKeyTransactedW when `transaction` is present",
        "Open an existing key.",
        "out",
        f"{_BELOW} access options transaction",
        "handle",
        "sdk regopenkeyexw, regopenkeytransactedw",
    ),
    "CLOSE_KEY": Win32Row("RegCloseKey", "Close a key.", "handle", "", "", "sdk regclosekey"),
    "DELETE_KEY": Win32Row(
        "RegDeleteKeyW; RegDeleteKeyExW when `access` is not 0 (KEY_WOW64_xxx); RegDeleteKeyTransactedW when "
        "`transaction` is present",
        "Delete a key that has no subkeys.",
        "name",
        f"{_BELOW} access transaction",
        "",
        "sdk regdeletekeyw, regdeletekeyexw, regdeletekeytransactedw",
    ),
    "SET_VALUE": Win32Row(
        "RegSetValueExW",
        "Write a value.",
        "handle",
        "value_name type data",
        "input_address",
        "sdk regsetvalueexw",
    ),
    "DELETE_VALUE": Win32Row(
        "RegDeleteValueW", "Delete a value.", "handle", "value_name", "", "sdk regdeletevaluew"
    ),
    "QUERY_VALUE": Win32Row(
        "RegQueryValueExW",
        "Read a value.",
        "handle",
        "value_name length",
        "buffer (KEY_VALUE_PARTIAL_INFORMATION), result_length, output_address",
        "sdk regqueryvalueexw",
    ),
    "GET_VALUE": Win32Row(
        "RegGetValueW",
        "Read a value of the key or of its subkey `name`; `flags` are RRF_xxx.",
        "handle",
        "name value_name length flags",
        "buffer (KEY_VALUE_PARTIAL_INFORMATION), result_length, output_address",
        "sdk reggetvaluew",
    ),
    "ENUMERATE_KEY": Win32Row(
        "RegEnumKeyExW",
        "Name and time of the subkey at `index`.",
        "handle",
        "index",
        "buffer (KEY_BASIC_INFORMATION)",
        "sdk regenumkeyexw",
    ),
    "ENUMERATE_VALUE": Win32Row(
        "RegEnumValueW",
        "Read the value at `index`.",
        "handle",
        "index length",
        "buffer (KEY_VALUE_FULL_INFORMATION), result_length, output_address",
        "sdk regenumvaluew",
    ),
    "QUERY_KEY": Win32Row(
        "RegQueryInfoKeyW",
        "Counts, longest names and time of the key. The class is not asked for.",
        "handle",
        "",
        "buffer (KEY_FULL_INFORMATION without a class)",
        "sdk regqueryinfokeyw",
    ),
    "LOAD_APP_KEY": Win32Row(
        "RegLoadAppKeyW",
        "Load `file` as an application hive. `options` 1 is REG_PROCESS_APPKEY. No privilege is enabled.",
        "out file",
        "access options",
        "handle",
        "sdk regloadappkeyw",
    ),
    "LOAD_KEY": Win32Row(
        "RegLoadKeyW",
        "Mount `file`. The runner enables SeRestore and SeBackup, here and for the three below.",
        "name file",
        "predefined root",
        "",
        "sdk regloadkeyw",
    ),
    "UNLOAD_KEY": Win32Row(
        "RegUnLoadKeyW", "Unmount a hive.", "name", "predefined root", "", "sdk regunloadkeyw"
    ),
    "SAVE_KEY": Win32Row(
        "RegSaveKeyW; RegSaveKeyExW when `format` is present",
        "Save the subtree to a new `file`.",
        "handle file",
        "format",
        "",
        "sdk regsavekeyw, regsavekeyexw",
    ),
    "RESTORE_KEY": Win32Row(
        "RegRestoreKeyW",
        "Replace the subtree by the content of `file`.",
        "handle file",
        "flags",
        "",
        "sdk regrestorekeyw",
    ),
    "RENAME_KEY": Win32Row(
        "RegRenameKey",
        "Rename the key, or its subkey `name`.",
        "handle new_name",
        "name",
        "",
        "sdk regrenamekey",
    ),
    "FLUSH_KEY": Win32Row(
        "RegFlushKey", "Write the key's hive to disk.", "handle", "", "", "sdk regflushkey"
    ),
    "DELETE_TREE": Win32Row(
        "RegDeleteTreeW",
        "Delete what is below the key, or its subkey `name` with everything below.",
        "handle",
        "name",
        "",
        "sdk regdeletetreew",
    ),
    "COPY_TREE": Win32Row(
        "RegCopyTreeW",
        "Copy what is below the key, or below its subkey `name`, to `low_handle`.",
        "handle low_handle",
        "name",
        "",
        "sdk regcopytreew",
    ),
    "GET_SECURITY": Win32Row(
        "RegGetKeySecurity",
        "Read the descriptor's parts in `security_information`.",
        "handle security_information",
        "length",
        "buffer, result_length, output_address",
        "sdk reggetkeysecurity",
    ),
    "SET_SECURITY": Win32Row(
        "RegSetKeySecurity",
        "Write the parts in `security_information` from `security` or `sddl`.",
        "handle security_information",
        _SECURITY,
        "",
        "sdk regsetkeysecurity",
    ),
    "QUERY_MULTIPLE": Win32Row(
        "RegQueryMultipleValuesW",
        "Read several values at once.",
        "handle value_names",
        "length",
        "entries (data length, data offset, type of each), buffer, result_length, output_address",
        "sdk regquerymultiplevaluesw",
    ),
    "NOTIFY_CHANGE_KEY": Win32Row(
        "RegNotifyChangeKeyValue (asynchronous)",
        "Ask to signal `event` when the key changes; `flags` are REG_NOTIFY_CHANGE_xxx.",
        "handle event",
        "flags",
        "",
        "sdk regnotifychangekeyvalue",
    ),
    "REPLACE_KEY": Win32Row(
        "RegReplaceKeyW",
        "Make `file` the file of the hive, or of the one at its subkey `name`, from the next boot on and "
        "keep the old one as `old_file`. The runner enables SeRestore and SeBackup.",
        "handle file old_file",
        "name",
        "",
        "sdk regreplacekeyw",
    ),
}
