"""Programs: an ordered list of registry operations with handle slots, run as one piece inside a guest.

Plain, validated, immutable data. `harness.workload.builder` writes programs the convenient way;
`encode`/`decode_program` (`harness.workload.codec`) turn them into the bytes a runner takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from harness.errors import UsageError
from harness.workload.fields import (
    FIELDS,
    MAX_HANDLES,
    MAX_OPERATIONS,
    MAX_TEXT,
    OBJ_CASE_INSENSITIVE,
    FieldKind,
    FieldSpec,
)
from harness.workload.opcodes import SPECS, Opcode, OpcodeSpec

__all__ = ["Operation", "Program", "utf16_length"]


def utf16_length(text: str) -> int:
    """UTF-16 code units of `text`; unpaired surrogates count one."""
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for character in text if ord(character) > 0xFFFF)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation. Which attributes matter is `SPECS[opcode].fields`; the others keep their defaults.

    An instance holds the fields it was given, the class holds the defaults: an operation has a handful of
    forty fields, and programs have many operations.

    Attribute meanings are `harness.workload.fields.FIELDS`. Handle attributes are slot indexes.
    Raises `UsageError` when a required field is missing, one is not accepted, or one is out of bounds.
    """

    opcode: Opcode
    process: int = 0
    thread: int = 0
    background: bool = False
    out: int | None = None
    handle: int | None = None
    root: int | None = None
    predefined: int | None = None
    low_handle: int | None = None
    transaction: int | None = None
    event: int | None = None
    buffer: int | None = None
    trust: int | None = None
    name: str | None = None
    attributes: int = OBJ_CASE_INSENSITIVE
    sddl: str | None = None
    security: bytes | None = None
    name_maximum: int | None = None
    access: int = 0
    options: int | None = None
    title_index: int = 0
    type: int = 0
    index: int = 0
    info_class: int = 0
    length: int = 0
    flags: int = 0
    milliseconds: int | None = None
    form: int = 1
    format: int | None = None
    security_information: int = 0
    target_process: int = 0
    code: int = 0
    address: int | None = None
    null_result: bool = False
    data: bytes | None = None
    data_size: int | None = None
    value_name: str | None = None
    value_names: tuple[str, ...] = ()
    class_name: str | None = None
    new_name: str | None = None
    file: str | None = None
    old_file: str | None = None
    device: str | None = None
    label: str | None = None
    patches: tuple[tuple[int, int], ...] = ()

    if not TYPE_CHECKING:  # type checkers see the signature that `dataclass` generates

        def __init__(self, **given: Any) -> None:
            self.__dict__.update(given)
            self._validate(given)

    def _validate(self, given: dict[str, Any]) -> None:
        if "opcode" not in given:
            raise TypeError("Operation needs opcode")
        spec = SPECS.get(given["opcode"])
        if spec is None:
            raise UsageError(f"unknown opcode {self.opcode!r}; harness.workload.Opcode lists them")
        for name, value in given.items():
            rule = _RULES.get(name)
            if rule is None:
                if name == "opcode":
                    continue
                raise TypeError(f"Operation has no field {name!r}")
            field, default = rule
            if value is default or value == default:
                continue
            if name not in spec.fields:
                accepted = ", ".join(sorted(spec.fields))
                raise UsageError(f"{spec.opcode.name.lower()} takes no {name}; it takes {accepted}")
            _check(spec, field, value)
        for name in spec.required:
            if given.get(name) is None and getattr(self, name) is None:
                raise UsageError(f"{spec.opcode.name.lower()} needs {name}: {FIELDS[name].meaning}")
        if self.opcode is Opcode.TERMINATE_PROCESS and self.process == 0:
            raise UsageError("terminate_process can't end the runner (process 0)")
        if self.opcode in (Opcode.IMPERSONATE, Opcode.REVERT) and (self.process or not self.thread):
            raise UsageError("threads 1 and on of the runner can impersonate: with p.on(thread=1)")
        if self.background and self.opcode is Opcode.TERMINATE_PROCESS:
            raise UsageError("terminate_process can't go on in the background: it may end what does")
        if self.background and self.process == 0 and self.thread == 0:
            raise UsageError(
                "thread 0 of the runner carries out the program; an operation in the background needs "
                "another: with p.on(thread=1, background=True)"
            )
        if self.patches:
            size = len(self.data or b"")
            for offset, _ in self.patches:
                if offset + 8 > size:
                    raise UsageError(
                        f"a handle patch at offset {offset} lies outside the {size} bytes of data"
                    )

    @property
    def spec(self) -> OpcodeSpec:
        """The row of the table of operations."""
        return SPECS[self.opcode]

    def slots(self) -> tuple[int, ...]:
        """Every handle slot the operation names."""
        own = [value for name, value in self.__dict__.items() if name in _HANDLE_FIELDS and value is not None]
        own += [slot for _, slot in self.patches]
        return tuple(own)

    def given(self) -> dict[str, object]:
        """The fields that differ from their defaults, in table order."""
        out: dict[str, object] = {}
        for name, (_, default) in _RULES.items():
            value = getattr(self, name)
            if value is not default and value != default:
                out[name] = value
        return out

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.given().items())
        return f"{self.opcode.name.lower()}({given})"


@dataclass(frozen=True, slots=True)
class Program:
    """Operations in order and the number of handle slots they share (all start as NULL)."""

    operations: tuple[Operation, ...]
    handle_count: int

    def __post_init__(self) -> None:
        if len(self.operations) > MAX_OPERATIONS:
            raise UsageError(
                f"{len(self.operations)} operations in one program; the limit is {MAX_OPERATIONS}"
            )
        if not 0 <= self.handle_count <= MAX_HANDLES:
            raise UsageError(f"{self.handle_count} handle slots in one program; the limit is {MAX_HANDLES}")
        for index, operation in enumerate(self.operations):
            for slot in operation.slots():
                if slot >= self.handle_count:
                    raise UsageError(
                        f"operation {index} ({operation.opcode.name.lower()}) names handle slot {slot}, "
                        f"the program has {self.handle_count}"
                    )

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> Program:
        """A program with as many slots as its operations name."""
        listed = tuple(operations)
        count = max((slot for operation in listed for slot in operation.slots()), default=-1) + 1
        return cls(listed, count)

    def encode(self) -> bytes:
        """Canonical CBOR, see `harness.workload.codec`."""
        from harness.workload.codec import encode_program

        return encode_program(self)

    def __len__(self) -> int:
        return len(self.operations)


def _check(spec: OpcodeSpec, field: FieldSpec, value: object) -> None:
    kind = field.kind
    if kind is FieldKind.HANDLE:
        if type(value) is not int or not 0 <= value < MAX_HANDLES:
            raise UsageError(
                f"{_where(spec, field)} must be a handle slot below {MAX_HANDLES}, not {value!r}"
            )
    elif kind is FieldKind.UNSIGNED:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= field.maximum:
            raise UsageError(
                f"{_where(spec, field)} must be an integer from 0 to {field.maximum:#x}, not {value!r}"
            )
    elif kind is FieldKind.TEXT:
        if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isascii():
            _check_text(_where(spec, field), value)
    else:
        _check_piece(_where(spec, field), field, value)


def _check_piece(where: str, field: FieldSpec, value: object) -> None:
    match field.kind:
        case FieldKind.FLAG:
            if type(value) is not bool:
                raise UsageError(f"{where} must be True or False, not {value!r}")
        case FieldKind.TEXTS:
            if not isinstance(value, tuple) or len(value) > field.maximum:
                raise UsageError(f"{where} must be a tuple of at most {field.maximum} texts")
            for item in value:
                _check_text(where, item)
        case FieldKind.BYTES:
            if type(value) is not bytes or len(value) > field.maximum:
                raise UsageError(f"{where} must be bytes, at most {field.maximum}")
        case FieldKind.PATCHES:
            _check_patches(where, field, value)


def _where(spec: OpcodeSpec, field: FieldSpec) -> str:
    return f"{spec.opcode.name.lower()}: {field.name}"


def _check_text(where: str, value: object) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{where} must be text, not {type(value).__name__}")
    if len(value) > MAX_TEXT or utf16_length(value) > MAX_TEXT:
        raise UsageError(f"{where} has more than {MAX_TEXT} UTF-16 units ({len(value)} characters)")


def _check_patches(where: str, field: FieldSpec, value: object) -> None:
    if not isinstance(value, tuple) or len(value) > field.maximum:
        raise UsageError(f"{where} must be a tuple of at most {field.maximum} (offset, slot) pairs")
    for item in value:
        if not isinstance(item, tuple) or len(item) != 2:
            raise UsageError(f"{where} must hold (offset, slot) pairs, not {item!r}")
        offset, slot = item
        if type(offset) is not int or not 0 <= offset <= 0xFFFF_FFFF:
            raise UsageError(f"{where} has the offset {offset!r}")
        if type(slot) is not int or not 0 <= slot < MAX_HANDLES:
            raise UsageError(f"{where} has the handle slot {slot!r}")


_HANDLE_FIELDS: Final = frozenset(name for name, spec in FIELDS.items() if spec.kind is FieldKind.HANDLE)
#: Specification and default of each field of an operation, in table order.
_RULES: Final = {
    item.name: (FIELDS[item.name], item.default) for item in fields(Operation) if item.name in FIELDS
}
