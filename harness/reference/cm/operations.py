"""Operations on one key: delete, rename, values, queries, security.

Each takes the transaction its key object is bound to and returns a status or a result with one; none
raises. The handle's granted access was checked before.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.registry.access import DELETE, KEY_CREATE_SUB_KEY, SecurityInformation
from harness.registry.infoclasses import KeySetInformationClass
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType

from .information import Encoded, QueryResult, deliver, encode_key, encode_value
from .key import Key, KeyState, Value
from .names import SYMBOLIC_LINK_VALUE, is_key_name, is_value_name, upcase
from .requests import Caller, MultipleResult, ValueEntry
from .security import SecurityDescriptor, SecurityError
from .store import Store
from .tokens import RESTORE, access_check
from .transaction import Transaction
from .watches import Change, changed

__all__ = ["KeyOperations"]

_TYPE_LIMIT = 1 << 32


class KeyOperations(Store):
    """What can be done to a key that is open."""

    def _enter(self, view: Transaction | None, key: Key, *others: Key) -> int:
        """Whether a change may go on: the key is alive, no other transaction is in the way."""
        status = key.status(view)
        return status if status != NTSTATUS.SUCCESS else Transaction.enter(view, key, *others)

    # -- keys --------------------------------------------------------------------------------------

    def delete_key(self, key: Key, *, transaction: Transaction | None = None) -> int:
        """Delete a key. CANNOT_DELETE with subkeys and for roots of hives; KEY_DELETED the second time.

        Handles stay and answer KEY_DELETED.
        """
        parent = key.parent
        if key.hive is self.master or key.is_hive_root or parent is None:
            return key.status(transaction) or NTSTATUS.CANNOT_DELETE
        status = self._enter(transaction, key, parent)
        if status != NTSTATUS.SUCCESS:
            return status
        if key.state(transaction).subkeys:
            return NTSTATUS.CANNOT_DELETE
        name = key.state(transaction).name
        key.change(transaction).deleted = True
        above = parent.change(transaction)
        above.remove(name)
        above.last_write = self.now()
        changed(parent, Change.NAME, transaction)
        return NTSTATUS.SUCCESS

    def rename_key(
        self, key: Key, new_name: str, *, caller: Caller, transaction: Transaction | None = None
    ) -> int:
        """Rename a key; only the last component can change (B-HIV-22), the identifier stays (B-INF-06).

        The caller needs KEY_CREATE_SUB_KEY on the parent and DELETE on the whole subtree (sdk
        regrenamekey). No page gives the status of a name that is taken; the model says CANNOT_DELETE.
        """
        parent = key.parent
        if not is_key_name(new_name):
            return key.status(transaction) or NTSTATUS.INVALID_PARAMETER
        if key.hive is self.master or key.is_hive_root or parent is None:
            return key.status(transaction) or NTSTATUS.ACCESS_DENIED
        status = self._enter(transaction, key, parent)
        if status == NTSTATUS.SUCCESS and caller.checked:
            status = self._may_rename(key, parent, caller, transaction)
        if status != NTSTATUS.SUCCESS:
            return status
        taken = parent.subkey(new_name, transaction)
        if taken is not None and taken is not key:
            return NTSTATUS.CANNOT_DELETE
        time = self.now()
        above = parent.change(transaction)
        above.remove(key.state(transaction).name)
        state = key.change(transaction)
        state.name = new_name
        state.last_write = above.last_write = time
        above.add(new_name, key)
        changed(parent, Change.NAME, transaction)
        return NTSTATUS.SUCCESS

    def _may_rename(self, key: Key, parent: Key, caller: Caller, view: Transaction | None) -> int:
        status, _ = access_check(parent.state(view).security, caller.token, KEY_CREATE_SUB_KEY)
        for below in key.tree(view):
            if status == NTSTATUS.SUCCESS:
                status, _ = access_check(below.state(view).security, caller.token, DELETE)
        return status

    # -- values ------------------------------------------------------------------------------------

    def set_value(
        self, key: Key, name: str, type_: int, data: bytes, *, transaction: Transaction | None = None
    ) -> int:
        """Set a value; "" is the default value. A link key takes its target and nothing else."""
        status = self._enter(transaction, key)
        if status != NTSTATUS.SUCCESS:
            return status
        if not is_value_name(name) or not 0 <= type_ < _TYPE_LIMIT:
            return NTSTATUS.INVALID_PARAMETER
        if key.is_link and (upcase(name) != upcase(SYMBOLIC_LINK_VALUE) or type_ != ValueType.LINK):
            return NTSTATUS.ACCESS_DENIED
        state = key.change(transaction)
        known = state.values.get(upcase(name))
        state.values[upcase(name)] = Value(known.name if known else name, type_, bytes(data))
        state.last_write = self.now()
        changed(key, Change.LAST_SET, transaction)
        return NTSTATUS.SUCCESS

    def delete_value(self, key: Key, name: str, *, transaction: Transaction | None = None) -> int:
        """Delete a value; OBJECT_NAME_NOT_FOUND when there is none of that name."""
        status = self._enter(transaction, key)
        if status != NTSTATUS.SUCCESS:
            return status
        if key.value(name, transaction) is None:
            return NTSTATUS.OBJECT_NAME_NOT_FOUND
        state = key.change(transaction)
        del state.values[upcase(name)]
        state.last_write = self.now()
        changed(key, Change.LAST_SET, transaction)
        return NTSTATUS.SUCCESS

    def query_value(
        self, key: Key, name: str, info_class: int, length: int, *, transaction: Transaction | None = None
    ) -> QueryResult:
        """NtQueryValueKey into a buffer of `length` bytes; INVALID_PARAMETER for an invalid class."""
        status = key.status(transaction)
        if status != NTSTATUS.SUCCESS:
            return QueryResult(status)
        value = key.value(name, transaction)
        return self._answer_value(value, info_class, length, NTSTATUS.OBJECT_NAME_NOT_FOUND)

    def enumerate_value(
        self, key: Key, index: int, info_class: int, length: int, *, transaction: Transaction | None = None
    ) -> QueryResult:
        """NtEnumerateValueKey: the value number `index`; NO_MORE_ENTRIES past the last."""
        status = key.status(transaction)
        if status != NTSTATUS.SUCCESS:
            return QueryResult(status)
        values = list(key.state(transaction).values.values())
        value = values[index] if index < len(values) else None
        return self._answer_value(value, info_class, length, NTSTATUS.NO_MORE_ENTRIES)

    def _answer_value(self, value: Value | None, info_class: int, length: int, missing: int) -> QueryResult:
        # Which comes first, a wrong class or a missing value, is not documented; the class can be judged
        # without looking anything up.
        answer = encode_value(value or Value("", 0, b""), info_class, self.version)
        if answer is None:
            return QueryResult(NTSTATUS.INVALID_PARAMETER)
        return deliver(answer, length) if value is not None else QueryResult(missing)

    def query_multiple_values(
        self, key: Key, names: Sequence[str], length: int, *, transaction: Transaction | None = None
    ) -> MultipleResult:
        """NtQueryMultipleValueKey: all values or a failure; data is aligned to 4 bytes in the buffer.

        BUFFER_OVERFLOW when `length` bytes don't hold all of it: entries and data are those that fit.
        OBJECT_NAME_NOT_FOUND when one name is missing (sdk regquerymultiplevaluesw).
        """
        status = key.status(transaction)
        if status != NTSTATUS.SUCCESS:
            return MultipleResult(status)
        entries: list[ValueEntry] = []
        data = bytearray()
        required, full = 0, False
        for name in names:
            value = key.value(name, transaction)
            if value is None:
                return MultipleResult(NTSTATUS.OBJECT_NAME_NOT_FOUND)
            offset = -(-required // 4) * 4
            required = offset + len(value.data)
            full = full or required > length
            if not full:
                data += bytes(offset - len(data)) + value.data
                entries.append(ValueEntry(len(value.data), offset, value.type))
        status = NTSTATUS.BUFFER_OVERFLOW if full else NTSTATUS.SUCCESS
        return MultipleResult(status, tuple(entries), bytes(data), required)

    # -- keys: queries -----------------------------------------------------------------------------

    def _answer(self, answer: Encoded | None, length: int) -> QueryResult:
        return QueryResult(NTSTATUS.INVALID_PARAMETER) if answer is None else deliver(answer, length)

    def query_key(
        self, key: Key, info_class: int, length: int, *, transaction: Transaction | None = None
    ) -> QueryResult:
        """NtQueryKey into a buffer of `length` bytes; INVALID_PARAMETER for an invalid class."""
        status = key.status(transaction)
        if status != NTSTATUS.SUCCESS:
            return QueryResult(status)
        return self._answer(encode_key(key, info_class, self.version, transaction), length)

    def enumerate_key(
        self, key: Key, index: int, info_class: int, length: int, *, transaction: Transaction | None = None
    ) -> QueryResult:
        """NtEnumerateKey: the subkey number `index`; NO_MORE_ENTRIES past the last.

        Nothing below \\REGISTRY\\A is enumerated (B-APP-06).
        """
        status = key.status(transaction)
        if status != NTSTATUS.SUCCESS:
            return QueryResult(status)
        subkeys = () if key is self.applications else key.state(transaction).ordered()
        if index >= len(subkeys):
            return QueryResult(NTSTATUS.NO_MORE_ENTRIES)
        answer = encode_key(subkeys[index], info_class, self.version, transaction, enumerating=True)
        return self._answer(answer, length)

    def set_information(
        self, key: Key, info_class: int, data: bytes, *, transaction: Transaction | None = None
    ) -> int:
        """NtSetInformationKey. INVALID_PARAMETER: unknown class, INFO_LENGTH_MISMATCH: wrong length.

        Virtualization, debug and handle tag classes are checked and have no effect in the model.
        """
        status = self._enter(transaction, key)
        if status != NTSTATUS.SUCCESS:
            return status
        if not 0 <= info_class <= KeySetInformationClass.SET_HANDLE_TAGS:
            return NTSTATUS.INVALID_PARAMETER
        if len(data) != (8 if info_class == KeySetInformationClass.WRITE_TIME else 4):
            return NTSTATUS.INFO_LENGTH_MISMATCH
        number = int.from_bytes(data, "little")
        if info_class == KeySetInformationClass.WRITE_TIME:
            key.change(transaction).last_write = number
        elif info_class == KeySetInformationClass.WOW64_FLAGS:
            key.wow64_flags = number
        elif info_class == KeySetInformationClass.CONTROL_FLAGS:
            key.control_flags = number
        return NTSTATUS.SUCCESS

    # -- security ----------------------------------------------------------------------------------

    def query_security(
        self, key: Key, information: int, length: int, *, transaction: Transaction | None = None
    ) -> QueryResult:
        """NtQuerySecurityObject: the named parts, self-relative, or BUFFER_TOO_SMALL (B-HIV-17)."""
        status = key.status(transaction)
        if status != NTSTATUS.SUCCESS:
            return QueryResult(status)
        data = key.state(transaction).security.select(information).encode()
        return deliver(Encoded(data, len(data)), length)

    def set_security(
        self,
        key: Key,
        information: int,
        descriptor: bytes,
        *,
        caller: Caller,
        transaction: Transaction | None = None,
    ) -> int:
        """NtSetSecurityObject. ACCESS_DENIED in application hives (B-APP-08).

        INVALID_OWNER for an owner the caller may not assign: anybody but itself and its administrators
        group, unless it has the restore privilege.
        """
        status = self._enter(transaction, key)
        if status != NTSTATUS.SUCCESS:
            return status
        if key.hive.is_app:
            return NTSTATUS.ACCESS_DENIED
        try:
            new = SecurityDescriptor.decode(descriptor)
        except SecurityError:
            return NTSTATUS.INVALID_SECURITY_DESCR
        if information & SecurityInformation.OWNER:
            token = caller.token
            own = new.owner in (token.user, token.owner) or token.has(RESTORE) or not caller.checked
            if new.owner is None or not own:
                return NTSTATUS.INVALID_OWNER
        state: KeyState = key.change(transaction)
        state.security = state.security.merge(new, information)
        state.last_write = self.now()
        changed(key, Change.SECURITY | Change.ATTRIBUTES, transaction)
        return NTSTATUS.SUCCESS
