"""Notifications in guest memory: the REG_*_INFORMATION structures as a callback gets them.

A `Template` is what one operation looks like on one version: class numbers, compiled struct formats, and
where the members are that differ from callback to callback. A `GuestNotice` is one operation under way.
The path of a notification is hot, so nothing is looked up by name here once a template exists.

Source: ns-wdm-_reg_*_information through `harness.registry.structures`.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Final

from harness.registry.notify import NotifyClass, Operation, delivered_by
from harness.registry.status import NTSTATUS
from harness.registry.structures import StructLayout, layout
from harness.registry.version import WindowsVersion

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.keyobject import KeyObject
    from harness.reference.filtering.registration import ContextHolder, Registration

__all__ = ["CreateNotice", "GuestNotice", "Template", "cleanup_structure", "struct_format", "templates"]

_CODES: Final = {1: "B", 4: "I", 8: "Q"}
_FAILURE_BIT: Final = 0x80000000
_BYPASS: Final = int(NTSTATUS.CALLBACK_BYPASS)

#: Which operation stands for create and open where the Ex classes don't exist (B-VER-02).
_XP_FORMS: Final = {
    Operation.CREATE_KEY_EX: Operation.CREATE_KEY,
    Operation.OPEN_KEY_EX: Operation.OPEN_KEY,
}
_CREATES: Final = frozenset((Operation.CREATE_KEY_EX, Operation.OPEN_KEY_EX, *_XP_FORMS.values()))


def struct_format(fields: StructLayout) -> str:
    """The `struct` format of a whole layout, padding included."""
    out, at = ["<"], 0
    for field in fields:
        if field.offset > at:
            out.append(f"{field.offset - at}x")
        out.append(_CODES[field.size])
        at = field.offset + field.size
    if fields.size > at:
        out.append(f"{fields.size - at}x")
    return "".join(out)


def _structure_of(notify_class: NotifyClass) -> str:
    return f"the structure of {notify_class.documented_name}"


class Template:
    """One operation on one version and pointer size."""

    __slots__ = (
        "contexts",
        "contexts_at",
        "granted_access_at",
        "has_context",
        "head_count",
        "input_end",
        "is_create",
        "operation",
        "post",
        "post_contexts",
        "post_contexts_at",
        "post_pack",
        "post_words",
        "pre",
        "pre_pack",
        "pre_tail",
        "pre_words",
        "return_status_at",
        "short_post",
        "status_at",
        "verdict_end",
    )

    def __init__(self, operation: Operation, version: WindowsVersion, pointer_size: int) -> None:
        assert operation.pre is not None
        delivered = delivered_by(version)
        pointer = _CODES[pointer_size]
        self.operation = operation
        self.pre = int(operation.pre)
        post = operation.post if operation.post in delivered else None
        #: Class number of the post notification; 0 where this version has none (class 0 is a pre class).
        self.post = 0 if post is None else int(post)
        #: What a report calls the two structures.
        self.pre_words = _structure_of(operation.pre)
        self.post_words = "" if post is None else _structure_of(post)
        self.has_context = version.has_context
        self.is_create = operation in _CREATES

        before = layout(operation.pre, version, pointer_size)
        names = [field.name for field in before]
        packed = struct.Struct(struct_format(before))
        self.pre_pack = packed.pack
        #: Members a service gives: those before CallContext.
        self.head_count = names.index("CallContext") if "CallContext" in names else len(names)
        self.contexts_at = before.offset("CallContext") if self.has_context else 0
        self.contexts = struct.Struct(f"<{pointer}{pointer}").pack
        #: Members behind the two contexts where a service gives none: Reserved, or the layout's version.
        self.pre_tail: tuple[int, ...] = (0,) * (len(names) - self.head_count - 2) if self.has_context else ()
        if "FileAccessToken" in names:
            self.pre_tail = (2, 0)  # REG_LOAD_KEY_INFORMATION_V2: Version, FileAccessToken (B-HIV-06)
        self.granted_access_at = before.offset("GrantedAccess") if "GrantedAccess" in names else 0
        #: Where the members before CallContext end. All of them are input, but for GrantedAccess.
        self.input_end = self.contexts_at or packed.size

        #: The XP post of create and open: CompleteName, Object, Status.
        self.short_post = False
        self.status_at = self.return_status_at = self.post_contexts_at = self.verdict_end = 0
        self.post_pack = self.post_contexts = struct.Struct("").pack
        if post is not None:
            after = layout(post, version, pointer_size)
            self.short_post = "CompleteName" in after
            self.status_at = after.offset("Status")
            self.post_pack = struct.Struct(struct_format(after)).pack
            if self.has_context:
                self.return_status_at = after.offset("ReturnStatus")
                self.post_contexts_at = after.offset("ReturnStatus")
                self.verdict_end = self.return_status_at + 4
                pad = "4x" if pointer_size == 8 else ""
                self.post_contexts = struct.Struct(f"<I{pad}{pointer}{pointer}").pack

    def inputs(self, raw: bytes) -> bytes:
        """What of the pre structure's bytes is input."""
        end, granted = self.input_end, self.granted_access_at
        return raw[:granted] + raw[granted + 4 : end] if granted else raw[:end]


@cache
def templates(version: WindowsVersion, pointer_size: int) -> dict[Operation, Template]:
    """Every operation that version notifies about; create and open under their Ex names on XP too."""
    delivered = delivered_by(version)
    out = {
        operation: Template(operation, version, pointer_size)
        for operation in Operation
        if operation.pre is not None and operation.pre in delivered
    }
    for general, short in _XP_FORMS.items():
        if short in out and general not in out:
            out[general] = out[short]
    return out


def cleanup_structure(object_address: int, context: int, version: WindowsVersion, pointer_size: int) -> bytes:
    """REG_CALLBACK_CONTEXT_CLEANUP_INFORMATION as bytes."""
    fields = layout(NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP, version, pointer_size)
    return fields.encode(Object=object_address, ObjectContext=context)


class GuestNotice:
    """An operation on one key object; the contract's `Notice` in guest memory.

    `head` are the members of the pre structure before CallContext, of which shorter layouts take what they
    have; `tail` those behind ObjectContext.
    """

    __slots__ = (
        "_fresh",
        "_given",
        "_verdict",
        "engine",
        "head",
        "holder",
        "observe_only",
        "post_address",
        "post_object",
        "pre_address",
        "scratch",
        "tail",
        "template",
    )

    def __init__(
        self,
        engine: FilterEngine,
        template: Template,
        holder: KeyObject | None,
        head: tuple[int, ...],
        tail: tuple[int, ...] | None = None,
        *,
        scratch: Scratch,
        post_object: int = 0,
    ) -> None:
        self.engine = engine
        self.scratch = scratch
        self.template = template
        self.holder: ContextHolder | None = holder
        self.head = head
        self.tail = template.pre_tail if tail is None else tail
        self.observe_only = False
        self.post_object = post_object
        self.pre_address = 0
        self.post_address = 0
        #: The structure's contexts are still NULL: the first callback without contexts needs no write.
        self._fresh = True
        #: The members that are input, and Status to ReturnStatus of the post, as callbacks were given them.
        self._given = self._verdict = b""

    def open_pre(self) -> None:
        template = self.template
        if template.has_context:
            raw = template.pre_pack(*self.head, 0, 0, *self.tail)
        else:
            raw = template.pre_pack(*self.head[: template.head_count])
        self.pre_address = self.scratch.show(raw, template.pre_words)
        self._given = template.inputs(raw)

    def deliver_pre(self, registration: Registration, object_context: int) -> int:
        template, address = self.template, self.pre_address
        if object_context or not self._fresh:
            self.engine.memory.write(address + template.contexts_at, template.contexts(0, object_context))
        self._fresh = not template.has_context
        engine = self.engine
        returned = engine.invoke(registration, template.pre, address)
        left = template.inputs(engine.memory.read(address, template.input_end))
        if left != self._given:
            self._given = left
            engine.remarks.input_edited(registration, template.pre)
        return returned

    def call_context(self) -> int:
        template = self.template
        return self.engine.memory.ptr(self.pre_address + template.contexts_at) if template.has_context else 0

    def open_post(self, status: int, *, settled_by_callback: bool) -> ContextHolder | None:
        self._write_post(self.post_object, status)
        return self.holder

    def _write_post(self, shown: int, status: int) -> None:
        template = self.template
        if template.has_context:
            raw = template.post_pack(shown, status, self.pre_address, status, 0, 0, 0)
        elif template.short_post:
            raw = template.post_pack(self.head[0], shown, status)
        elif template.post:
            raw = template.post_pack(shown, status)
        else:
            return
        self.post_address = self.scratch.show(raw, template.post_words)
        self._verdict = raw[template.status_at : template.verdict_end]
        self._fresh = True

    def deliver_post(self, registration: Registration, call_context: int, object_context: int) -> int:
        template, address = self.template, self.post_address
        if not template.post:
            return 0
        engine = self.engine
        if template.has_context and (call_context or object_context or not self._fresh):
            status = engine.memory.u32(address + template.status_at)
            raw = template.post_contexts(status, call_context, object_context)
            engine.memory.write(address + template.post_contexts_at, raw)
        self._fresh = not template.has_context
        returned = engine.invoke(registration, template.post, address)
        if returned != _BYPASS and template.has_context:
            self._judge_post(registration, returned)
        return returned

    def _judge_post(self, registration: Registration, returned: int) -> None:
        """Remark on an answer that isn't STATUS_CALLBACK_BYPASS and yet wants to be more than a look."""
        template, engine = self.template, self.engine
        if returned & _FAILURE_BIT:
            engine.remarks.post_failed(registration, template.post, returned)
        size = template.verdict_end - template.status_at
        left = engine.memory.read(self.post_address + template.status_at, size)
        if left == self._verdict:
            return
        if left[:4] != self._verdict[:4]:
            engine.remarks.status_edited(registration, template.post)
        if left[-4:] != self._verdict[-4:]:
            engine.remarks.override_ignored(registration, template.post, returned)
        self._verdict = left

    def return_status(self) -> int:
        return self.engine.memory.u32(self.post_address + self.template.return_status_at)

    def put_status(self, status: int) -> None:
        self.engine.memory.put_u32(self.post_address + self.template.status_at, status)
        raw = status.to_bytes(4, "little")
        self._verdict = raw + self._verdict[4:-4] + raw


class CreateNotice(GuestNotice):
    """Create or open: the object exists only afterwards, and callbacks may put another in its place.

    `slot` is the address of the pointer ResultObject points at. Before Vista nobody can change it.
    """

    __slots__ = ("fallback", "slot")

    def __init__(
        self,
        engine: FilterEngine,
        template: Template,
        root: KeyObject,
        head: tuple[int, ...],
        tail: tuple[int, ...],
        slot: int,
        *,
        scratch: Scratch,
        fallback: int,
    ) -> None:
        super().__init__(engine, template, root, head, tail, scratch=scratch)
        self.slot = slot
        #: Object of the post of a request that a lower callback failed (B-LAY-10).
        self.fallback = fallback

    def open_post(self, status: int, *, settled_by_callback: bool) -> ContextHolder | None:
        engine = self.engine
        shown = 0
        holder: ContextHolder | None = None
        if status == 0:
            shown = engine.memory.ptr(self.slot)
            holder = engine.keys.at(shown)
        elif not status & _FAILURE_BIT:
            shown = engine.undefined_object  # a success code that is not STATUS_SUCCESS (B-OBJ-02)
        elif settled_by_callback:
            shown = self.fallback
        self._write_post(shown, status)
        return holder

    def result(self) -> tuple[int, int]:
        """After the posts: the object in *ResultObject and GrantedAccess as callbacks left them."""
        memory, template = self.engine.memory, self.template
        if not template.granted_access_at:
            return memory.ptr(self.slot), 0
        return memory.ptr(self.slot), memory.u32(self.pre_address + template.granted_access_at)

    def put_result(self, address: int, granted_access: int) -> None:
        """The operation made the object at `address`: let the callbacks see it."""
        memory, template = self.engine.memory, self.template
        memory.put_ptr(self.slot, address)
        if template.granted_access_at and self.pre_address:
            memory.put_u32(self.pre_address + template.granted_access_at, granted_access)
