"""Rules: what a filter does when a notification matches.

    middle.on(Pre.SetValueKey, value="secret").block(NTSTATUS.ACCESS_DENIED)

Every action method adds one rule record to the driver at once and returns the builder, so that several
actions on one match chain: ``on(...).set_call_context(1).fetch_name().block()``. Actions run in this order;
one that decides the return value ends the chain. With ``under=`` a step of a program, the program sets the
rule at that point, when the handle exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from harness.errors import UsageError
from harness.probe import abi
from harness.probe.conditions import packed_text
from harness.probe.enums import Action, ActionFlag, Base, InnerCall, Subject
from harness.probe.rule_chain import RuleChain
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.notify import Operation, Post, Pre
from harness.registry.options import REG_OPENED_EXISTING_KEY
from harness.registry.status import NTSTATUS, nt_success, status_name
from harness.registry.valuetypes import ValueType

if TYPE_CHECKING:
    from harness.probe.gates import Gate

__all__ = ["RuleBuilder"]

_PRE_CREATE_OPEN: Final = frozenset({Pre.CreateKey, Pre.OpenKey, Pre.CreateKeyEx, Pre.OpenKeyEx})
_POST_CREATE_OPEN: Final = frozenset({Post.CreateKey, Post.OpenKey, Post.CreateKeyEx, Post.OpenKeyEx})
_OUTPUTS: Final = (
    Operation.QUERY_KEY,
    Operation.QUERY_VALUE_KEY,
    Operation.QUERY_MULTIPLE_VALUE_KEY,
    Operation.ENUMERATE_KEY,
    Operation.ENUMERATE_VALUE_KEY,
    Operation.QUERY_KEY_SECURITY,
    Operation.QUERY_KEY_NAME,
)
_PRE_OUTPUT: Final = frozenset(operation.pre for operation in _OUTPUTS)
_POST_OUTPUT: Final = frozenset(operation.post for operation in _OUTPUTS)


class RuleBuilder(RuleChain):
    """Conditions waiting for actions; as a context manager it removes its rules at the end of the block."""

    # -- actions that decide --------------------------------------------------------------------------

    def pass_(self) -> Self:
        """Return STATUS_SUCCESS; later rules are not looked at."""
        return self._add(Action.PASS)

    def return_(self, status: int) -> Self:
        """Return any status as it is, also where it means nothing: in post, at a close (B-NOT-24, 36)."""
        return self._add(Action.RETURN, status=int(status))

    def succeed(self, status: int = NTSTATUS.SUCCESS) -> Self:
        """Return an (informational) success: the operation continues (B-NOT-04)."""
        if not nt_success(status):
            raise UsageError(f"{status_name(status)} is no success; use block() or return_()")
        return self._add(Action.RETURN, status=int(status))

    def block(self, status: int = NTSTATUS.ACCESS_DENIED) -> Self:
        """Pre: stop the operation, the caller gets `status` (B-NOT-05)."""
        self._needs_pre("block")
        self._modifiable("block")
        if nt_success(status):
            raise UsageError(f"{status_name(status)} does not block: NT_SUCCESS is true for it (B-NOT-04)")
        if status == NTSTATUS.CALLBACK_BYPASS:
            raise UsageError("STATUS_CALLBACK_BYPASS is bypass(); return_() sends it as it is")
        return self._add(Action.RETURN, status=int(status))

    def bypass(self) -> Self:
        """Pre: skip the operation, the caller gets STATUS_SUCCESS; no output is filled (B-NOT-09)."""
        self._needs_pre("bypass")
        self._modifiable("bypass")
        return self._add(Action.BYPASS)

    def bypass_with_key(
        self,
        target: str,
        *,
        base: Base = Base.ABSOLUTE,
        access: int | None = KEY_ALL_ACCESS,
        disposition: int = REG_OPENED_EXISTING_KEY,
        create: bool = False,
    ) -> Self:
        """Pre create or open: complete it with the key at `target` (B-NOT-13, B-NOT-14).

        `access` None leaves GrantedAccess alone (B-NOT-16); `create` creates the target.
        """
        self._only(_PRE_CREATE_OPEN, "bypass_with_key", "a pre create or open")
        flags = _flags(CREATE=create, NO_GRANTED_ACCESS=access is None)
        return self._add(Action.BYPASS_KEY, flags, **_key_fields(target, base, access, disposition))

    def bypass_output(self, data: bytes) -> Self:
        """Pre query or enumerate: complete it with `data` as the output buffer (B-NOT-12)."""
        self._only(_PRE_OUTPUT, "bypass_output", "a pre query or enumeration")
        return self._add(Action.BYPASS_OUTPUT, 0, **_data(data))

    def redirect(self, value_name: str) -> Self:
        """Pre set or delete value: do it to another value of the key, then bypass."""
        self._only({Pre.SetValueKey, Pre.DeleteValueKey}, "redirect", "a pre set or delete value")
        return self._add(Action.REDIRECT, 0, **packed_text("target", value_name))

    def override(self, status: int) -> Self:
        """Post: the caller gets `status` (ReturnStatus and STATUS_CALLBACK_BYPASS, B-NOT-20)."""
        self._needs_post("override")
        return self._add(Action.OVERRIDE, status=int(status))

    def override_with_key(
        self,
        target: str,
        *,
        base: Base = Base.ABSOLUTE,
        access: int | None = KEY_ALL_ACCESS,
        disposition: int = REG_OPENED_EXISTING_KEY,
        create: bool = False,
        status: int = NTSTATUS.SUCCESS,
    ) -> Self:
        """Post create or open: turn a failure into success with the key at `target` (B-NOT-26)."""
        self._only(_POST_CREATE_OPEN, "override_with_key", "a post create or open")
        flags = _flags(CREATE=create, NO_GRANTED_ACCESS=access is None)
        fields = _key_fields(target, base, access, disposition)
        return self._add(Action.OVERRIDE_KEY, flags, status=int(status), **fields)

    def raise_(self, status: int = 0) -> Self:
        """Raise `status` out of the callback, or write through NULL for 0. Crash tests only."""
        return self._add(Action.RAISE, status=int(status))

    # -- actions beside -------------------------------------------------------------------------------

    def write_return_status(self, status: int) -> Self:
        """Post: write ReturnStatus and go on (B-NOT-22)."""
        self._needs_post("write_return_status")
        return self._add(Action.WRITE_RETURN_STATUS, status=int(status))

    def edit_output(self, data: bytes, offset: int = 0, *, result_length: int | None = None) -> Self:
        """Post: overwrite the output buffer at `offset`; `result_length` is also written (B-NOT-27)."""
        self._only(_POST_OUTPUT, "edit_output", "a post query or enumeration")
        flags = ActionFlag(0) if result_length is None else ActionFlag.SET_RESULT_LENGTH
        return self._add(Action.EDIT_OUTPUT, flags, offset=offset, value=result_length or 0, **_data(data))

    def edit_input(
        self, *, name: str | None = None, access: int | None = None, data: bytes | None = None
    ) -> Self:
        """Pre: point the name (ValueName, CompleteName), DesiredAccess or Data at other input (B-NOT-28)."""
        self._needs_pre("edit_input")
        fields: dict[str, int | bytes] = {}
        if name:
            fields.update(packed_text("target", name))
        if access:
            fields["granted_access"] = access
        if data:
            fields.update(_data(data))
        if not fields:
            raise UsageError("edit_input needs something that is not empty: name=, access= or data=")
        return self._add(Action.EDIT_INPUT, 0, **fields)

    def set_call_context(self, value: int) -> Self:
        """Pre: CallContext = `value` (B-CTX-01)."""
        self._needs_pre("set_call_context")
        return self._add(Action.SET_CALL_CONTEXT, value=value)

    def set_object_context(
        self,
        value: int,
        *,
        subject: Subject = Subject.DEFAULT,
        bad_cookie: bool = False,
        bad_object: bool = False,
        at_apc_level: bool = False,
    ) -> Self:
        """CmSetCallbackObjectContext; the action's event has OldContext in `value` (B-CTX-03, B-CTX-10)."""
        flags = _flags(BAD_COOKIE=bad_cookie, BAD_OBJECT=bad_object, AT_APC_LEVEL=at_apc_level)
        return self._add(Action.SET_OBJECT_CONTEXT, flags, value=value, subject=int(subject))

    def fetch_name(
        self,
        *,
        ex: bool = False,
        subject: Subject = Subject.DEFAULT,
        no_id: bool = False,
        no_name: bool = False,
        bad_cookie: bool = False,
        bad_object: bool = False,
        bad_flags: bool = False,
        at_apc_level: bool = False,
    ) -> Self:
        """CmCallbackGetKeyObjectID, or Ex; the action's event has id and name (B-INF-01, B-INF-02)."""
        if bad_flags and not ex:
            raise UsageError("only CmCallbackGetKeyObjectIDEx has Flags: bad_flags needs ex=True")
        flags = _flags(
            USE_EX=ex,
            NO_ID=no_id,
            NO_NAME=no_name,
            BAD_COOKIE=bad_cookie,
            BAD_OBJECT=bad_object,
            BAD_FLAGS=bad_flags,
            AT_APC_LEVEL=at_apc_level,
        )
        return self._add(Action.FETCH_NAME, flags, subject=int(subject))

    def fetch_transaction(
        self,
        *,
        subject: Subject = Subject.DEFAULT,
        bad_cookie: bool = False,
        bad_object: bool = False,
        at_apc_level: bool = False,
    ) -> Self:
        """CmGetBoundTransaction; the action's event has the pointer in `value` (B-INF-15)."""
        flags = _flags(BAD_COOKIE=bad_cookie, BAD_OBJECT=bad_object, AT_APC_LEVEL=at_apc_level)
        return self._add(Action.FETCH_TRANSACTION, flags, subject=int(subject))

    def open_object(self, *, subject: Subject = Subject.DEFAULT) -> Self:
        """ObOpenObjectByPointer on the subject, then close; the action's event has the status (B-OBJ-13)."""
        return self._add(Action.OPEN_OBJECT, subject=int(subject))

    def call(
        self,
        call: InnerCall,
        target: str,
        *,
        base: Base = Base.ABSOLUTE,
        subject: Subject = Subject.DEFAULT,
        value: str = "",
        data: bytes = b"",
        value_type: int = ValueType.BINARY,
        index: int = 0,
        access: int = KEY_ALL_ACCESS,
        create: bool = False,
        work_item: bool = False,
        fail_inner: bool = False,
    ) -> Self:
        """A registry call from inside the callback: open `target`, do it, close (B-LAY-11).

        `value` is the value it acts on; `work_item` lets a system thread do it and waits (B-LAY-13);
        `fail_inner` returns the inner call's failure from the callback. The action's event has the call's
        status and the first bytes of its output.
        """
        return self._add(
            Action.CALL,
            _flags(CREATE=create, WORK_ITEM=work_item, FAIL_INNER=fail_inner),
            call=int(call),
            base=int(base),
            subject=int(subject),
            value_type=int(value_type),
            offset=index,
            granted_access=access,
            **packed_text("target", target),
            **packed_text("call_value_name", value),
            **_data(data),
        )

    def delay(self, milliseconds: int) -> Self:
        """Wait inside the callback."""
        return self._add(Action.DELAY, value=milliseconds)

    def stand(self, gate: Gate, *, milliseconds: int = 0) -> Self:
        """Wait inside the callback until the gate is open: a minute, or for less time.

        The action's event says how it ended: STATUS_SUCCESS, or STATUS_TIMEOUT.
        """
        return self._add(Action.STAND, value=gate.number, offset=milliseconds)

    def undo(self) -> Self:
        """Post set value: delete the value that was set (B-NOT-25)."""
        self._only({Post.SetValueKey}, "undo", "a post set value")
        return self._add(Action.UNDO)


def _flags(**named: bool) -> ActionFlag:
    flags = ActionFlag(0)
    for name, given in named.items():
        if given:
            flags |= ActionFlag[name]
    return flags


def _data(data: bytes) -> dict[str, int | bytes]:
    limit = abi.constant("REGPROBE_MAX_DATA")
    if len(data) > limit:
        raise UsageError(f"{len(data)} bytes of data; a rule holds {limit}")
    return {"data": bytes(data), "data_length": len(data)}


def _key_fields(target: str, base: Base, access: int | None, disposition: int) -> dict[str, int | bytes]:
    return {
        **packed_text("target", target),
        "base": int(base),
        "granted_access": access or 0,
        "disposition": disposition,
    }
