"""The convenient way to write a program: one method for each operation.

with registry.program() as p:
    key = p.create_key(p.test_root / "app")
    write = p.set_value(key, "secret", "x")
assert write.status == NTSTATUS.SUCCESS
"""

from __future__ import annotations

from harness.registry.access import DELETE, ObjectAttributes
from harness.registry.options import REG_FORCE_UNLOAD
from harness.registry.paths import RegistryPath
from harness.workload.objects import OperationsOnObjects
from harness.workload.step import Step
from harness.workload.win32 import Win32Operations

__all__ = ["ProgramBuilder"]


class ProgramBuilder(OperationsOnObjects):
    """Records a program. Every method takes `expect=` (a status or several) and returns a `Step`."""

    @property
    def win32(self) -> Win32Operations:
        """Win32 calls of the same program: `p.win32.create_key(...)`. Needs the capability "win32-calls"."""
        return Win32Operations(self, self._cleanup)

    # -- several operations at once -------------------------------------------------------------------

    def remove_key(self, path: RegistryPath | str) -> Step:
        """Open (the link itself where it is one), delete, close; returns the delete's step."""
        opened = self.open_key(
            path,
            access=DELETE,
            attributes=ObjectAttributes.CASE_INSENSITIVE | ObjectAttributes.OPENLINK,
        )
        removed = self.delete_key(opened)
        self.close(opened)
        return removed

    def force_unload(self, path: RegistryPath | str) -> Step:
        """Unmount a hive whatever is still open in it (REG_FORCE_UNLOAD)."""
        return self.unload_key(path, flags=REG_FORCE_UNLOAD)
