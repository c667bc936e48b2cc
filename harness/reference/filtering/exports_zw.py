"""The registry system services as drivers call them: Zw*, which sets the previous mode to KernelMode.

The Nt names of these services are not exported. Which Zw name exists from which version on: the requirements
tables of the nf-wdm-zw* and nf-ntifs-* pages, and the import libraries of the driver kits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.filtering import services_hive as hive
from harness.reference.filtering import services_key as key
from harness.reference.filtering import services_open as open_
from harness.reference.filtering import services_query as query
from harness.reference.filtering import services_value as value
from harness.reference.filtering.engine import engine_of
from harness.reference.filtering.services_query_multiple import query_multiple_value_key
from harness.reference.kernel.checks import need_zw
from harness.reference.kernel.objects import KERNEL_MODE
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.machine import Machine

__all__: list[str] = []

_VISTA: Final = (6, 0)
_WIN7: Final = (6, 1)
_WIN8: Final = (6, 2)
_XP: Final = (5, 1)


def _declare(
    name: str,
    routine: Callable[..., int],
    args: str,
    *,
    since: tuple[int, int] = _XP,
    takes: int | None = None,
) -> None:
    """Declare Zw`name`; `takes` is how many of the native arguments the service wants, all when None."""

    def call(m: Machine, *values: int) -> int:
        need_zw(m, f"Zw{name}")
        with m.previous_mode(KERNEL_MODE):
            return routine(engine_of(m), *values[:takes])

    export(f"Zw{name}", args=args, since=since)(call)


# -- open and create -----------------------------------------------------------------------------------------

_declare("OpenKey", open_.open_key, "ptr, ulong, ptr")
_declare("OpenKeyEx", open_.open_key, "ptr, ulong, ptr, ulong", since=_WIN7)
_declare("CreateKey", open_.create_key, "ptr, ulong, ptr, ulong, ptr, ulong, ptr")


def _open_transacted(engine: FilterEngine, *values: int) -> int:
    handle_at, access, attributes_at, transaction = values
    return open_.open_key(engine, handle_at, access, attributes_at, 0, transaction)


def _create_transacted(engine: FilterEngine, *values: int) -> int:
    *first, transaction, disposition_at = values
    handle_at, access, attributes_at, title, class_at, options = first
    return open_.create_key(
        engine, handle_at, access, attributes_at, title, class_at, options, disposition_at, transaction
    )


_declare("OpenKeyTransacted", _open_transacted, "ptr, ulong, ptr, handle", since=_VISTA)
_declare("OpenKeyTransactedEx", open_.open_key, "ptr, ulong, ptr, ulong, handle", since=_WIN7)
_declare(
    "CreateKeyTransacted", _create_transacted, "ptr, ulong, ptr, ulong, ptr, ulong, handle, ptr", since=_VISTA
)

# -- keys ----------------------------------------------------------------------------------------------------

_declare("DeleteKey", key.delete_key, "handle")
_declare("FlushKey", key.flush_key, "handle")
_declare("QueryKey", query.query_key, "handle, ulong, ptr, ulong, ptr")
_declare("EnumerateKey", query.enumerate_key, "handle, ulong, ulong, ptr, ulong, ptr")
_declare("RenameKey", key.rename_key, "handle, ptr", since=_WIN8)
_declare("SetInformationKey", key.set_information_key, "handle, ulong, ptr, ulong", since=_WIN7)


def _notify(engine: FilterEngine, handle: int, event: int, *rest: int) -> int:
    """The event alone tells of a change here: one without is accepted, and never completed."""
    _apc, _context, _iosb, wanted, *_others = rest
    if event:
        return key.notify_change_key(engine, handle, event, wanted)
    debug = engine.machine.kernel.debug
    remark = "ZwNotifyChangeKey without an event was accepted; it is never completed here"
    if remark not in debug.notes:
        debug.note(remark)
    return NTSTATUS.PENDING


_declare("NotifyChangeKey", _notify, "handle, handle, ptr, ptr, ptr, ulong, uchar, ptr, ulong, uchar")

# -- values --------------------------------------------------------------------------------------------------

_declare("SetValueKey", value.set_value_key, "handle, ptr, ulong, ulong, ptr, ulong")
_declare("DeleteValueKey", value.delete_value_key, "handle, ptr")
_declare("QueryValueKey", query.query_value_key, "handle, ptr, ulong, ptr, ulong, ptr")
_declare("EnumerateValueKey", query.enumerate_value_key, "handle, ulong, ulong, ptr, ulong, ptr")
_declare("QueryMultipleValueKey", query_multiple_value_key, "handle, ptr, ulong, ptr, ptr, ptr", since=_WIN8)

# -- hives ---------------------------------------------------------------------------------------------------

_declare("LoadKey", hive.load_key, "ptr, ptr")
_declare(
    "LoadKeyEx", hive.load_key, "ptr, ptr, ulong, handle, handle, ulong, ptr, ptr", since=_VISTA, takes=7
)
_declare("UnloadKey", hive.unload_key, "ptr")
_declare(
    "UnloadKeyEx", lambda engine, target, event: hive.unload_key(engine, target, 0, event), "ptr, handle"
)
_declare("SaveKey", hive.save_key, "handle, handle")
_declare("SaveKeyEx", hive.save_key, "handle, handle, ulong")
_declare("RestoreKey", hive.restore_key, "handle, handle, ulong")
_declare("ReplaceKey", hive.replace_key, "ptr, handle, ptr")
