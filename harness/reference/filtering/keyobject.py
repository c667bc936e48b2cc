"""Key objects: open instances of registry keys, which handles and callbacks refer to.

A key object lives in the object manager like any other object. It is the unit of object contexts (B-CTX-04)
and of the handle-close notifications, which come when its last reference goes (B-NOT-42, B-CTX-13, B-CTX-14).

Sources: kernel/invalid-key-object-pointers-in-registry-notifications, nf-wdm-cmcallbackgetkeyobjectid(ex),
nf-wdm-cmgetboundtransaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.filtering.marshal import GuestNotice
from harness.reference.kernel.heap import SYSTEM_OWNED
from harness.reference.kernel.objects import GenericMapping, KernelObject
from harness.reference.layout import PAGE
from harness.registry.access import KEY_ALL_ACCESS, KEY_EXECUTE, KEY_READ, KEY_WRITE
from harness.registry.notify import Operation

if TYPE_CHECKING:
    from harness.reference.cm.key import Key
    from harness.reference.cm.transaction import Transaction
    from harness.reference.cm.watches import Watch
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.registration import Registration
    from harness.reference.pool import PageImage

__all__ = ["KeyObject", "KeyObjects"]

#: Bytes of a key object; drivers must not look inside.
_BODY_SIZE: Final = 0x80
_NAME_TAG: Final = int.from_bytes(b"CMnb", "little")
#: The longest UNICODE_STRING that leaves room for its zero in MaximumLength.
_MAX_NAME: Final = 0xFFFC


class KeyObject:
    """One open instance of a key; the body of a kernel object of type Key."""

    __slots__ = (
        "address",
        "cleaned",
        "closing",
        "contexts",
        "in_post_open",
        "key",
        "name_page",
        "object",
        "path_names",
        "path_raw",
        "process",
        "transaction",
        "transaction_object",
        "watches",
    )

    def __init__(self, key: Key, process: int, transaction: Transaction | None) -> None:
        self.key = key
        #: Process that opened it; 4 (System) for kernel handles.
        self.process = process
        self.transaction = transaction
        #: The transaction's kernel object, referenced as long as this object lives (B-INF-15).
        self.transaction_object: KernelObject | None = None
        self.contexts: dict[Registration, int] | None = None
        #: Requests to be told of changes, made through this object.
        self.watches: list[Watch] = []
        self.object: KernelObject | None = None
        #: The path in UTF-16 as of `KeyObjects.names_version`; callbacks ask for it all the time.
        self.path_raw = b""
        self.path_names = -1
        #: That path as a page of pool, for CmCallbackGetKeyObjectIDEx; None where it was not asked for.
        self.name_page: PageImage | None = None
        self.address = 0
        #: The last reference is gone: only Cm routines may be given the object (B-OBJ-04, 05).
        self.closing = False
        #: Its context cleanups were delivered: nothing can be bound to it any more (B-CTX-06).
        self.cleaned = False
        #: The post notification of the create or open that made it is being delivered (B-OBJ-11).
        self.in_post_open = False


class KeyObjects:
    """The key object type of a machine and all its objects."""

    def __init__(self, engine: FilterEngine) -> None:
        self._engine = engine
        self._objects = engine.objects
        mapping = GenericMapping(KEY_READ, KEY_WRITE, KEY_EXECUTE, KEY_ALL_ACCESS)
        self.type = self._objects.define_type("Key", mapping, _BODY_SIZE)
        self.type.delete = self._delete
        #: Counts what can change the name of an open key: renames, and commits that carry them.
        self.names_version = 0
        #: Key id -> [open objects, name of CmCallbackGetKeyObjectID or 0]. The name is of the key, shared
        #: by its objects, and goes with the last of them (B-INF-09, B-INF-10).
        self._names: dict[int, list[int]] = {}
        self.root = self.create(engine.cm.root, 4)
        self.root_object = self.root.object
        assert self.root_object is not None
        self.root_object.permanent = True

    def create(
        self,
        key: Key,
        process: int,
        transaction: Transaction | None = None,
        transaction_object: KernelObject | None = None,
    ) -> KeyObject:
        """A new object with one reference, which belongs to the caller."""
        body = KeyObject(key, process, transaction)
        if transaction_object is not None:
            self._objects.reference(transaction_object)
            body.transaction_object = transaction_object
        obj = self._objects.create(self.type, body, _BODY_SIZE)
        body.object = obj
        body.address = obj.address
        self._engine.cm.opened(key, process)
        entry = self._names.setdefault(key.object_id, [0, 0])
        entry[0] += 1
        return body

    def at(self, address: int) -> KeyObject | None:
        """The key object at an address, also while it is being closed."""
        obj = self._objects.at(address)
        if obj is None or obj.type is not self.type:
            return None
        body: KeyObject = obj.body
        return body

    def reference(self, key: KeyObject) -> None:
        assert key.object is not None
        self._objects.reference(key.object)

    def release(self, key: KeyObject) -> None:
        """Drop one reference; the last one closes the object with its notifications."""
        assert key.object is not None
        self._objects.dereference(key.object)

    def path(self, key: KeyObject) -> str:
        """The absolute path, \\REGISTRY\\... (B-INF-04)."""
        return self._engine.cm.path_of(key.key)

    def raw_path(self, key: KeyObject) -> bytes:
        """The absolute path in UTF-16-LE."""
        if key.path_names != self.names_version:
            key.path_raw = self.path(key).encode("utf-16-le", "surrogatepass")
            key.path_names = self.names_version
            key.name_page = None
        return key.path_raw

    def pool_name(self, key: KeyObject, tag: int) -> int:
        """A UNICODE_STRING with the path behind it in the calling driver's pool, 0 when there is no room.

        Raises `OverflowError` for a path that is too long for one.
        """
        raw, page = self.raw_path(key), key.name_page
        memory, pool = self._engine.memory, self._engine.machine.pool
        size, length = memory.unicode_string_size, len(raw)
        if page is not None:
            address = pool.alloc_image(page, tag)
        elif length > _MAX_NAME:
            raise OverflowError
        elif size + length + 2 < PAGE:
            page = key.name_page = pool.page_image(bytes(size) + raw + b"\0\0")
            address = pool.alloc_image(page, tag)
        else:
            address = pool.alloc(size + length + 2, tag, paged=True, zero=True)
            if address:
                memory.write(address + size, raw)
        if address:
            memory.put_unicode_string(address, length, length + 2, address + size)
        return address

    def cached_name(self, key: KeyObject) -> int:
        """Address of the UNICODE_STRING that CmCallbackGetKeyObjectID shows: as of the first time it was
        asked for, whatever renames came since (B-INF-10, B-INF-11)."""
        entry = self._names[key.key.object_id]
        if not entry[1]:
            memory = self._engine.memory
            raw = self.raw_path(key)
            size = memory.unicode_string_size
            address = self._engine.machine.pool.alloc(
                size + len(raw) + 2, _NAME_TAG, paged=True, zero=True, owner=SYSTEM_OWNED
            )
            memory.write(address + size, raw)
            memory.put_unicode_string(address, len(raw), len(raw) + 2, address + size)
            entry[1] = address
        return entry[1]

    def _delete(self, obj: KernelObject) -> None:
        """The last reference is gone: pre handle-close, context cleanups, post handle-close (B-CTX-14)."""
        engine = self._engine
        key: KeyObject = obj.body
        key.closing = True
        template = engine.template(Operation.KEY_HANDLE_CLOSE)
        thread = engine.machine.current.tid
        if template is None:
            key.cleaned = True
            engine.stack.release(thread, key)
        else:
            with engine.memory.scratch() as scratch:
                notice = GuestNotice(
                    engine, template, key, (key.address,), scratch=scratch, post_object=key.address
                )
                notice.observe_only = True
                passage = engine.stack.begin(thread, notice)
                key.cleaned = True
                engine.stack.release(thread, key)
                engine.stack.finish(passage, 0)
        for watch in key.watches:
            watch.end()
        if key.transaction_object is not None:
            self._objects.dereference(key.transaction_object)
            key.transaction_object = None
        entry = self._names[key.key.object_id]
        entry[0] -= 1
        if entry[0] == 0:
            del self._names[key.key.object_id]
            if entry[1]:
                engine.machine.pool.free(entry[1], _NAME_TAG)
        hive = engine.cm.closed(key.key, key.process)
        if hive is not None:
            engine.unloaded(hive)
