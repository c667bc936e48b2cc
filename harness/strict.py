"""Strict reading of TOML: every key is known, every value has its type, every mistake says where it is.

A frozen dataclass says what a table may hold: the names of its fields are the keys, their types the types
of the values, a field without a default is required. An error names file and key, and what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["RecipeError", "load_based", "load_toml", "mistake", "read_table"]

#: Names the file whose tables are the defaults of this one's.
_BASED_ON: Final = "based_on"

_LARGEST_FILE = 1 << 20

T = TypeVar("T", bound="DataclassInstance")


class RecipeError(UsageError):
    """A recipe that can't be used; the message names the file, the key and what is allowed."""


def mistake(file: Path, key: str, why: str) -> RecipeError:
    """The error for `key` ("hardware.cpu") of `file`."""
    return RecipeError(f"{file}: {key}: {why}")


def load_toml(file: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `RecipeError` where it can't be read or isn't TOML."""
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise RecipeError(f"{file}: larger than {_LARGEST_FILE >> 20} MB, which no recipe is")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{file}: can't be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{file}: not TOML: {error}") from error


def load_based(file: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """The tables of a TOML file over those of the file it names as `based_on`, and so on; and these files.

    Tables are merged key by key, anything else replaces what it is based on. A path in a base is taken
    relative to `file` like its own. Raises `RecipeError`.
    """
    tables: dict[str, Any] = {}
    files = [file]
    while True:
        own = load_toml(files[-1])
        named = own.pop(_BASED_ON, None)
        tables = _merged(own, tables)
        if named is None:
            return tables, tuple(files[1:])
        base = _scalar(Path, named, files[-1], _BASED_ON)
        if base.resolve() in {each.resolve() for each in files}:
            raise mistake(files[-1], _BASED_ON, f"{base} is based on this file itself")
        files.append(base)


def _merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    both = {**defaults, **own}
    for key in defaults.keys() & own.keys():
        if isinstance(defaults[key], dict) and isinstance(own[key], dict):
            both[key] = _merged(defaults[key], own[key])
    return both


def read_table(shape: type[T], raw: object, file: Path, where: str = "") -> T:
    """`raw`, the table at key `where` of `file`, as an instance of the dataclass `shape`.

    Paths are taken relative to the file's folder. Raises `RecipeError` for an unknown or missing key and
    for a value of another type; ranges are for the caller to check.
    """
    if not isinstance(raw, dict):
        raise mistake(file, where, f"must be a table, not {_shown(raw)}")
    types_of = get_type_hints(shape)
    fields = {field.name: field for field in dataclasses.fields(shape) if field.init}
    for key in raw:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise mistake(
                file, _below(where, key), f"unknown key{hint} (allowed: {', '.join(sorted(fields))})"
            )
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in raw:
            values[name] = _value(types_of[name], raw[name], file, _below(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise mistake(file, _below(where, name), f"is missing; it is {_wanted(types_of[name])}")
    return shape(**values)


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _value(wanted: Any, raw: object, file: Path, where: str) -> Any:
    """`raw` as the type `wanted`; the types recipes use, nothing else."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):  # X | None: TOML has no null, so a key that is there has a value
        (wanted,) = (part for part in get_args(wanted) if part is not types.NoneType)
        return _value(wanted, raw, file, where)
    if origin is tuple:
        if not isinstance(raw, list):
            raise mistake(file, where, f"must be {_wanted(wanted)}, not {_shown(raw)}")
        return tuple(_value(get_args(wanted)[0], one, file, f"{where}[{i}]") for i, one in enumerate(raw))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, dict):
            raise mistake(file, where, f"must be a table, not {_shown(raw)}")
        if get_args(wanted)[1] is Any:
            return raw
        return {key: _value(get_args(wanted)[1], one, file, _below(where, key)) for key, one in raw.items()}
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        return read_table(wanted, raw, file, where)
    return _scalar(wanted, raw, file, where)


def _scalar(wanted: type, raw: object, file: Path, where: str) -> Any:
    if issubclass(wanted, StrEnum):
        try:
            return wanted(str(raw))
        except ValueError:
            raise mistake(file, where, f"must be {_wanted(wanted)}, not {_shown(raw)}") from None
    if wanted is Path and isinstance(raw, str) and raw:
        return (file.parent / Path(raw).expanduser()).absolute()
    if wanted is float and type(raw) in (int, float):
        return float(raw)  # type: ignore[arg-type]
    if type(raw) is wanted and wanted in (str, int, bool):  # a bool is an int to isinstance
        return raw
    raise mistake(file, where, f"must be {_wanted(wanted)}, not {_shown(raw)}")


def _wanted(wanted: Any) -> str:
    """What a value must be, in words."""
    if get_origin(wanted) in (Union, types.UnionType):
        return " or ".join(_wanted(part) for part in get_args(wanted) if part is not types.NoneType)
    if get_origin(wanted) is tuple:
        return f"a list, each {_wanted(get_args(wanted)[0])}"
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        return f"one of {', '.join(wanted)}"
    words = {str: "a text", int: "a whole number", bool: "true or false", float: "a number", Path: "a path"}
    return words.get(wanted, "a table")


def _shown(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."
