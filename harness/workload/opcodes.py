"""Every operation a workload program can contain: number, native call, fields, results, source.

Numbers never change meaning; new operations take new numbers. The table is the reference for whoever
executes programs; `python -m harness.workload.opcodes` prints it.

Rules for every executor:

- operations run in order, each on its `process` and `thread`, user mode, PASSIVE_LEVEL; one in the
  `background` is begun in its turn, and the next ones need not wait for its end;
- a slot holds a raw handle value; a slot never filled holds NULL, a closed one keeps its old value, so that
  bad handles can be passed on purpose; a slot used in another process is passed as it is; a slot filled by a
  process that has ended is invalid everywhere, for the next process gets the same numbers again;
- a failed operation does not stop the program;
- input buffers have exactly the given bytes; output buffers are filled with `FILL_BYTE` before the call;
- handles still open at the end are closed in slot order after the last operation, also after a failure;
- `begin` and `end` of the result are counter reads right around the native call named in the table; what
  the runner does beside it (opening the file of a save, the device of a control) lies outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from harness.workload.fields import FIELDS, FieldSpec
from harness.workload.win32_rows import WIN32_ROWS

__all__ = ["FILL_BYTE", "SPECS", "Opcode", "OpcodeSpec"]

#: What output buffers hold before a call, so that untouched bytes can be told apart.
FILL_BYTE: Final = 0xA5


class Opcode(IntEnum):
    """The operations of a program. `SPECS` documents each."""

    CREATE_KEY = 1
    OPEN_KEY = 2
    CLOSE = 3
    DELETE_KEY = 4
    SET_VALUE = 5
    DELETE_VALUE = 6
    QUERY_VALUE = 7
    ENUMERATE_VALUE = 8
    ENUMERATE_KEY = 9
    QUERY_KEY = 10
    QUERY_MULTIPLE = 11
    RENAME_KEY = 12
    SET_INFORMATION_KEY = 13
    FLUSH_KEY = 14
    LOAD_KEY = 15
    LOAD_APP_KEY = 16
    UNLOAD_KEY = 17
    QUERY_SECURITY = 18
    SET_SECURITY = 19
    QUERY_OBJECT_NAME = 20
    QUERY_OBJECT_BASIC = 21
    SAVE_KEY = 22
    SAVE_MERGED = 23
    RESTORE_KEY = 24
    REPLACE_KEY = 25
    DUPLICATE_HANDLE = 26
    DEVICE_CONTROL = 27
    CREATE_TRANSACTION = 28
    COMMIT = 29
    ROLLBACK = 30
    OPEN_KEY_TRANSACTED = 31
    CREATE_KEY_TRANSACTED = 32
    MARK = 33
    CREATE_EVENT = 34
    NOTIFY_CHANGE_KEY = 35
    DELETE_FILE = 36
    TERMINATE_PROCESS = 37
    # Win32 calls: harness.workload.win32_rows
    WIN32_CREATE_KEY = 38
    WIN32_OPEN_KEY = 39
    WIN32_CLOSE_KEY = 40
    WIN32_DELETE_KEY = 41
    WIN32_SET_VALUE = 42
    WIN32_DELETE_VALUE = 43
    WIN32_QUERY_VALUE = 44
    WIN32_GET_VALUE = 45
    WIN32_ENUMERATE_KEY = 46
    WIN32_ENUMERATE_VALUE = 47
    WIN32_QUERY_KEY = 48
    WIN32_LOAD_APP_KEY = 49
    WIN32_LOAD_KEY = 50
    WIN32_UNLOAD_KEY = 51
    WIN32_SAVE_KEY = 52
    WIN32_RESTORE_KEY = 53
    WIN32_RENAME_KEY = 54
    WIN32_FLUSH_KEY = 55
    # Memory of the program's own
    ALLOCATE_MEMORY = 56
    WRITE_MEMORY = 57
    FREE_MEMORY = 58
    # Events
    SET_EVENT = 59
    WAIT = 60
    # Lightweight transactions
    CREATE_REGISTRY_TRANSACTION = 61
    COMMIT_REGISTRY_TRANSACTION = 62
    ROLLBACK_REGISTRY_TRANSACTION = 63
    # Who asks
    IMPERSONATE = 64
    REVERT = 65
    # More Win32 calls
    WIN32_DELETE_TREE = 66
    WIN32_COPY_TREE = 67
    WIN32_GET_SECURITY = 68
    WIN32_SET_SECURITY = 69
    WIN32_QUERY_MULTIPLE = 70
    WIN32_NOTIFY_CHANGE_KEY = 71
    WIN32_REPLACE_KEY = 72

    @property
    def is_win32(self) -> bool:
        """Whether it is a call of advapi32, whose status is a Win32 error."""
        return self in _WIN32


_WIN32: Final = frozenset(opcode for opcode in Opcode if opcode.name.startswith("WIN32_"))


@dataclass(frozen=True, slots=True)
class OpcodeSpec:
    """One row of the table. `fields` names what the operation accepts, `required` what must be there."""

    opcode: Opcode
    native: str
    meaning: str
    results: str
    source: str
    required: frozenset[str]
    fields: frozenset[str]

    def field_specs(self) -> tuple[FieldSpec, ...]:
        """The accepted fields in table order."""
        return tuple(spec for name, spec in FIELDS.items() if name in self.fields)


_WHERE = "process thread background"
_OBJECT = "root name attributes sddl security name_maximum"


def _spec(
    opcode: Opcode,
    native: str,
    meaning: str,
    *,
    needs: str = "",
    takes: str = "",
    results: str = "",
    source: str,
) -> OpcodeSpec:
    required = frozenset(needs.split())
    return OpcodeSpec(
        opcode, native, meaning, results, source, required, required | frozenset(f"{takes} {_WHERE}".split())
    )


_ROWS: Final = (
    _spec(
        Opcode.CREATE_KEY,
        "NtCreateKey",
        "Create or open one key. `null_result` passes NULL for Disposition.",
        needs="out",
        takes=f"{_OBJECT} access title_index class_name options null_result",
        results="handle, disposition (1 created, 2 opened), name_address",
        source="nf-wdm-zwcreatekey",
    ),
    _spec(
        Opcode.OPEN_KEY,
        "NtOpenKey; NtOpenKeyEx when `options` is present (Windows 7 and later)",
        "Open an existing key.",
        needs="out",
        takes=f"{_OBJECT} access options",
        results="handle, name_address",
        source="nf-wdm-zwopenkey, nf-wdm-zwopenkeyex",
    ),
    _spec(
        Opcode.CLOSE,
        "NtClose",
        "Close a handle of any kind in its process.",
        needs="handle",
        source="nf-ntifs-ntclose",
    ),
    _spec(Opcode.DELETE_KEY, "NtDeleteKey", "Delete the key.", needs="handle", source="nf-wdm-zwdeletekey"),
    _spec(
        Opcode.SET_VALUE,
        "NtSetValueKey",
        "Write a value. Absent data is a NULL pointer; `data_size` may lie about the size.",
        needs="handle",
        takes="value_name name_maximum title_index type data data_size address buffer",
        results="input_address (data), name_address",
        source="nf-wdm-zwsetvaluekey",
    ),
    _spec(
        Opcode.DELETE_VALUE,
        "NtDeleteValueKey",
        "Delete a value.",
        needs="handle",
        takes="value_name name_maximum",
        results="name_address",
        source="nf-wdm-zwdeletevaluekey",
    ),
    _spec(
        Opcode.QUERY_VALUE,
        "NtQueryValueKey",
        "Read a value. `info_class` is KEY_VALUE_INFORMATION_CLASS.",
        needs="handle",
        takes="value_name name_maximum info_class length address buffer",
        results="buffer, result_length, output_address, name_address",
        source="nf-wdm-zwqueryvaluekey",
    ),
    _spec(
        Opcode.ENUMERATE_VALUE,
        "NtEnumerateValueKey",
        "Read the value at `index`. `info_class` is KEY_VALUE_INFORMATION_CLASS.",
        needs="handle",
        takes="index info_class length address buffer",
        results="buffer, result_length, output_address",
        source="nf-wdm-zwenumeratevaluekey",
    ),
    _spec(
        Opcode.ENUMERATE_KEY,
        "NtEnumerateKey",
        "Describe the subkey at `index`. `info_class` is KEY_INFORMATION_CLASS.",
        needs="handle",
        takes="index info_class length address buffer",
        results="buffer, result_length, output_address",
        source="nf-wdm-zwenumeratekey",
    ),
    _spec(
        Opcode.QUERY_KEY,
        "NtQueryKey",
        "Describe the key. `info_class` is KEY_INFORMATION_CLASS.",
        needs="handle",
        takes="info_class length address buffer",
        results="buffer, result_length, output_address",
        source="nf-wdm-zwquerykey",
    ),
    _spec(
        Opcode.QUERY_MULTIPLE,
        "NtQueryMultipleValueKey",
        "Read several values at once. `null_result` passes NULL for RequiredBufferLength.",
        needs="handle value_names",
        takes="length address buffer null_result",
        results="entries (data length, data offset, type of each), buffer, buffer_length (BufferLength on "
        "return), result_length (RequiredBufferLength), output_address",
        source="nf-winternl-ntquerymultiplevaluekey",
    ),
    _spec(
        Opcode.RENAME_KEY,
        "NtRenameKey",
        "Change the key's last component to `new_name`.",
        needs="handle new_name",
        takes="name_maximum",
        results="name_address",
        source="nf-winternl-ntrenamekey",
    ),
    _spec(
        Opcode.SET_INFORMATION_KEY,
        "NtSetInformationKey",
        "Set `data` for `info_class` (KEY_SET_INFORMATION_CLASS; 0 is KeyWriteTimeInformation, 8 bytes).",
        needs="handle info_class",
        takes="data data_size address buffer",
        results="input_address",
        source="nf-winternl-ntsetinformationkey",
    ),
    _spec(
        Opcode.FLUSH_KEY,
        "NtFlushKey",
        "Write the key's hive to disk.",
        needs="handle",
        source="nf-wdm-zwflushkey",
    ),
    _spec(
        Opcode.LOAD_KEY,
        "form 1: NtLoadKey; 2: NtLoadKey2; 3: NtLoadKeyEx; 4: NtLoadKey3 (Windows 10 2004 and later)",
        "Mount the hive in `file` at `root`+`name`. Forms 3 and 4 pass `trust`, `event`, `access` and, when "
        "`out` is given, a pointer for the root handle. The runner enables SeRestore and SeBackup.",
        needs="name file",
        takes=f"out {_OBJECT} flags form trust event access",
        results="handle (form 3), name_address",
        source="ns-wdm-_reg_load_key_information; sdk regloadkeya; phnt NtLoadKeyEx",
    ),
    _spec(
        Opcode.LOAD_APP_KEY,
        "NtLoadKeyEx with REG_APP_HIVE, as RegLoadAppKey does",
        "Mount `file` as an application hive at \\REGISTRY\\A\\{name}; absent `name`: a new GUID in braces. "
        "`options` 1 is REG_PROCESS_APPKEY and adds REG_PROCESS_PRIVATE. No privilege is enabled.",
        needs="out file",
        takes="name access options",
        results="handle, name_address",
        source="sdk regloadappkeya; B-APP-01, B-APP-11, B-APP-13",
    ),
    _spec(
        Opcode.UNLOAD_KEY,
        "form 1: NtUnloadKey; 2: NtUnloadKey2 with `flags`; 3: NtUnloadKeyEx with `event`",
        "Unmount the hive whose root is `root`+`name`. Flag 1 is REG_FORCE_UNLOAD.",
        takes="root name attributes name_maximum flags form event",
        results="name_address",
        source="ns-wdm-_reg_unload_key_information; sdk regunloadkeya",
    ),
    _spec(
        Opcode.QUERY_SECURITY,
        "NtQuerySecurityObject",
        "Read the descriptor's parts in `security_information` (self-relative).",
        needs="handle security_information",
        takes="length address buffer",
        results="buffer, result_length (LengthNeeded), output_address",
        source="nf-ntifs-ntquerysecurityobject; B-HIV-16, B-HIV-17",
    ),
    _spec(
        Opcode.SET_SECURITY,
        "NtSetSecurityObject",
        "Write the parts in `security_information` from `security` or `sddl`.",
        needs="handle security_information",
        takes="security sddl",
        results="input_address",
        source="nf-ntifs-ntsetsecurityobject; B-HIV-16",
    ),
    _spec(
        Opcode.QUERY_OBJECT_NAME,
        "NtQueryObject(ObjectNameInformation)",
        "Read the object's name; buffer is an OBJECT_NAME_INFORMATION with pointers as the guest wrote them.",
        needs="handle",
        takes="length address buffer",
        results="buffer, result_length, output_address",
        source="nf-winternl-ntqueryobject; B-HIV-18",
    ),
    _spec(
        Opcode.QUERY_OBJECT_BASIC,
        "NtQueryObject(ObjectBasicInformation)",
        "Read attributes, granted access and counts; buffer is the 56-byte OBJECT_BASIC_INFORMATION.",
        needs="handle",
        takes="length",
        results="buffer, result_length, output_address",
        source="nf-winternl-ntqueryobject; B-NOT-16",
    ),
    _spec(
        Opcode.SAVE_KEY,
        "NtSaveKey; NtSaveKeyEx when `format` is present",
        "Save the subtree to `file`, which the runner creates first (an existing file fails the operation "
        "with STATUS_OBJECT_NAME_COLLISION without the call).",
        needs="handle file",
        takes="format",
        source="sdk regsavekeyexa; ns-wdm-_reg_save_key_information",
    ),
    _spec(
        Opcode.SAVE_MERGED,
        "NtSaveMergedKeys",
        "Save two trees into `file`; `handle` takes precedence over `low_handle`.",
        needs="handle low_handle file",
        source="ns-wdm-reg_save_merged_key_information; B-HIV-15",
    ),
    _spec(
        Opcode.RESTORE_KEY,
        "NtRestoreKey",
        "Replace the subtree by the content of `file`. Flags REG_WHOLE_HIVE_VOLATILE 1, REG_FORCE_RESTORE 8.",
        needs="handle file",
        takes="flags",
        source="sdk regrestorekeya; B-HIV-10",
    ),
    _spec(
        Opcode.REPLACE_KEY,
        "NtReplaceKey",
        "Make `file` the hive's file from the next boot on and keep the old one as `old_file`.",
        needs="handle file old_file",
        source="sdk regreplacekeya; B-HIV-13",
    ),
    _spec(
        Opcode.DUPLICATE_HANDLE,
        "NtDuplicateObject",
        "Duplicate `handle` of `process` into `target_process`. `access` 0: DUPLICATE_SAME_ACCESS.",
        needs="handle out",
        takes="target_process access",
        results="handle",
        source="nf-ntifs-zwduplicateobject; B-NOT-42, B-CTX-05",
    ),
    _spec(
        Opcode.DEVICE_CONTROL,
        "NtDeviceIoControlFile",
        "Open `device`, send one request with `data` (handles patched in), close.",
        needs="device code",
        takes="data length patches",
        results="buffer (the bytes returned), result_length (IoStatusBlock.Information)",
        source="nf-ntifs-ntdeviceiocontrolfile",
    ),
    _spec(
        Opcode.CREATE_TRANSACTION,
        "NtCreateTransaction",
        "Create a kernel transaction with all access.",
        needs="out",
        results="handle",
        source="nf-wdm-zwcreatetransaction",
    ),
    _spec(
        Opcode.COMMIT,
        "NtCommitTransaction",
        "Commit and wait.",
        needs="handle",
        source="nf-wdm-zwcommittransaction; B-TXN-05",
    ),
    _spec(
        Opcode.ROLLBACK,
        "NtRollbackTransaction",
        "Roll back and wait.",
        needs="handle",
        source="nf-wdm-zwrollbacktransaction; B-TXN-05",
    ),
    _spec(
        Opcode.OPEN_KEY_TRANSACTED,
        "NtOpenKeyTransacted; NtOpenKeyTransactedEx when `options` is present",
        "Open a key within a transaction.",
        needs="out transaction",
        takes=f"{_OBJECT} access options",
        results="handle, name_address",
        source="nf-wdm-zwopenkeytransacted; B-TXN-01",
    ),
    _spec(
        Opcode.CREATE_KEY_TRANSACTED,
        "NtCreateKeyTransacted",
        "Create or open a key within a transaction.",
        needs="out transaction",
        takes=f"{_OBJECT} access title_index class_name options null_result",
        results="handle, disposition, name_address",
        source="nf-wdm-zwcreatekeytransacted; B-TXN-01",
    ),
    _spec(
        Opcode.MARK,
        "none",
        "No call; its begin and end split the program's time.",
        takes="label",
        source="harness",
    ),
    _spec(
        Opcode.CREATE_EVENT,
        "NtCreateEvent (notification event, not signalled)",
        "An event for loads and change notifications.",
        needs="out",
        results="handle",
        source="nf-ntifs-zwcreateevent; B-HIV-05",
    ),
    _spec(
        Opcode.NOTIFY_CHANGE_KEY,
        "NtNotifyChangeKey (asynchronous)",
        "Ask to signal `event` when the key changes; `flags` is the completion filter REG_NOTIFY_CHANGE_xxx.",
        needs="handle event",
        takes="flags",
        source="sdk regnotifychangekeyvalue; B-HIV-23",
    ),
    _spec(
        Opcode.DELETE_FILE,
        "NtDeleteFile",
        "Delete a file; used to clean up hive files.",
        needs="file",
        source="nf-ntifs-zwdeletefile",
    ),
    _spec(
        Opcode.TERMINATE_PROCESS,
        "NtTerminateProcess",
        "End `process` (not the runner) with its handles open; the system closes them.",
        needs="process",
        source="nf-ntddk-zwterminateprocess; B-CTX-19",
    ),
    _spec(
        Opcode.ALLOCATE_MEMORY,
        "NtAllocateVirtualMemory",
        "Pages of their own for `length` bytes, which begin with `data`. The slot holds the address; what "
        "isn't freed is at the end.",
        needs="out",
        takes="length data",
        results="handle (the address)",
        source="nf-ntifs-ntallocatevirtualmemory; B-CAP-05, B-CAP-07",
    ),
    _spec(
        Opcode.WRITE_MEMORY,
        "NtWriteVirtualMemory",
        "Write `data` at `index` bytes into that memory.",
        needs="handle data",
        takes="index",
        source="phnt NtWriteVirtualMemory; B-CAP-05",
    ),
    _spec(
        Opcode.FREE_MEMORY,
        "NtFreeVirtualMemory",
        "Give that memory back.",
        needs="handle",
        source="nf-ntifs-ntfreevirtualmemory; B-CAP-07, B-CAP-14",
    ),
    _spec(
        Opcode.SET_EVENT,
        "NtSetEvent",
        "Signal an event.",
        needs="handle",
        source="nf-ntifs-zwsetevent",
    ),
    _spec(
        Opcode.WAIT,
        "NtWaitForSingleObject (not alertable)",
        "Wait for an event, for at most `milliseconds`: STATUS_WAIT_0, or STATUS_TIMEOUT.",
        needs="handle",
        takes="milliseconds",
        source="nf-ntifs-zwwaitforsingleobject; B-HIV-23",
    ),
    _spec(
        Opcode.CREATE_REGISTRY_TRANSACTION,
        "NtCreateRegistryTransaction (Windows 10 1607 and later)",
        "Create a lightweight transaction with all access; transacted creates and opens take it.",
        needs="out",
        results="handle",
        source="phnt NtCreateRegistryTransaction; B-TXN-13",
    ),
    _spec(
        Opcode.COMMIT_REGISTRY_TRANSACTION,
        "NtCommitRegistryTransaction",
        "Commit it.",
        needs="handle",
        source="phnt NtCommitRegistryTransaction; B-TXN-13",
    ),
    _spec(
        Opcode.ROLLBACK_REGISTRY_TRANSACTION,
        "NtRollbackRegistryTransaction",
        "Roll it back.",
        needs="handle",
        source="phnt NtRollbackRegistryTransaction; B-TXN-13",
    ),
    _spec(
        Opcode.IMPERSONATE,
        "NtSetInformationThread(ThreadImpersonationToken)",
        "The thread asks with less from here on: the runner's token without its privileges, and with the "
        "group of administrators for denying only. The program's end reverts it.",
        source="nf-ntifs-ntsetinformationthread; sdk createrestrictedtoken",
    ),
    _spec(
        Opcode.REVERT,
        "NtSetInformationThread(ThreadImpersonationToken) with NULL",
        "The thread asks as its process again.",
        source="nf-ntifs-ntsetinformationthread",
    ),
)

#: The table: one row for each opcode.
SPECS: Final[dict[Opcode, OpcodeSpec]] = {
    **{row.opcode: row for row in _ROWS},
    **{
        Opcode[f"WIN32_{name}"]: _spec(
            Opcode[f"WIN32_{name}"],
            row.native,
            row.meaning,
            needs=row.needs,
            takes=row.takes,
            results=row.results,
            source=row.source,
        )
        for name, row in WIN32_ROWS.items()
    },
}


def describe() -> str:
    """The table as text, one operation after the other."""
    lines: list[str] = []
    for spec in SPECS.values():
        lines += [f"{spec.opcode:>3}  {spec.opcode.name.lower()}: {spec.native}", f"     {spec.meaning}"]
        for item in spec.field_specs():
            mark = "*" if item.name in spec.required else " "
            lines.append(f"     {mark} {item.name:<21}{item.kind:<9} {item.meaning}")
        if spec.results:
            lines.append(f"     -> {spec.results}")
        lines.append(f"     source: {spec.source}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe())
