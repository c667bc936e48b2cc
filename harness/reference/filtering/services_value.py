"""System services that change values: set, delete.

Sources: nf-wdm-zwsetvaluekey, nf-wdm-zwdeletevaluekey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.filtering.request import InputData, Requester, service
from harness.registry.access import KEY_SET_VALUE
from harness.registry.notify import Operation

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.filtering.engine import FilterEngine

__all__ = ["delete_value_key", "set_value_key"]


@service
def set_value_key(
    engine: FilterEngine, handle: int, name_at: int, title_index: int, type_: int, data_at: int, size: int
) -> int:
    """NtSetValueKey. Data is the one member Windows 7 leaves in the requester's memory (B-CAP-04)."""
    who = Requester(engine)
    with who.holding(handle, KEY_SET_VALUE) as key:
        name = who.string(name_at)
        data = InputData(who, data_at, size)

        def head(scratch: Scratch) -> tuple[int, ...]:
            shown = who.show_string(scratch, name, captured=True)
            return key.address, shown, title_index, type_, data.show(scratch), size

        @who.fault_is_status
        def perform() -> int:
            return engine.cm.set_value(key.key, name.text, type_, data.read(), transaction=key.transaction)

        return engine.run(Operation.SET_VALUE_KEY, key, head, perform)


@service
def delete_value_key(engine: FilterEngine, handle: int, name_at: int) -> int:
    """NtDeleteValueKey."""
    who = Requester(engine)
    with who.holding(handle, KEY_SET_VALUE) as key:
        name = who.string(name_at)

        def head(scratch: Scratch) -> tuple[int, ...]:
            return key.address, who.show_string(scratch, name, captured=False)

        def perform() -> int:
            return engine.cm.delete_value(key.key, name.text, transaction=key.transaction)

        return engine.run(Operation.DELETE_VALUE_KEY, key, head, perform)
