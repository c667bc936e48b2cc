"""Strict reading of TOML: every key is known, every value has its type, every mistake says where it is.

A frozen dataclass says what a table may hold: the names of its fields are the keys, their types the types
of the values, a field without a default is required. An error names file and key, and what is allowed; all
mistakes of a file are told at once.

`plain` is the way back, to what JSON holds; `read_table` reads that too.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["ConfigError", "Mistakes", "load_based", "load_toml", "mistake", "plain", "read_table"]

#: Names the file whose tables are the defaults of this one's.
_BASED_ON: Final = "based_on"

_LARGEST_FILE: Final = 1 << 20
#: What is taken as it is, in words.
_SCALARS: Final[Mapping[Any, str]] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    date: "a date (2026-11-21, without quotes)",
}

T = TypeVar("T", bound="DataclassInstance")


class ConfigError(UsageError):
    """A file that can't be used; each of `mistakes` names the file, the key and what to do, one a line."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n".join(self.mistakes)


class Mistakes:
    """Gathers what is wrong with a file and with what it names, so that all of it is told at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, file: Path, key: str, why: str) -> None:
        self.found.append(str(mistake(file, key, why)))

    @contextmanager
    def gathered(self, file: Path, key: str) -> Iterator[None]:
        """Keep a `UsageError` of the block as a mistake at `key`; one that names file and key, as it is."""
        try:
            yield
        except ConfigError as error:
            self.found += error.mistakes
        except UsageError as error:
            self.add(file, key, str(error))

    def check(self) -> None:
        """Raise `ConfigError` with everything found, if anything was."""
        if self.found:
            raise ConfigError(*dict.fromkeys(self.found))


def mistake(file: Path, key: str, why: str) -> ConfigError:
    """The error for `key` ("hardware.cpu") of `file`."""
    return ConfigError(f"{file}: {key}: {why}" if key else f"{file}: {why}")


def load_toml(file: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `ConfigError` where it can't be read or isn't TOML."""
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{file}: larger than {_LARGEST_FILE >> 20} MB, which no such file is")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise ConfigError(f"{file}: not UTF-8: byte {byte:#04x} in line {line}; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def load_based(file: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """The tables of a TOML file over those of the file it names as `based_on`, and so on; and these files.

    Tables are merged key by key, anything else replaces what it is based on. A path in a base is taken
    relative to `file` like its own. Raises `ConfigError`.
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

    Paths are taken relative to the file's folder. Raises `ConfigError` for an unknown or missing key and
    for a value of another type; ranges are for the caller to check.
    """
    if not isinstance(raw, dict):
        raise mistake(file, where, f"must be a table, not {_shown(raw)}")
    types_of = get_type_hints(shape)
    fields = {field.name: field for field in dataclasses.fields(shape) if field.init}
    mistakes = Mistakes()
    for key in raw:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            why = f"unknown key{hint} (allowed: {', '.join(sorted(fields))})"
            mistakes.add(file, _below(where, key), why)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        place = _below(where, name)
        if name in raw:
            with mistakes.gathered(file, place):
                values[name] = _value(types_of[name], raw[name], file, place)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            mistakes.add(file, place, f"is missing; it is {_wanted(types_of[name])}")
    mistakes.check()
    return shape(**values)


def plain(value: Any) -> Any:
    """A dataclass, and all below it, in the types of JSON; None is left out, as TOML has no such value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return {name: plain(one) for name, one in fields.items() if one is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Path | StrEnum):
        return str(value)
    return value


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _value(wanted: Any, raw: object, file: Path, where: str) -> Any:
    """`raw` as the type `wanted`; the types files use, nothing else."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):  # X | None: TOML has no null, so a key that is there has a value
        return _one_of([part for part in get_args(wanted) if part is not types.NoneType], raw, file, where)
    if origin is tuple:
        if not isinstance(raw, list):
            raise mistake(file, where, f"must be {_wanted(wanted)}, not {_shown(raw)}")
        items = {f"{where}[{index}]": one for index, one in enumerate(raw)}
        return tuple(_values(get_args(wanted)[0], items, file))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, dict):
            raise mistake(file, where, f"must be a table, not {_shown(raw)}")
        if get_args(wanted)[1] is Any:
            return raw
        entries = {_below(where, key): one for key, one in raw.items()}
        return dict(zip(raw, _values(get_args(wanted)[1], entries, file), strict=True))
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        return read_table(wanted, raw, file, where)
    return _scalar(wanted, raw, file, where)


def _values(wanted: Any, raw: Mapping[str, object], file: Path) -> list[Any]:
    """What stands at each of these keys, as the type `wanted`; all mistakes at once."""
    mistakes = Mistakes()
    values = []
    for where, one in raw.items():
        with mistakes.gathered(file, where):
            values.append(_value(wanted, one, file, where))
    mistakes.check()
    return values


def _one_of(wanted: list[Any], raw: object, file: Path, where: str) -> Any:
    """`raw` as the first of several types that it fits."""
    if len(wanted) == 1:
        return _value(wanted[0], raw, file, where)
    for one in wanted:
        with suppress(ConfigError):
            return _value(one, raw, file, where)
    raise mistake(file, where, f"must be {' or '.join(map(_wanted, wanted))}, not {_shown(raw)}")


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
    if type(raw) is wanted and wanted in _SCALARS:  # a bool is an int to isinstance
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
    return _SCALARS.get(wanted) or {float: "a number", Path: "a path"}.get(wanted, "a table")


def _shown(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."
