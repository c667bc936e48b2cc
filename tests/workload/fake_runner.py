"""A guest in memory that runs the plain part of programs: enough registry for the builder and clean-up."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from harness.registry.access import ObjectAttributes
from harness.registry.paths import parent, upcase
from harness.registry.status import NTSTATUS
from harness.workload import Opcode, Operation, OperationResult, Program, ProgramResult


@dataclass
class FakeKey:
    name: str
    values: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    undeletable: bool = False


class FakeRunner:
    """Answers `run`. `keys` maps upcased paths to keys; every program passes through its encoding."""

    def __init__(self) -> None:
        self.keys: dict[str, FakeKey] = {
            path: FakeKey(path.rpartition("\\")[2])
            for path in (r"\REGISTRY", r"\REGISTRY\MACHINE", r"\REGISTRY\MACHINE\SOFTWARE")
        }
        self.programs: list[Program] = []
        self.files: set[str] = set()
        self.refuse_creates = False
        self.clock = 1000

    def run(self, program: Program) -> ProgramResult:
        self.programs.append(program)
        slots: list[str | None] = [None] * program.handle_count
        results = tuple(self._one(operation, slots) for operation in program.operations)
        return ProgramResult(operations=results, process_id=40, thread_id=44)

    def children(self, path: str) -> list[str]:
        return sorted(each for each in self.keys if upcase(parent(each)) == path)

    def _one(self, operation: Operation, slots: list[str | None]) -> OperationResult:
        begin = self.clock
        self.clock += 10
        extra: dict[str, object] = {}
        status = self._do(operation, slots, extra)
        return OperationResult(
            status=status,
            begin=begin,
            end=begin + 9,
            process_id=40 + operation.process,
            thread_id=44 + 4 * operation.thread,
            **extra,  # type: ignore[arg-type]
        )

    def _do(self, operation: Operation, slots: list[str | None], extra: dict[str, object]) -> int:
        match operation.opcode:
            case Opcode.CREATE_KEY | Opcode.OPEN_KEY:
                return self._open(operation, slots, extra)
            case Opcode.CLOSE:
                assert operation.handle is not None
                known = slots[operation.handle] is not None
                slots[operation.handle] = None
                return NTSTATUS.SUCCESS if known else NTSTATUS.INVALID_HANDLE
            case Opcode.MARK:
                return NTSTATUS.SUCCESS
            case Opcode.DELETE_FILE:
                assert operation.file is not None
                if operation.file not in self.files:
                    return NTSTATUS.OBJECT_NAME_NOT_FOUND
                self.files.discard(operation.file)
                return NTSTATUS.SUCCESS
            case Opcode.UNLOAD_KEY:
                return NTSTATUS.INVALID_PARAMETER
        path = slots[operation.handle] if operation.handle is not None else None
        if path is None or path not in self.keys:
            return NTSTATUS.INVALID_HANDLE if path is None else NTSTATUS.KEY_DELETED
        return self._with_key(operation, path, extra)

    def _open(self, operation: Operation, slots: list[str | None], extra: dict[str, object]) -> int:
        base = "" if operation.root is None else slots[operation.root]
        if base is None:
            return NTSTATUS.INVALID_HANDLE
        path = upcase(f"{base}\\{operation.name}" if base else operation.name or "").rstrip("\\")
        assert operation.out is not None
        assert operation.attributes & ObjectAttributes.CASE_INSENSITIVE
        if path not in self.keys:
            if operation.opcode is Opcode.OPEN_KEY or upcase(parent(path)) not in self.keys:
                return NTSTATUS.OBJECT_NAME_NOT_FOUND
            if self.refuse_creates:
                return NTSTATUS.ACCESS_DENIED
            self.keys[path] = FakeKey((operation.name or "").rpartition("\\")[2])
            extra["disposition"] = 1
        elif operation.opcode is Opcode.CREATE_KEY:
            extra["disposition"] = 2
        slots[operation.out] = path
        extra["handle"] = 4 * (operation.out + 1)
        return NTSTATUS.SUCCESS

    def _with_key(self, operation: Operation, path: str, extra: dict[str, object]) -> int:
        key = self.keys[path]
        name = operation.value_name or ""
        match operation.opcode:
            case Opcode.DELETE_KEY:
                if self.children(path) or key.undeletable:
                    return NTSTATUS.CANNOT_DELETE
                del self.keys[path]
                return NTSTATUS.SUCCESS
            case Opcode.SET_VALUE:
                key.values[upcase(name)] = (operation.type, operation.data or b"")
                return NTSTATUS.SUCCESS
            case Opcode.QUERY_VALUE:
                if upcase(name) not in key.values:
                    return NTSTATUS.OBJECT_NAME_NOT_FOUND
                kind, data = key.values[upcase(name)]
                return _answer(operation, struct.pack("<III", 0, kind, len(data)) + data, 12, extra)
            case Opcode.QUERY_KEY:
                counts = (len(self.children(path)), 0, 0, len(key.values), 0, 0)
                return _answer(operation, struct.pack("<QIIIIIIIII", 0, 0, 44, 0, *counts), 44, extra)
            case Opcode.ENUMERATE_KEY:
                children = self.children(path)
                if operation.index >= len(children):
                    return NTSTATUS.NO_MORE_ENTRIES
                text = self.keys[children[operation.index]].name.encode("utf-16-le")
                return _answer(operation, struct.pack("<QII", 0, 0, len(text)) + text, 16, extra)
        return NTSTATUS.NOT_IMPLEMENTED


def _answer(operation: Operation, whole: bytes, fixed: int, extra: dict[str, object]) -> int:
    extra["result_length"] = len(whole)
    if operation.length < fixed:
        return NTSTATUS.BUFFER_TOO_SMALL
    extra["buffer"] = whole[: operation.length].rstrip(b"\xa5")
    return NTSTATUS.SUCCESS if len(whole) <= operation.length else NTSTATUS.BUFFER_OVERFLOW
