"""Who asks, and what may be believed: probing and capture of a system service's arguments.

A user-mode requester's pointers are probed before anything else happens, and a bad one fails the call
without a notification (B-CAP-01). What callbacks are then shown is a captured copy in kernel memory, or the
requester's own memory where that version does not capture it (B-CAP-03, B-CAP-04, B-CAP-06). A kernel-mode
requester's pointers are used and shown as they are (B-CAP-02).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec

from harness.reference.faults import GuestFault
from harness.reference.kernel.objects import KERNEL_MODE, KernelObject
from harness.reference.memory import WRITE
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.cm.manager import Caller
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.keyobject import KeyObject, KeyObjects

__all__ = ["CountedString", "HeldKey", "InputData", "Requester", "ServiceFailure", "service"]

P = ParamSpec("P")

_OBJ_KERNEL_HANDLE: Final = 0x200
_OBJ_FORCE_ACCESS_CHECK: Final = 0x400
_PAGE: Final = 0x1000


class ServiceFailure(Exception):  # noqa: N818 - a status on its way out, not a defect
    """Ends a system service with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status


def service(
    routine: Callable[Concatenate[FilterEngine, P], int],
) -> Callable[Concatenate[FilterEngine, P], int]:
    """A system service: `ServiceFailure` is its status, and so is a fault on a user-mode requester's memory.

    A fault on memory that a kernel-mode requester passed is the requester's exception.
    """

    @wraps(routine)
    def run(engine: FilterEngine, /, *args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return routine(engine, *args, **kwargs)
        except ServiceFailure as failure:
            return failure.status
        except GuestFault:
            if engine.machine.current.previous_mode == KERNEL_MODE:
                raise
            return NTSTATUS.ACCESS_VIOLATION

    return run


class HeldKey:
    """A key object with a reference, which is given back at the end of the block."""

    __slots__ = ("_key", "_keys")

    def __init__(self, keys: KeyObjects, key: KeyObject) -> None:
        self._keys = keys
        self._key = key

    def __enter__(self) -> KeyObject:
        return self._key

    def __exit__(self, *_: object) -> None:
        self._keys.release(self._key)


@dataclass(frozen=True, slots=True)
class CountedString:
    """A UNICODE_STRING of the requester: where it lies, what it says, and its text when it was read."""

    text: str
    address: int
    length: int
    maximum: int
    buffer: int


class Requester:
    """The requester of one system service call."""

    __slots__ = ("captures", "engine", "memory", "mode", "user")

    def __init__(self, engine: FilterEngine) -> None:
        self.engine = engine
        self.memory = engine.memory
        self.mode = engine.machine.current.previous_mode
        self.user = self.mode != KERNEL_MODE
        #: Every input buffer is copied before callbacks run (user-mode requesters from Windows 8 on).
        self.captures = self.user and engine.version.captures_input

    def caller(self, attributes: int = 0) -> Caller:
        """Whose rights count. `attributes` are OBJ_xxx: a kernel request may ask for the check too."""
        checked = self.user or bool(attributes & _OBJ_FORCE_ACCESS_CHECK)
        return self.engine.caller(checked=checked, user=self.user)

    def handle_attributes(self, attributes: int) -> int:
        """User mode can't ask for kernel handles; the flag is dropped."""
        return attributes & ~_OBJ_KERNEL_HANDLE if self.user else attributes

    # -- objects -----------------------------------------------------------------------------------------

    def key(self, handle: int, access: int) -> KeyObject:
        """The key object of a handle with a reference that the caller gives back with `keys.release`."""
        keys = self.engine.keys
        found = self.engine.objects.resolve(handle, keys.type, access, self.mode)
        if not isinstance(found, KernelObject):
            raise ServiceFailure(found)
        found.references += 1
        key: KeyObject = found.body
        return key

    def holding(self, handle: int, access: int) -> HeldKey:
        """The key object of a handle, for a with statement.

        Raises `ServiceFailure` for a bad handle, one of another kind, or missing rights, as `key` does.
        """
        return HeldKey(self.engine.keys, self.key(handle, access))

    # -- probing -----------------------------------------------------------------------------------------

    def probe_read(self, address: int, size: int, alignment: int = 1) -> None:
        """ProbeForRead for a user-mode requester, and that the pages are there."""
        if self.user and size:
            self._probe(address, size, alignment)
            if not self.memory.is_mapped(address, size):
                raise ServiceFailure(NTSTATUS.ACCESS_VIOLATION)

    def probe_write(self, address: int, size: int, alignment: int = 1) -> None:
        """ProbeForWrite: every page must be writable now."""
        if not self.user or not size:
            return
        self._probe(address, size, alignment)
        for page in range(address & -_PAGE, address + size, _PAGE):
            if not self.memory.rights(page) & WRITE:
                raise ServiceFailure(NTSTATUS.ACCESS_VIOLATION)

    def _probe(self, address: int, size: int, alignment: int) -> None:
        if address & (alignment - 1):
            raise ServiceFailure(NTSTATUS.DATATYPE_MISALIGNMENT)
        if address + size > self.memory.map.user_limit:
            raise ServiceFailure(NTSTATUS.ACCESS_VIOLATION)

    def string(self, address: int) -> CountedString:
        """Read a UNICODE_STRING; only its Length is looked at (B-CAP-11)."""
        memory = self.memory
        if self.user:
            self._probe(address, memory.unicode_string_size, memory.pointer_size)
        length, maximum, buffer = memory.unicode_string(address)
        if length == 0:
            return CountedString("", address, 0, maximum, buffer)
        if self.user:
            self._probe(buffer, length, 2)
        if length & 1:
            raise ServiceFailure(NTSTATUS.OBJECT_NAME_INVALID)
        text = memory.read(buffer, length).decode("utf-16-le", "surrogatepass")
        return CountedString(text, address, length, maximum, buffer)

    # -- what callbacks are shown ------------------------------------------------------------------------

    def show_string(self, scratch: Scratch, string: CountedString, *, captured: bool) -> int:
        """The address of a UNICODE_STRING for a structure member.

        `captured`: this member is a kernel copy on every version; otherwise only where all input is.
        """
        if not self.user:
            return string.address
        memory = self.memory
        size = memory.unicode_string_size
        raw = b""
        buffer = string.buffer
        if captured or self.captures:
            raw = string.text.encode("utf-16-le", "surrogatepass")
            buffer = 0
        address = scratch.bytes(bytes(size) + raw)
        memory.put_unicode_string(address, string.length, string.maximum, address + size if raw else buffer)
        return address

    # -- results -----------------------------------------------------------------------------------------

    def fault_is_status(self, perform: Callable[[], int]) -> Callable[[], int]:
        """The operation `perform`, whose status is STATUS_ACCESS_VIOLATION where it faults on user memory.

        Memory that went away after it was probed is the requester's fault and not the end of the operation:
        the callbacks still get their post. A kernel-mode requester gets the exception.
        """

        def run() -> int:
            try:
                return perform()
            except GuestFault:
                if not self.user:
                    raise
                return NTSTATUS.ACCESS_VIOLATION

        return run

    def write_u32(self, address: int, value: int) -> None:
        """Write an optional ULONG output."""
        if address:
            self.memory.put_u32(address, value)


class InputData:
    """An input buffer of the requester, copied first where that version copies all input.

    Elsewhere callbacks are shown the requester's own memory, and the operation reads what it holds by then
    (B-CAP-04). Raises `ServiceFailure` for a buffer that the requester can't read.
    """

    __slots__ = ("_address", "_copy", "_size", "_who")

    def __init__(self, who: Requester, address: int, size: int, alignment: int = 1) -> None:
        who.probe_read(address, size, alignment)
        self._who = who
        self._address = address
        self._size = size
        self._copy = who.memory.read(address, size) if who.captures else None

    def show(self, scratch: Scratch) -> int:
        """The address for a structure member."""
        if self._copy is None:
            return self._address
        return scratch.bytes(self._copy) if self._copy else 0

    def read(self) -> bytes:
        """What the operation takes."""
        return self._who.memory.read(self._address, self._size) if self._copy is None else self._copy
