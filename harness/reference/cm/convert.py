"""Between keys in memory and the plain images that hive files hold."""

from __future__ import annotations

from .hive import Hive
from .image import KeyImage, ValueImage
from .key import Key, KeyState, Value
from .names import upcase
from .regf_format import KEY_LINK, KEY_PREDEFINED
from .security import SecurityDescriptor

__all__ = ["build_key", "merge_images", "snapshot"]


def build_key(hive: Hive, parent: Key | None, image: KeyImage, *, volatile: bool = False) -> Key:
    """Keys for an image and all below it; the caller puts the first one into its parent."""
    descriptors: dict[bytes, SecurityDescriptor] = {}

    def one(source: KeyImage, above: Key | None) -> Key:
        security = descriptors.get(source.security)
        if security is None:
            security = descriptors[source.security] = SecurityDescriptor.decode(source.security)
        state = KeyState(source.name, source.last_write, security)
        state.values = {
            upcase(value.name): Value(value.name, value.type, value.data) for value in source.values
        }
        return Key(
            hive,
            above,
            state,
            class_name=source.class_name,
            volatile=volatile,
            is_link=bool(source.flags & KEY_LINK),
            is_predefined=bool(source.flags & KEY_PREDEFINED),
        )

    first = one(image, parent)
    todo = [(image, first)]
    while todo:
        source, key = todo.pop()
        for child in source.subkeys:
            below = one(child, key)
            key.state().add(child.name, below)
            todo.append((child, below))
    if hive.root is None:
        hive.root = first
    return first


def snapshot(key: Key) -> KeyImage:
    """The committed, stable content of a key and all below it in the same hive."""

    def one(source: Key) -> KeyImage:
        state = source.state()
        flags = (KEY_LINK if source.is_link else 0) | (KEY_PREDEFINED if source.is_predefined else 0)
        values = [ValueImage(value.name, value.type, value.data) for value in state.values.values()]
        return KeyImage(
            state.name, state.security.encode(), state.last_write, source.class_name, flags, values
        )

    first = one(key)
    todo = [(key, first)]
    while todo:
        source, image = todo.pop()
        for child in source.state().ordered():
            if not child.volatile and child.hive is key.hive:
                below = one(child)
                image.subkeys.append(below)
                todo.append((child, below))
    return first


def merge_images(high: KeyImage, low: KeyImage) -> KeyImage:
    """Both trees in one; where both have a value, class or descriptor, `high` prevails."""
    first = _merge_key(high, low)
    todo = [(first, high, low)]
    while todo:  # trees may be deeper than the interpreter's stack
        merged, upper, lower = todo.pop()
        lows = {upcase(key.name): key for key in lower.subkeys}
        for key in upper.subkeys:
            other = lows.pop(upcase(key.name), None)
            if other is None:
                merged.subkeys.append(key)
            else:
                merged.subkeys.append(_merge_key(key, other))
                todo.append((merged.subkeys[-1], key, other))
        merged.subkeys += lows.values()
    return first


def _merge_key(high: KeyImage, low: KeyImage) -> KeyImage:
    values = {upcase(value.name): value for value in (*low.values, *high.values)}
    class_name = high.class_name or low.class_name
    return KeyImage(high.name, high.security, high.last_write, class_name, high.flags, list(values.values()))
