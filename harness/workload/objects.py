"""Operations on what is no key: handles, transactions, events, devices, memory, processes, who asks."""

from __future__ import annotations

from collections.abc import Mapping

from harness.workload.key_values import OperationsOnValues
from harness.workload.keys import DEFAULT_LENGTH
from harness.workload.opcodes import Opcode
from harness.workload.recorder import Expected, Handle, process_index
from harness.workload.step import Step

__all__ = ["OperationsOnObjects"]


class OperationsOnObjects(OperationsOnValues):
    """The part of `ProgramBuilder` for objects of other kinds, and for what all kinds have."""

    # -- security and names ---------------------------------------------------------------------------

    def query_security(
        self,
        key: Handle,
        security_information: int,
        *,
        length: int = DEFAULT_LENGTH,
        expect: Expected = None,
    ) -> Step:
        """NtQuerySecurityObject; `.output` is the self-relative descriptor."""
        return self.record(
            Opcode.QUERY_SECURITY,
            handle=self.slot_of(key),
            security_information=int(security_information),
            length=length,
            expect=expect,
        )

    def set_security(
        self,
        key: Handle,
        security_information: int,
        *,
        sddl: str | None = None,
        security: bytes | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtSetSecurityObject."""
        return self.record(
            Opcode.SET_SECURITY,
            handle=self.slot_of(key),
            security_information=int(security_information),
            sddl=sddl,
            security=security,
            expect=expect,
        )

    def query_object_name(
        self, handle: Handle, *, length: int = DEFAULT_LENGTH, expect: Expected = None
    ) -> Step:
        """NtQueryObject(ObjectNameInformation); `.name` decodes it."""
        return self.record(
            Opcode.QUERY_OBJECT_NAME, handle=self.slot_of(handle), length=length, expect=expect
        )

    def query_object(self, handle: Handle, *, expect: Expected = None) -> Step:
        """NtQueryObject(ObjectBasicInformation); `.object_information` has the granted access."""
        return self.record(Opcode.QUERY_OBJECT_BASIC, handle=self.slot_of(handle), length=56, expect=expect)

    # -- other objects --------------------------------------------------------------------------------

    def duplicate_handle(
        self,
        handle: Handle,
        *,
        access: int = 0,
        target_process: str | int = 0,
        expect: Expected = None,
    ) -> Step:
        """NtDuplicateObject; `access` 0 keeps the rights."""
        return self.record(
            Opcode.DUPLICATE_HANDLE,
            handle=self.slot_of(handle),
            out=self.new_slot(),
            access=access,
            target_process=process_index(target_process),
            expect=expect,
            path=handle.path if isinstance(handle, Step) else None,
        )

    def create_transaction(self, *, expect: Expected = None) -> Step:
        """NtCreateTransaction."""
        return self.record(Opcode.CREATE_TRANSACTION, out=self.new_slot(), expect=expect)

    def commit(self, transaction: Handle, *, expect: Expected = None) -> Step:
        """NtCommitTransaction."""
        return self.record(Opcode.COMMIT, handle=self.slot_of(transaction), expect=expect)

    def rollback(self, transaction: Handle, *, expect: Expected = None) -> Step:
        """NtRollbackTransaction."""
        return self.record(Opcode.ROLLBACK, handle=self.slot_of(transaction), expect=expect)

    def create_registry_transaction(self, *, expect: Expected = None) -> Step:
        """NtCreateRegistryTransaction: a lightweight transaction, for `transaction=`."""
        return self.record(Opcode.CREATE_REGISTRY_TRANSACTION, out=self.new_slot(), expect=expect)

    def commit_registry_transaction(self, transaction: Handle, *, expect: Expected = None) -> Step:
        """NtCommitRegistryTransaction."""
        return self.record(
            Opcode.COMMIT_REGISTRY_TRANSACTION, handle=self.slot_of(transaction), expect=expect
        )

    def rollback_registry_transaction(self, transaction: Handle, *, expect: Expected = None) -> Step:
        """NtRollbackRegistryTransaction."""
        return self.record(
            Opcode.ROLLBACK_REGISTRY_TRANSACTION, handle=self.slot_of(transaction), expect=expect
        )

    def impersonate(self, *, expect: Expected = None) -> Step:
        """Let the thread (`on(thread=1)` or higher) ask as a user without administrators' rights."""
        return self.record(Opcode.IMPERSONATE, expect=expect)

    def revert(self, *, expect: Expected = None) -> Step:
        """Let the thread ask as its process again."""
        return self.record(Opcode.REVERT, expect=expect)

    def create_event(self, *, expect: Expected = None) -> Step:
        """NtCreateEvent."""
        return self.record(Opcode.CREATE_EVENT, out=self.new_slot(), expect=expect)

    def set_event(self, event: Handle, *, expect: Expected = None) -> Step:
        """NtSetEvent."""
        return self.record(Opcode.SET_EVENT, handle=self.slot_of(event), expect=expect)

    def wait(self, event: Handle, *, milliseconds: int | None = 60_000, expect: Expected = None) -> Step:
        """NtWaitForSingleObject; None waits for ever."""
        return self.record(Opcode.WAIT, handle=self.slot_of(event), milliseconds=milliseconds, expect=expect)

    def device_control(
        self,
        device: str,
        code: int,
        data: bytes = b"",
        *,
        output: int = 0,
        handles: Mapping[int, Handle] | None = None,
        expect: Expected = None,
    ) -> Step:
        """Open a device, one control request, close. `handles` puts handles into `data`: offset -> handle."""
        patches = tuple((offset, self.slot_of(handle)) for offset, handle in sorted((handles or {}).items()))
        return self.record(
            Opcode.DEVICE_CONTROL,
            device=device,
            code=code,
            data=data,
            length=output,
            patches=patches,
            expect=expect,
        )

    def allocate_memory(self, size: int = 0, *, data: bytes = b"", expect: Expected = None) -> Step:
        """NtAllocateVirtualMemory: pages of their own; the step is what `buffer=` of the calls takes."""
        return self.record(
            Opcode.ALLOCATE_MEMORY,
            out=self.new_slot(),
            length=max(size, len(data)),
            data=data or None,
            expect=expect,
        )

    def write_memory(self, memory: Handle, data: bytes, *, offset: int = 0, expect: Expected = None) -> Step:
        """NtWriteVirtualMemory into memory of the program's."""
        return self.record(
            Opcode.WRITE_MEMORY, handle=self.slot_of(memory), data=data, index=offset, expect=expect
        )

    def free_memory(self, memory: Handle, *, expect: Expected = None) -> Step:
        """NtFreeVirtualMemory: what still has the address has nothing any more."""
        return self.record(Opcode.FREE_MEMORY, handle=self.slot_of(memory), expect=expect)

    def mark(self, label: str = "") -> Step:
        """No call: a point in the program's time."""
        return self.record(Opcode.MARK, label=label or None)

    def terminate_process(self, process: str | int = "second", *, expect: Expected = None) -> Step:
        """NtTerminateProcess on a helper process: the system closes its handles.

        A handle that it had is invalid from then on, also in the process that takes its place.
        """
        with self.on(process=process):
            return self.record(Opcode.TERMINATE_PROCESS, expect=expect)
